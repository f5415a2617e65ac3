"""What the brokers say: whether they answer, whether they let us in, and what the topic looks like."""

import time
from typing import Final, NoReturn

from confluent_kafka import Consumer, KafkaError, KafkaException

from consumer.client.errors import (
    AccessRefusedError,
    KafkaUnavailableError,
    PositionLostError,
    ReaderError,
    TopicMissingError,
)
from schemas.connection import LibrdkafkaConfig
from schemas.handshake import why_refused
from schemas.missing_rights import denied

_ATTEMPT_S: Final = 1.0
_PROBE_INTERVAL_S: Final = 2.0
_PAUSE_S: Final = 0.1
# A topic that was just created is unknown to a broker until the controller's news reach it.
_NEW_TOPIC_S: Final = 3.0

# librdkafka's own codes begin with an underscore.
_REFUSALS: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError._SSL,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_OUT_OF_RANGE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})  # noqa: SLF001
_AWAY: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
    }
)


class BrokerWatch:
    """Turns librdkafka's complaints into errors that a caller can act on.

    A connection that breaks is repaired by librdkafka and is no error; brokers that stay away for longer than
    `outage_timeout_s` are one.
    """

    def __init__(self, topic: str, group_id: str, connection: LibrdkafkaConfig, outage_timeout_s: float) -> None:
        self._topic = topic
        self._group_id = group_id
        self._connection = connection
        self._servers = connection["bootstrap.servers"]
        self._outage_timeout_s = outage_timeout_s
        self._away_since: float | None = None
        self._latest: KafkaError | None = None
        self._refusal: KafkaError | None = None
        self._probe_at_s = 0.0
        self._is_handshake_in_doubt = False

    @property
    def is_away(self) -> bool:
        """Whether the last that was heard is that no broker answers."""
        return self._away_since is not None

    def on_error(self, error: KafkaError) -> None:
        """Take note of an `error_cb`. librdkafka tells once that all brokers are down, and never that one is back."""
        self._is_handshake_in_doubt = True
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._away_since = self._away_since or time.monotonic()
            return
        self._latest = error
        if error.code() in _REFUSALS:
            self._refusal = error

    def answered(self) -> None:
        """A broker did what it was asked to."""
        self._away_since = self._latest = self._refusal = None

    def check(self, consumer: Consumer) -> None:
        """Raise what stands in the way while nothing arrives.

        Raises:
            AccessRefusedError: only an operator can end it.
            KafkaUnavailableError: they have been away for too long.
        """
        if self._refusal is not None:
            self._raise_refusal()
        if self._away_since is None or time.monotonic() < self._probe_at_s:
            return
        self._probe_at_s = time.monotonic() + _PROBE_INTERVAL_S
        try:
            consumer.list_topics(self._topic, timeout=_ATTEMPT_S)
        except KafkaException as failure:
            if time.monotonic() - self._away_since > self._outage_timeout_s:
                raise self._unavailable(failure.args[0]) from None
        else:
            self.answered()

    def judge(self, error: KafkaError) -> ReaderError | None:
        """The error to raise for what a record or a request came back with; None where librdkafka mends it."""
        if error.code() in _OUT_OF_RANGE:
            return PositionLostError(
                f"a position in {self._topic} is outside what it holds: records were deleted before they were read, "
                "or the topic was made anew; choose where to go on"
            )
        if error.code() in _REFUSALS:
            return self._refused(error)
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return self._missing()
        if error.code() in _AWAY:
            return self._unavailable(error)
        if error.fatal():
            return ReaderError(f"Kafka: {error.str()}: make a new reader")
        return None

    def wait_for_partitions(self, consumer: Consumer) -> list[int]:
        """The topic's partitions, as soon as a broker tells.

        Raises:
            KafkaUnavailableError, AccessRefusedError, TopicMissingError: see there.
        """
        started_s = time.monotonic()
        while True:
            waited_s = time.monotonic() - started_s
            try:
                topic = consumer.list_topics(self._topic, timeout=_ATTEMPT_S).topics[self._topic]
            except KafkaException as failure:
                # Error callbacks are served by poll, and nothing is assigned that it could deliver.
                consumer.poll(0)
                self._raise_refusal()
                if waited_s >= self._outage_timeout_s:
                    raise self._unavailable(failure.args[0]) from None
                time.sleep(_PAUSE_S)
                continue
            if topic.error is None:
                self.answered()
                return sorted(topic.partitions)
            self._refuse_topic(topic.error, waited_s)
            time.sleep(_PAUSE_S)

    def _refuse_topic(self, error: KafkaError, waited_s: float) -> None:
        if error.code() in _REFUSALS:
            raise self._refused(error)
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and waited_s >= min(_NEW_TOPIC_S, self._outage_timeout_s):
            raise self._missing()
        if waited_s >= self._outage_timeout_s:
            raise self._unavailable(error)

    def raise_for(self, failure: KafkaException) -> NoReturn:
        """Raise the error for a request that failed."""
        error: KafkaError = failure.args[0]
        raise self.judge(error) or ReaderError(f"Kafka: {error.str()}") from None

    def _missing(self) -> TopicMissingError:
        return TopicMissingError(
            f"there is no topic {self._topic} at {self._servers}; `python -m schemas topics apply` creates ours"
        )

    def _raise_refusal(self) -> None:
        if self._is_handshake_in_doubt:
            self._is_handshake_in_doubt = False
            reason = why_refused(self._connection)
            if reason is not None:
                raise AccessRefusedError(f"no access to Kafka at {self._servers}: {reason}") from None
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            raise self._refused(refusal) from None

    def _refused(self, error: KafkaError) -> AccessRefusedError:
        missing = denied(error, topic=("Read", self._topic), group=("Read", self._group_id))
        reason = missing or f"{error.str()}: check the login and the ACLs"
        return AccessRefusedError(f"Kafka at {self._servers} refuses: {reason}")

    def _unavailable(self, error: KafkaError) -> KafkaUnavailableError:
        reason = (self._latest or error).str()
        return KafkaUnavailableError(f"no answer from Kafka at {self._servers}: {reason}")
