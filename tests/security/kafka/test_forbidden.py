"""Whatever a role's job does not take, the broker refuses: each act is tried with a client of the role."""

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from schemas.topics import DEAD_LETTERS, EVENTS, MODEL_REPORTS, MODELS, RESULTS, load_topics
from tests.security.kafka.conftest import GROUP, Secured

pytestmark = pytest.mark.kafka


def read(topic: str) -> Callable[[Secured, str], None]:
    """Without a group: what the topic's own rights are worth."""

    def act(secured: Secured, role: str) -> None:
        config = {**secured.librdkafka(role), "group.id": f"{role}-x", "error_cb": lambda _: None}
        with Consumer(config) as consumer:
            found = consumer.list_topics(topic, timeout=20).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            consumer.assign([TopicPartition(topic, 0, 0)])
            _poll(consumer, passing_over=KafkaError.GROUP_AUTHORIZATION_FAILED)

    return act


def join(group: str) -> Callable[[Secured, str], None]:
    def act(secured: Secured, role: str) -> None:
        config = {**secured.librdkafka(role), "group.id": group, "error_cb": lambda _: None}
        with Consumer(config) as consumer:
            consumer.subscribe([RESULTS])
            _poll(consumer, passing_over=KafkaError.TOPIC_AUTHORIZATION_FAILED)

    return act


def _poll(consumer: Consumer, *, passing_over: int) -> None:
    for _ in range(100):
        message = consumer.poll(0.2)
        assert message is None or message.error() is not None, "it reads"
        error = None if message is None else message.error()
        if error is not None and not error.retriable() and error.code() != passing_over:
            raise KafkaException(error)


def write(topic: str) -> Callable[[Secured, str], None]:
    def act(secured: Secured, role: str) -> None:
        delivered: list[KafkaError | None] = []
        producer = Producer({**secured.librdkafka(role), "message.timeout.ms": 20_000, "error_cb": lambda _: None})
        producer.produce(topic, b"forged", on_delivery=lambda error, _: delivered.append(error))
        producer.flush(25)
        if delivered[0] is not None:
            raise KafkaException(delivered[0])

    return act


def begin_transactions(transactional_id: str) -> Callable[[Secured, str], None]:
    def act(secured: Secured, role: str) -> None:
        producer = Producer({**secured.librdkafka(role), "transactional.id": transactional_id})
        producer.init_transactions(20)

    return act


def ask(question: Callable[[AdminClient, str], Any]) -> Callable[[Secured, str], None]:
    def act(secured: Secured, role: str) -> None:
        admin = AdminClient(secured.librdkafka(role))
        answered = question(admin, role)
        for future in answered.values() if isinstance(answered, dict) else [answered]:
            future.result(20)

    return act


def acl(role: str) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC,
        EVENTS,
        ResourcePatternType.LITERAL,
        f"User:{role}",
        "*",
        AclOperation.ALL,
        AclPermissionType.ALLOW,
    )


EVERYTHING: tuple[Any, ...] = (
    *(ResourceType.ANY, None, ResourcePatternType.ANY, None, None),
    *(AclOperation.ANY, AclPermissionType.ANY),
)
EVERY_ACL = AclBindingFilter(*EVERYTHING)
NEW_PASSWORD = UserScramCredentialUpsertion(
    "administrator", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192), b"mine now"
)
ACTS: dict[str, Callable[[Secured, str], None]] = {
    **{f"read {topic}": read(topic) for topic in load_topics()},
    **{f"write {topic}": write(topic) for topic in load_topics()},
    "join the consumers' group": join(GROUP),
    "join another service's group": join("billing"),
    "take over the consumer's transactions": begin_transactions(f"{GROUP}-0"),
    "take over the operator's transactions": begin_transactions(f"{GROUP}-dlq-replay"),
    "make a topic": ask(lambda admin, _: admin.create_topics([NewTopic("mine", 1, 1)])),
    "make a topic of the project's prefix": ask(lambda admin, _: admin.create_topics([NewTopic("feedback.x", 1, 1)])),
    "delete the events": ask(lambda admin, _: admin.delete_topics([EVENTS])),
    "delete records": ask(lambda admin, _: admin.delete_records([TopicPartition(RESULTS, 0, 0)])),
    "add partitions": ask(lambda admin, _: admin.create_partitions([NewPartitions(EVENTS, 50)])),
    "change a topic": ask(
        lambda admin, _: admin.incremental_alter_configs(
            [
                ConfigResource(
                    ResourceType.TOPIC,
                    EVENTS,
                    incremental_configs=[
                        ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
                    ],
                )
            ]
        )
    ),
    "give itself rights": ask(lambda admin, role: admin.create_acls([acl(role)])),
    "take rights away": ask(lambda admin, _: admin.delete_acls([EVERY_ACL])),
    "set the administrator's password": ask(lambda admin, _: admin.alter_user_scram_credentials([NEW_PASSWORD])),
    "delete the consumers' group": ask(lambda admin, _: admin.delete_consumer_groups([GROUP])),
}


# What each role may do of these: all else is refused.
ALLOWED: dict[str, frozenset[str]] = {
    "publisher": frozenset({f"write {EVENTS}"}),
    "consumer": frozenset(
        {
            "join the consumers' group",
            f"read {EVENTS}",
            f"read {MODELS}",
            *(f"write {topic}" for topic in (RESULTS, DEAD_LETTERS, MODEL_REPORTS)),
            "take over the consumer's transactions",
            # Its own prefix: the price of replicas that nobody must announce beforehand.
            "take over the operator's transactions",
        }
    ),
    "reader": frozenset({f"read {RESULTS}"}),
    "operator": frozenset(
        {
            *(f"read {topic}" for topic in (EVENTS, RESULTS, DEAD_LETTERS)),
            f"write {EVENTS}",
            "take over the operator's transactions",
        }
    ),
    "announcer": frozenset({*(f"read {topic}" for topic in (MODELS, MODEL_REPORTS)), f"write {MODELS}"}),
}
FORBIDDEN = [(role, act) for role, allowed in ALLOWED.items() for act in ACTS if act not in allowed]
REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    # Who may not even see a topic finds no leaders of its partitions.
    KafkaError._NOENT,
}


@pytest.mark.parametrize(("role", "act"), FORBIDDEN, ids=[f"{role}: {act}" for role, act in FORBIDDEN])
def test_nothing_else_is_allowed(role: str, act: str, secured: Secured) -> None:
    with pytest.raises(KafkaException) as refused:
        ACTS[act](secured, role)

    assert refused.value.args[0].code() in REFUSALS, refused.value
