"""Sees outputs as soon as a read_committed reader can, whatever happens to the brokers meanwhile."""

import time
import uuid
from typing import Final, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from schemas import headers
from schemas.connection import LibrdkafkaConfig
from tests.chaos.background import Background
from tests.chaos.journal import Journal
from tests.chaos.load import SEQUENCE, sequence_of_result

_POLL_S: Final = 0.1
_BATCH_RECORDS: Final = 500
_REQUEST_TIMEOUT_S: Final = 30.0
# After an outage librdkafka's reader (2.16) was once seen to stand still for good, without an error.
_STANDS_STILL_S: Final = 30.0


class Watch(Background):
    """Tells the journal when the outcome of a record becomes visible, in a thread of its own.

    Attributes:
        replaced_readers: how often a reader gave nothing although a new one found more; the new one goes on.
    """

    def __init__(self, kafka: LibrdkafkaConfig, results_topic: str, dead_letter_topic: str, journal: Journal) -> None:
        self.replaced_readers = 0
        self._kafka = kafka
        self._results_topic = results_topic
        self._journal = journal
        self._reader = self._open_reader()
        # The next offset of each partition.
        self._positions = {
            (topic, number): OFFSET_BEGINNING
            for topic in (results_topic, dead_letter_topic)
            for number in self._partitions(topic)
        }
        self._assign()
        super().__init__("watch")

    def _open_reader(self) -> Consumer:
        return Consumer(
            {
                **self._kafka,
                "log_level": 0,
                "group.id": f"chaos-watch-{uuid.uuid4()}",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
            }
        )

    def _assign(self) -> None:
        self._reader.assign([TopicPartition(*place, offset) for place, offset in self._positions.items()])

    def _halt(self) -> None:
        super()._halt()
        self._reader.close()

    def _partitions(self, topic: str) -> list[int]:
        # A topic that was made a moment ago is not known to every broker: it would seem to have no partitions.
        deadline_s = time.monotonic() + _REQUEST_TIMEOUT_S
        while True:
            found = self._reader.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic]
            if found.error is None and found.partitions:
                return list(found.partitions)
            if time.monotonic() > deadline_s:
                raise KafkaException(found.error)
            time.sleep(_POLL_S)

    def _run(self) -> None:
        heard_s = time.monotonic()
        while not self._stopping.is_set():
            # consume() waits for a full batch or the whole timeout; only poll() returns with the first message.
            first = self._reader.poll(_POLL_S)
            messages = [] if first is None else [first, *self._reader.consume(_BATCH_RECORDS, 0)]
            # An error is one of the faults at work: the client goes on by itself.
            for message in [each for each in messages if each.error() is None]:
                heard_s = time.monotonic()
                self._positions[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
                if (sequence := self._sequence(message)) is not None:
                    self._journal.visible(sequence)
            if time.monotonic() - heard_s > _STANDS_STILL_S:
                self._replace_reader()
                heard_s = time.monotonic()

    def _replace_reader(self) -> None:
        """Go on with a new reader; it counts where that one finds something at once."""
        self._reader.close()
        self._reader = self._open_reader()
        self._assign()
        if (found := self._reader.poll(_POLL_S * 50)) is not None and found.error() is None:
            self.replaced_readers += 1
            self._assign()

    def _sequence(self, message: Message) -> int | None:
        found = dict(cast("list[tuple[str, bytes | None]]", message.headers() or []))
        if message.topic() == self._results_topic:
            trace = found.get(headers.TRACEPARENT)
            return sequence_of_result(trace.decode() if trace is not None else None)
        number = found.get(SEQUENCE)
        return int(number) if number is not None and number.isdigit() else None
