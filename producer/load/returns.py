"""Reads results and dead letters as they become visible, from where the topics ended before the run."""

import json
import logging
import threading
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from producer.broker import BrokerFaults, ask_for_topic
from producer.errors import BrokerError
from producer.load.tally import Tally
from schemas import headers
from schemas.connection import KafkaConnection

_logger = logging.getLogger(__name__)

# Below 200 ms confluent-kafka's poll returns with the first record; above, its clock is coarse.
_POLL_S: Final = 0.1
_ANSWER_S: Final = 10.0
# A dead consumer's open transaction hides the end of its topic until the broker ends it.
_READY_S: Final = 30.0


class ReturnReader:
    """A read_committed reader without a group, in a thread of its own.

    Args:
        connection: the brokers and the login.
        results_topic: where results come.
        dead_letter_topic: where dead letters come.
        tally: hears of each.
    """

    def __init__(self, connection: KafkaConnection, results_topic: str, dead_letter_topic: str, tally: Tally) -> None:
        self._connection = connection
        self._results_topic = results_topic
        self._dead_letter_topic = dead_letter_topic
        self._tally = tally
        self._client_config = connection.as_librdkafka()
        self._faults = BrokerFaults(self._client_config)
        self._stop = threading.Event()
        self._unready: set[tuple[str, int]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._read, name="load-return-reader", daemon=True)

    @property
    def fault(self) -> str | None:
        """What the connection complained about lately."""
        return self._faults.fatal or self._faults.recent()

    def __enter__(self) -> Self:
        """Connect, note where the topics end, and return once records that come now are seen at once.

        Raises:
            BrokerError: no broker answers, they refuse the login, or there is no such topic.
        """
        config: dict[str, Any] = {
            **self._client_config,
            # librdkafka wants one; nobody joins it and nothing is committed.
            "group.id": "feedback-load",
            "client.id": "feedback-load",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "error_cb": self._faults.on_error,
        }
        try:
            self._consumer = Consumer(config, logger=_logger)
        except KafkaException as error:
            raise BrokerError(f"librdkafka refuses the settings: {error.args[0].str()}") from None
        try:
            ends = [*self._ends(self._results_topic), *self._ends(self._dead_letter_topic)]
            self._unready = {(end.topic, end.partition) for end in ends}
            self._consumer.assign(ends)
        except BaseException:
            self._consumer.close()
            raise
        self._thread.start()
        if not self._ready.wait(_READY_S):
            self.__exit__(None, None, None)
            raise BrokerError(f"the results cannot be read: {self.fault or 'Kafka is silent'}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def _ends(self, topic: str) -> list[TopicPartition]:
        servers = self._connection.bootstrap_servers
        ask_for_topic(self._consumer, topic, self._faults, servers, _ANSWER_S)
        try:
            partitions = self._consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic].partitions
            ends = []
            for partition in partitions:
                _, end_offset = self._consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=_ANSWER_S
                )
                ends.append(TopicPartition(topic, partition, end_offset))
        except KafkaException as error:
            raise BrokerError(f"topic {topic} at {servers}: {error.args[0].str()}") from None
        return ends

    def _read(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(_POLL_S)
            if message is None:
                continue
            if not self._ready.is_set():
                self._unready.discard((message.topic() or "", message.partition() or 0))
                if not self._unready:
                    self._ready.set()
            error = message.error()
            if error is None:
                self._take(message)
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 (librdkafka's local codes begin with an underscore)
                self._faults.on_error(error)

    def _take(self, message: Message) -> None:
        dead_letter = message.topic() == self._dead_letter_topic
        try:
            text = json.loads(message.value() or b"")["event_id"] if dead_letter else _event_id_header(message)
            event_id = UUID(text)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # Somebody else's: whatever this run sends has an id.
            return
        self._tally.add_returned(event_id, dead_letter)


def _event_id_header(message: Message) -> str:
    value = dict(message.headers() or []).get(headers.EVENT_ID)
    return value.decode() if isinstance(value, bytes) else str(value)
