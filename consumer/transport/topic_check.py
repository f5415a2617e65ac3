"""What must hold of the topics before the first record is read."""

import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, ResourceType

from consumer.errors import FatalError, TransientError
from schemas.cluster import Cluster, ClusterUnreachableError, LoginRefusedError
from schemas.connection import LibrdkafkaConfig

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


def check_topics(connection: LibrdkafkaConfig, *, events: str, results: str, dead_letters: str) -> TopicFacts:
    """Ask the cluster about the three topics.

    Raises:
        TransientError: the cluster did not answer.
        FatalError: the cluster refuses the login, a topic is missing, or an output topic cannot take what an event
            may grow to.
    """
    names = [events, results, dead_letters]
    try:
        cluster = Cluster(connection)
    except LoginRefusedError as refused:
        raise FatalError(str(refused)) from None
    deadline_s = time.monotonic() + _NEWLY_MADE_S
    while True:
        try:
            topic_id, limits = _describe(cluster, names, events)
        except KafkaException as failure:
            error = failure.args[0]
            if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and time.monotonic() < deadline_s:
                time.sleep(0.2)
                continue
            if error.retriable():
                raise TransientError(f"Kafka: {error.name()}") from None
            raise FatalError(
                f"the topics {', '.join(names)} cannot be checked: {error.name()}: run `python -m schemas topics apply`"
            ) from None
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


def _describe(cluster: Cluster, names: list[str], events: str) -> tuple[UUID, dict[str, int]]:
    topics = cluster.answers(cluster.admin.describe_topics(TopicCollection(names), request_timeout=_REQUEST_TIMEOUT_S))
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    configs = cluster.answers(cluster.admin.describe_configs(resources, request_timeout=_REQUEST_TIMEOUT_S))
    limits = {resource.name: int(config["max.message.bytes"].value) for resource, config in configs.items()}
    topic_id = topics[events].topic_id
    high, low = topic_id.get_most_significant_bits(), topic_id.get_least_significant_bits()
    return UUID(int=(high & _64_BITS) << 64 | low & _64_BITS), limits
