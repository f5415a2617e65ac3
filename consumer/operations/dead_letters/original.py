"""Finds the bytes of one dead letter: in the events topic as long as that holds them, else in the dead-letter topic."""

from dataclasses import dataclass
from typing import Final

from consumer.operations.dead_letters.connections import KafkaClients
from consumer.operations.dead_letters.letter import DeadLetter, headers_of
from consumer.operations.dead_letters.replay import CLOCK_SKEW
from consumer.records import Headers
from consumer.settings import ConsumerSettings
from consumer.sinks.dead_letter_catalogue import DeadLetterEntry

_MAX_BATCH_RECORDS: Final = 500
_MAX_BATCH_BYTES: Final = 8_388_608


@dataclass(frozen=True, slots=True, repr=False)
class OriginalRecord:
    """Key, value and headers as they were published, and where they were read.

    `is_value_omitted`: the value was too large for the dead-letter topic, and the events topic holds it no longer.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    is_value_omitted: bool = False


def find_original(clients: KafkaClients, settings: ConsumerSettings, entry: DeadLetterEntry) -> OriginalRecord | None:
    """The record behind a dead letter; None where neither topic holds it any more.

    The events topic comes first: there it is one request, in the dead-letter topic a search.

    Raises:
        TransientError, FatalError: the cluster is away, or refuses.
    """
    at = entry.coordinates
    with clients.events() as events:
        message = events.record_at(at.partition, at.offset)
    if message is not None:
        return OriginalRecord(
            settings.events_topic, at.partition, at.offset, message.key(), message.value(), headers_of(message)
        )
    letter = _search(clients, settings.events_topic, entry)
    if letter is None:
        return None
    return OriginalRecord(
        settings.dead_letter_topic,
        letter.partition,
        letter.offset,
        letter.key,
        letter.value,
        letter.headers,
        is_value_omitted=letter.omitted_sha256 is not None,
    )


def _search(clients: KafkaClients, source_topic: str, entry: DeadLetterEntry) -> DeadLetter | None:
    with clients.dead_letters() as reader:
        ends = reader.ends()
        starts = reader.positions_at(entry.recorded_at - CLOCK_SKEW, ends)
        batches = reader.batches(starts, ends, max_records=_MAX_BATCH_RECORDS, max_bytes=_MAX_BATCH_BYTES)
        for message in (message for batch in batches for message in batch.messages):
            letter = DeadLetter.from_message(message, source_topic)
            if (
                letter is not None
                and letter.source == entry.coordinates
                and letter.first_failed_at == entry.recorded_at
            ):
                return letter
    return None
