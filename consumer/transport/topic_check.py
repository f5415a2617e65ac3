"""What must hold of the topics before the first record is read."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from consumer.errors import FatalError, TransientError
from schemas.connection import LibrdkafkaConfig

_REQUEST_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """`topic_id` is the events topic's; `max_output_bytes` is what both output topics accept in one record."""

    topic_id: UUID
    max_output_bytes: int


def check_topics(connection: LibrdkafkaConfig, *, events: str, results: str, dead_letters: str) -> TopicFacts:
    """Ask the cluster about the three topics.

    Raises:
        TransientError: the cluster did not answer.
        FatalError: a topic is missing, or an output topic cannot take what an event may grow to.
    """
    names = [events, results, dead_letters]
    admin = AdminClient({**connection, "log_level": 0})
    try:
        described = admin.describe_topics(TopicCollection(names), request_timeout=_REQUEST_TIMEOUT_S)
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        topic_id = described[events].result().topic_id
        for name in (results, dead_letters):
            described[name].result()
        configs = admin.describe_configs(resources, request_timeout=_REQUEST_TIMEOUT_S)
        limits = {
            resource.name: int(future.result()["max.message.bytes"].value) for resource, future in configs.items()
        }
    except KafkaException as failure:
        error = failure.args[0]
        if error.retriable() or error.name() in {"_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE"}:
            raise TransientError(f"Kafka: {error.name()}") from None
        raise FatalError(
            f"the topics {', '.join(names)} cannot be checked: {error.name()}; run `python -m schemas topics apply`"
        ) from None
    for name in (results, dead_letters):
        if limits[name] < 2 * limits[events]:
            raise FatalError(
                f"{name} takes records of {limits[name]} bytes, less than twice the {limits[events]} of {events}: "
                "run `python -m schemas topics apply`"
            )
    uuid = UUID(
        int=(topic_id.get_most_significant_bits() & (2**64 - 1)) << 64
        | (topic_id.get_least_significant_bits() & (2**64 - 1))
    )
    return TopicFacts(topic_id=uuid, max_output_bytes=min(limits[results], limits[dead_letters]))
