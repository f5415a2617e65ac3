"""Questions to a Kafka cluster through its admin interface, and what stands behind an answer that does not come."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.connection import LibrdkafkaConfig

K = TypeVar("K")
T = TypeVar("T")

_POLL_S: Final = 0.1
_AWAY: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 (librdkafka's own codes begin with an underscore)
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)
_LOGIN: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001


class ClusterUnreachableError(Exception):
    """No broker answers for now. The message names the address and the reason."""


class LoginRefusedError(Exception):
    """The brokers refuse user, password or certificate. Waiting does not help; the message says what to check."""


class Cluster:
    """An admin client whose requests say why they fail: by themselves they only time out, a wrong login included.

    Raises:
        LoginRefusedError: librdkafka refuses the settings.
    """

    def __init__(self, connection: LibrdkafkaConfig) -> None:
        self._address = connection["bootstrap.servers"]
        self._fault: KafkaError | None = None
        config: dict[str, Any] = {**connection, "log_level": 0, "error_cb": self._note}
        try:
            self.admin: Final = AdminClient(config)
        except KafkaException as failure:
            # For example a CA file that is not there.
            raise LoginRefusedError(f"librdkafka refuses the settings: {failure.args[0].str()}") from None

    def answers(self, futures: Mapping[K, "Future[T]"]) -> dict[K, T]:
        """Wait for the answers to one request.

        Raises:
            KafkaException: the cluster answered with an error.
            ClusterUnreachableError: it did not answer.
            LoginRefusedError: it refuses the login; known long before the request would time out.
        """
        while not all(future.done() for future in futures.values()):
            self.admin.poll(_POLL_S)
            self._check_login()
        try:
            return {key: future.result() for key, future in futures.items()}
        except KafkaException as failure:
            error = failure.args[0]
            self.admin.poll(0)
            self._check_login()
            if error.code() in _AWAY:
                reason = self._fault.str() if self._fault is not None else error.str()
                raise ClusterUnreachableError(f"Kafka at {self._address} does not answer: {reason}") from None
            raise

    def _note(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 (says less than the fault before it)
            self._fault = error

    def _check_login(self) -> None:
        if self._fault is not None and self._fault.code() in _LOGIN:
            raise LoginRefusedError(
                f"Kafka refuses the login, check KAFKA_SECURITY_PROTOCOL and KAFKA_SASL_*: {self._fault.str()}"
            )
