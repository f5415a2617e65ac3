"""What must hold of the topics before the first record is read."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, TypeVar
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, ConfigResource, ResourceType

from consumer.errors import FatalError, TransientError
from schemas.cluster import Cluster, ClusterUnreachableError, LoginRefusedError
from schemas.connection import LibrdkafkaConfig
from schemas.missing_rights import missing_right

T = TypeVar("T")

_REQUEST_TIMEOUT_S: Final = 10.0
# Brokers hear of a topic a moment after its maker does.
_NEWLY_MADE_S: Final = 5.0
_64_BITS: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What the consumer must know of its topics.

    Attributes:
        topic_id: of the events topic.
        max_event_bytes: what the events topic accepts in one record batch.
        max_output_bytes: what both output topics accept in one record.
    """

    topic_id: UUID
    max_event_bytes: int
    max_output_bytes: int


def check_topics(
    connection: LibrdkafkaConfig, *, events: str, results: str, dead_letters: str, must_process: bool = False
) -> TopicFacts:
    """Ask the cluster about the three topics.

    Args:
        connection: the brokers and the login.
        events: a topic.
        results: a topic.
        dead_letters: a topic.
        must_process: whether the rights to read the first and to write the others must be there too: that of dead
            letters would otherwise be missed with the first of them.

    Raises:
        TransientError: the cluster did not answer.
        FatalError: the cluster refuses the login, a topic or a right is missing, or an output topic cannot take what
            an event may grow to.
    """
    names = [events, results, dead_letters]
    needed: dict[str, AclOperation] = {}
    if must_process:
        needed = {events: AclOperation.READ, results: AclOperation.WRITE, dead_letters: AclOperation.WRITE}
    try:
        cluster = Cluster(connection)
    except LoginRefusedError as refused:
        raise FatalError(str(refused)) from None
    deadline_s = time.monotonic() + _NEWLY_MADE_S
    while True:
        try:
            topic_id, limits = _describe(cluster, names, events, needed)
        except KafkaException as failure:
            error = failure.args[0]
            if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and time.monotonic() < deadline_s:
                time.sleep(0.2)
                continue
            raise _unchecked(error, names) from None
        except ClusterUnreachableError as unreachable:
            raise TransientError(str(unreachable)) from None
        except LoginRefusedError as refused:
            raise FatalError(str(refused)) from None
        break
    for name in (results, dead_letters):
        if limits[name] < 2 * limits[events]:
            raise FatalError(
                f"{name} takes records of {limits[name]} bytes, less than twice the {limits[events]} of {events}: "
                "run `python -m schemas topics apply`"
            )
    return TopicFacts(
        topic_id=topic_id,
        max_event_bytes=limits[events],
        max_output_bytes=min(limits[results], limits[dead_letters]),
    )


def _describe(
    cluster: Cluster, names: list[str], events: str, needed: Mapping[str, AclOperation]
) -> tuple[UUID, dict[str, int]]:
    described = cluster.admin.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=_REQUEST_TIMEOUT_S
    )
    topics = {
        name: _allowed(cluster, future, needed.get(name, AclOperation.DESCRIBE), name)
        for name, future in described.items()
    }
    for name, operation in needed.items():
        # A broker that does not tell what is allowed refuses later.
        allowed = topics[name].authorized_operations
        if allowed and operation not in allowed:
            raise _refused(operation, name)
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    asked = cluster.admin.describe_configs(resources, request_timeout=_REQUEST_TIMEOUT_S)
    configs = {
        resource: _allowed(cluster, future, AclOperation.DESCRIBE_CONFIGS, resource.name)
        for resource, future in asked.items()
    }
    limits = {resource.name: int(config["max.message.bytes"].value) for resource, config in configs.items()}
    topic_id = topics[events].topic_id
    high, low = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    return UUID(int=(high & _64_BITS) << 64 | low & _64_BITS), limits


def _unchecked(error: KafkaError, names: list[str]) -> FatalError | TransientError:
    if error.retriable():
        return TransientError(f"Kafka: {error.name()}")
    return FatalError(
        f"the topics {', '.join(names)} cannot be checked: {error.name()}: run `python -m schemas topics apply`"
    )


def _allowed(cluster: Cluster, future: "Future[T]", operation: AclOperation, topic: str) -> T:
    """The answer about one topic; a refusal names it."""
    try:
        return cluster.answers({topic: future})[topic]
    except KafkaException as failure:
        if failure.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise _refused(operation, topic) from None
        raise


def _refused(operation: AclOperation, topic: str) -> FatalError:
    return FatalError(f"Kafka refuses: {missing_right(operation.name.title().replace('_', ''), 'topic', topic)}")
