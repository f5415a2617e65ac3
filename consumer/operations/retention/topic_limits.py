"""How long the brokers really keep the records of a topic, whatever a file says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from consumer.errors import FatalError, TransientError
from schemas.cluster import Cluster, ClusterUnreachableError, LoginRefusedError
from schemas.connection import LibrdkafkaConfig

_REQUEST_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class TopicLimit:
    """How long one topic keeps records.

    Kafka deletes whole segments, each when its newest record is older than `retention`. A record so lies there for up
    to `roll`, the longest time for which a segment takes further records, beyond its own age.

    Attributes:
        retention: None where age deletes nothing.
        roll: see above.
        is_compacted: whether the newest record of each key stays.
    """

    retention: timedelta | None
    roll: timedelta
    is_compacted: bool

    @property
    def longest(self) -> timedelta | None:
        """How old a record can become there; None if there is no limit."""
        return None if self.retention is None else self.retention + self.roll

    def gone_after(self, newest: datetime) -> datetime | None:
        """When what is as old as `newest` is deleted at the earliest; None for never."""
        return None if self.retention is None else newest + self.retention

    def gone_by(self, newest: datetime) -> datetime | None:
        """When it is deleted at the latest, give or take the minutes in which brokers look; None for never."""
        return None if self.longest is None else newest + self.longest


def topic_limits(connection: LibrdkafkaConfig, topics: Sequence[str]) -> Mapping[str, TopicLimit]:
    """Ask the brokers.

    Raises:
        TransientError: they do not answer.
        FatalError: they refuse, or there is no such topic.
    """
    try:
        cluster = Cluster(connection)
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
        described = cluster.answers(cluster.admin.describe_configs(resources, request_timeout=_REQUEST_TIMEOUT_S))
    except LoginRefusedError as refused:
        raise FatalError(str(refused)) from None
    except ClusterUnreachableError as unreachable:
        raise TransientError(str(unreachable)) from None
    except KafkaException as failure:
        raise FatalError(f"the topics' settings cannot be read: {failure.args[0].name()}") from None
    return {
        resource.name: _limit({name: str(entry.value) for name, entry in config.items()})
        for resource, config in described.items()
    }


def _limit(config: Mapping[str, str]) -> TopicLimit:
    policies = config["cleanup.policy"].replace(" ", "").split(",")
    retention_ms = int(config["retention.ms"])
    return TopicLimit(
        # Negative: no limit. Without `delete` among the policies, age deletes nothing.
        retention=timedelta(milliseconds=retention_ms) if retention_ms >= 0 and "delete" in policies else None,
        roll=timedelta(milliseconds=min(int(config["segment.ms"]), 10**14)),
        is_compacted="compact" in policies,
    )
