"""librdkafka configurations of the consumer and its transactional producer, safety keys last."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from consumer.errors import FatalError
from schemas.connection import LibrdkafkaConfig

# Exactly once rests on these: they are applied last, and refused where a user sets them.
_CONSUMER_SAFETY: Final[LibrdkafkaConfig] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",
    "group.protocol": "classic",
}
_PRODUCER_SAFETY: Final[LibrdkafkaConfig] = {
    "enable.idempotence": True,
    "acks": "all",
}
_OWNED: Final = frozenset(
    {
        *_CONSUMER_SAFETY,
        *_PRODUCER_SAFETY,
        "group.id",
        "group.instance.id",
        "transactional.id",
        "transaction.timeout.ms",
        "max.poll.interval.ms",
        "session.timeout.ms",
        "message.max.bytes",
    }
)


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """What the Kafka transport is told. `replica_id` is stable and different for each replica."""

    connection: LibrdkafkaConfig = field(repr=False)
    group_id: str
    replica_id: str
    events_topic: str
    static_membership: bool
    session_timeout_ms: int
    max_poll_interval_ms: int
    transaction_timeout_ms: int
    outage_budget_s: float
    max_output_bytes: int
    librdkafka: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        refused = sorted(_OWNED & set(self.librdkafka))
        if refused:
            raise FatalError(f"exactly once rests on {', '.join(refused)}: remove them from CONSUMER_LIBRDKAFKA")

    @property
    def transactional_id(self) -> str:
        """Group and replica: a restarted replica resolves what its predecessor left open, and fences it."""
        return f"{self.group_id}-{self.replica_id}"

    def consumer(self) -> LibrdkafkaConfig:
        """The consumer's configuration. Holds the password in the clear."""
        config: LibrdkafkaConfig = {
            **self.connection,
            "client.id": f"feedback-consumer-{self.replica_id}",
            # The defaults prefetch up to 64 MB a partition; one window is all that is ever needed at once.
            "queued.min.messages": 2_000,
            "queued.max.messages.kbytes": 16_384,
            **self.librdkafka,
            "group.id": self.group_id,
            "session.timeout.ms": self.session_timeout_ms,
            "max.poll.interval.ms": self.max_poll_interval_ms,
            **_CONSUMER_SAFETY,
        }
        if self.static_membership:
            config["group.instance.id"] = self.transactional_id
        return config

    def producer(self) -> LibrdkafkaConfig:
        """The transactional producer's configuration. Holds the password in the clear."""
        return {
            **self.connection,
            "client.id": f"feedback-consumer-{self.replica_id}",
            "compression.type": "lz4",
            # Java and aiokafka clients partition a key this way; librdkafka's own default would split its order.
            "partitioner": "murmur2_random",
            # Each new transaction meets CONCURRENT_TRANSACTIONS once: the default 100 ms was nearly all of its cost.
            "retry.backoff.ms": 10,
            **self.librdkafka,
            "transactional.id": self.transactional_id,
            "transaction.timeout.ms": self.transaction_timeout_ms,
            "message.max.bytes": self.max_output_bytes,
            **_PRODUCER_SAFETY,
        }
