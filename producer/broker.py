"""What the brokers say: connection faults as librdkafka reports them, and a question for the topic."""

import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from producer.errors import BrokerError
from schemas.connection import LibrdkafkaConfig
from schemas.handshake import why_refused
from schemas.missing_rights import denied

_ATTEMPT_S: Final = 1.0
_RECENT_S: Final = 30.0
# A topic that was just created is unknown to a broker until the controller's news reach it.
_NEW_TOPIC_S: Final = 3.0
_PAUSE_S: Final = 0.1

# Only an operator can end these; waiting longer would hide the reason.
_HOPELESS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001 (librdkafka's local codes begin with an underscore)


class BrokerFaults:
    """The latest complaints of librdkafka's error callback. They are transient unless `fatal` is set.

    Attributes:
        fatal: why the producer can never send again, or None.
    """

    def __init__(self, connection: LibrdkafkaConfig) -> None:
        self._connection = connection
        self._is_handshake_in_doubt = False
        self.fatal: str | None = None
        self._latest: KafkaError | None = None
        self._latest_at_s = 0.0

    def on_error(self, error: KafkaError) -> None:
        """Take note of what librdkafka tells its `error_cb`."""
        self._is_handshake_in_doubt = True
        if error.fatal():
            self.fatal = error.str()
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 (says less than the fault before it)
            self._latest, self._latest_at_s = error, time.monotonic()

    def recent(self) -> str | None:
        """The latest complaint if it is less than 30 s old."""
        if self._latest is None or time.monotonic() - self._latest_at_s > _RECENT_S:
            return None
        return self._latest.str()

    def handshake_refusal(self) -> str | None:
        """Why the brokers and this client do not come to terms, where that is certain. Asks once for each complaint."""
        if not self._is_handshake_in_doubt:
            return None
        self._is_handshake_in_doubt = False
        return why_refused(self._connection)

    @property
    def hopeless(self) -> bool:
        """Whether the latest complaint is one that no retry will end."""
        return self._latest is not None and self._latest.code() in _HOPELESS


def ask_for_topic(
    client: Producer | Consumer, topic: str, faults: BrokerFaults, bootstrap_servers: str, timeout_s: float
) -> str:
    """Fetch the topic's metadata. A `client` that produces needs the right to write, another one that to read.

    Returns:
        The cluster's id.

    Raises:
        BrokerError: no broker answers, they refuse the login, or there is no such topic.
    """
    operation = "Write" if isinstance(client, Producer) else "Read"
    started_s = time.monotonic()
    while True:
        try:
            cluster = client.list_topics(topic, timeout=_ATTEMPT_S)
        except KafkaException as error:
            refusal = faults.handshake_refusal()
            out_of_time = refusal is None and time.monotonic() >= started_s + timeout_s
            if out_of_time or faults.hopeless or refusal is not None:
                reason = refusal or faults.recent() or error.args[0].str()
                waited = f" within {timeout_s:g} s" if out_of_time else ""
                raise BrokerError(f"no access to Kafka at {bootstrap_servers}{waited}: {reason}") from None
            time.sleep(_PAUSE_S)
            continue
        problem = cluster.topics[topic].error
        if problem is None:
            return str(cluster.cluster_id)
        unknown_topic = problem.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
        patience_s = min(timeout_s, _NEW_TOPIC_S) if unknown_topic else timeout_s
        if not problem.retriable() or time.monotonic() >= started_s + patience_s:
            hint = "; `python -m schemas topics apply` creates ours" if unknown_topic else ""
            reason = denied(problem, topic=(operation, topic)) or f"{problem.str()}{hint}"
            raise BrokerError(f"topic {topic} at {bootstrap_servers}: {reason}")
        time.sleep(_PAUSE_S)
