"""Questions to a Kafka cluster through its admin interface, and what stands behind an answer that does not come."""

import time
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.connection import LibrdkafkaConfig
from schemas.handshake import why_refused

K = TypeVar("K")
T = TypeVar("T")

_POLL_S: Final = 0.1
_LOOK_INTERVAL_S: Final = 2.0
_AWAY: Final = frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 (librdkafka's own codes begin with an underscore)
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)


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
        self._connection = connection
        self._address = connection["bootstrap.servers"]
        self._fault: KafkaError | None = None
        self._is_handshake_in_doubt = False
        self._look_again_at_s = 0.0
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
        # Of a listener that speaks TLS, or does not, librdkafka says no more than that it is down.
        self._is_handshake_in_doubt = True

    def _check_login(self) -> None:
        fault = self._fault
        if fault is not None and fault.code() == KafkaError._AUTHENTICATION:  # noqa: SLF001
            raise LoginRefusedError(
                f"Kafka refuses the login, check KAFKA_SECURITY_PROTOCOL and KAFKA_SASL_*: {fault.str()}"
            )
        if not self._is_handshake_in_doubt or time.monotonic() < self._look_again_at_s:
            return
        self._is_handshake_in_doubt = False
        self._look_again_at_s = time.monotonic() + _LOOK_INTERVAL_S
        reason = why_refused(self._connection)
        if reason is None and fault is not None and fault.code() == KafkaError._SSL:  # noqa: SLF001
            reason = fault.str()
        if reason is not None:
            raise LoginRefusedError(f"no access to Kafka at {self._address}: {reason}")
