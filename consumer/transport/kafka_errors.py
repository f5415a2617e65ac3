"""What an error of librdkafka means: wait, stop, or somebody else took over."""

from collections.abc import Callable
from typing import Final, TypeVar

import structlog
from confluent_kafka import KafkaError, KafkaException

from consumer.errors import FatalError, TransientError
from consumer.transport.outage import OutageBudget
from schemas.missing_rights import denied

log = structlog.get_logger(__name__)
T = TypeVar("T")

RESTART: Final = "this process was fenced or must restart; give each replica a replica_id of its own"

# librdkafka's own codes begin with an underscore.
_REFUSALS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
_FENCED: Final = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001
)
_OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001


def refused_settings(failure: KafkaException) -> FatalError:
    """What to raise where librdkafka makes no client of the settings."""
    return FatalError(
        f"librdkafka refuses the settings: {failure.args[0].str()}: correct KAFKA_* or CONSUMER_LIBRDKAFKA"
    )


def is_fenced(error: KafkaError) -> bool:
    """Whether another process took over the transactional identity: it must not be taken back."""
    return error.code() in _FENCED


class Availability:
    """Judges errors of one cluster against the budget for its absence.

    `while_waiting` is called between attempts: a process that waits is alive. `needed` names what the client works
    with, for the line that tells of a missing right: see `denied`.
    """

    def __init__(self, budget_s: float, while_waiting: Callable[[], None], **needed: tuple[str, str]) -> None:
        self._outage = OutageBudget("Kafka", budget_s)
        self._while_waiting = while_waiting
        self._needed = needed
        self._handshake: str | None = None

    @property
    def is_away(self) -> bool:
        """Whether the last that was heard of the cluster is a failure."""
        return self._outage.is_away

    def answered(self) -> None:
        """The cluster did what it was asked to."""
        self._handshake = None
        self._outage.recovered()

    def judge(self, error: KafkaError) -> TransientError:
        """Count an error against the budget; the error to raise where the caller cannot go on without the answer.

        Raises:
            FatalError: waiting does not help, or the budget is spent.
        """
        if error.code() in _OUT_OF_RANGE:
            raise FatalError(
                "a committed offset is out of range: records were deleted before they were read, or the topic was "
                "replaced; see docs/reliability.md before you reset the group"
            )
        if error.fatal() or error.code() == KafkaError._FATAL or is_fenced(error):  # noqa: SLF001
            raise FatalError(f"Kafka: {error.str()}: {RESTART}")
        if error.code() in _REFUSALS:
            self.check_rights(error)
            raise FatalError(f"Kafka refuses: {error.name()}: check the login and the ACLs")
        reason = error.name() if self._handshake is None else f"{error.name()}: {self._handshake}"
        log.warning("kafka_error", error=reason)
        self._outage.failed(reason)
        return TransientError(f"Kafka: {reason}")

    def check_rights(self, error: KafkaError) -> None:
        """Raise FatalError where an error says that a right is missing, and it is known which."""
        missing = denied(error, **self._needed)
        if missing is not None:
            raise FatalError(f"Kafka refuses: {missing}")

    def on_client_error(self, error: KafkaError) -> None:
        """The clients' `error_cb`: most of what it tells is repaired by itself, and seen again where it is not."""
        if error.code() == KafkaError._SSL:  # noqa: SLF001
            # A certificate that expired meanwhile: it may be renewed without our doing.
            self._handshake = error.str()
        if error.code() == KafkaError._ALL_BROKERS_DOWN or error.code() in _REFUSALS:  # noqa: SLF001
            self.judge(error)

    def wait_for(self, operation: Callable[[], T]) -> T:
        """Repeat an operation that has a time-out of its own, and judges its errors, until it succeeds.

        Raises:
            FatalError: waiting does not help, or the budget is spent.
        """
        while True:
            self._while_waiting()
            try:
                result = operation()
            except TransientError:
                continue
            else:
                self.answered()
                return result
