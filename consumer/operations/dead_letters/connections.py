"""The clients of Kafka that operating on dead letters takes, configured as the consumer's own."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from confluent_kafka import Message

from consumer.operations.dead_letters.replay import Sender
from consumer.operations.dead_letters.screening import Screening
from consumer.operations.dead_letters.topic_reader import TopicReader
from consumer.operations.session import OperatorSession
from consumer.outcomes import Coordinates
from consumer.transport.kafka_config import KafkaOptions
from consumer.transport.kafka_errors import Availability
from consumer.transport.kafka_transactions import TransactionalProducer

# An operator waits at the terminal: less patience than a consumer has.
_OUTAGE_BUDGET_S: Final = 30.0
# librdkafka checks this before it compresses, Kafka its topic's limit afterwards; `Screening` has checked that.
_NO_CLIENT_LIMIT_BYTES: Final = 1_000_000_000
_MAX_PRODUCE_BATCH_BYTES: Final = 1_000_000
# librdkafka would write to standard error by itself; what goes wrong reaches the command as an error.
_NO_LOG: Final = logging.getLogger("consumer.operations.librdkafka")
_NO_LOG.addHandler(logging.NullHandler())
_NO_LOG.propagate = False


class KafkaClients:
    """What operators' commands read and send with.

    All replays of a consumer group share one transactional id and one group, both `<group>-dlq-replay`: a new replay
    fences an old one, and the position that it left is at hand.
    """

    def __init__(self, session: OperatorSession) -> None:
        settings = session.settings
        self._events_topic = settings.events_topic
        self._dead_letter_topic = settings.dead_letter_topic
        self._max_event_bytes = session.facts.max_event_bytes
        self._options = KafkaOptions(
            connection=settings.as_librdkafka(),
            group_id=settings.group_id,
            replica_id="dlq-replay",
            events_topic=settings.events_topic,
            static_membership=False,
            session_timeout_ms=settings.session_timeout_ms,
            max_poll_interval_ms=settings.max_poll_interval_ms,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            outage_budget_s=_OUTAGE_BUDGET_S,
            max_output_bytes=_NO_CLIENT_LIMIT_BYTES,
            librdkafka=settings.librdkafka,
        )
        identity = self._options.transactional_id
        self._availability = Availability(
            _OUTAGE_BUDGET_S, lambda: None, group=("Read", identity), transactional_id=("Write", identity)
        )

    def dead_letters(self) -> TopicReader:
        """A reader of the dead-letter topic, whose group is the replays'."""
        return self._reader(self._dead_letter_topic)

    def events(self) -> TopicReader:
        """A reader of the events topic."""
        return self._reader(self._events_topic)

    def sender(self, dead_letters: TopicReader) -> Sender:
        """What publishes to the events topic, and commits positions for `dead_letters`."""
        config = {
            **self._options.producer(),
            # What `Screening` compresses with, to know what fits.
            "compression.type": "gzip",
            "batch.size": min(_MAX_PRODUCE_BATCH_BYTES, self._max_event_bytes),
            "error_cb": self._availability.on_client_error,
            "logger": _NO_LOG,
        }
        producer = TransactionalProducer(config, self._availability, self._options.transaction_timeout_ms)
        return Sender(producer, dead_letters, self._dead_letter_topic, self._availability)

    @contextmanager
    def screening(self, *, beyond_guard: bool) -> Iterator[Screening]:
        """What judges dead letters, with a reader of the events topic that is opened when it is first needed."""
        opened: list[TopicReader] = []

        def source_record(at: Coordinates) -> Message | None:
            if not opened:
                opened.append(self.events())
            return opened[0].record_at(at.partition, at.offset)

        try:
            yield Screening(self._events_topic, self._max_event_bytes, source_record, beyond_guard)
        finally:
            for reader in opened:
                reader.close()

    def _reader(self, topic: str) -> TopicReader:
        config = replace(self._options, group_id=self._options.transactional_id).consumer()
        return TopicReader({**config, "logger": _NO_LOG}, topic, self._availability)
