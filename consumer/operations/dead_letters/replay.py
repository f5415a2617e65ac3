"""Publishes dead letters again: claimed in PostgreSQL first, then sent in a Kafka transaction with the position."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from confluent_kafka import Message

from consumer.errors import FatalError
from consumer.operations.dead_letters.letter import DeadLetter
from consumer.operations.dead_letters.screening import Refusal, Screening
from consumer.operations.dead_letters.topic_reader import Batch, TopicReader
from consumer.outcomes import Coordinates
from consumer.records import OutboundRecord
from consumer.sinks.dead_letter_catalogue import DeadLetterCatalogue, DeadLetterEntry
from consumer.sinks.dead_letter_replays import OVERTAKEN, Claim, ReplayJournal, ReplayRun, Settlement
from consumer.sinks.dead_letter_selection import DeadLetterSelection
from consumer.transport.base import TransactionAbortedError
from consumer.transport.kafka_errors import RESTART, Availability
from consumer.transport.kafka_transactions import TransactionalProducer

MAX_TRANSACTION_RECORDS: Final = 500
_MAX_BATCH_BYTES: Final = 8_388_608
_TRANSACTION_ATTEMPTS: Final = 5
_MAX_EXAMPLES: Final = 10
# Kafka's timestamp of a dead letter is its consumer's, the ledger's is the database's: their clocks may differ.
CLOCK_SKEW: Final = timedelta(hours=1)


@dataclass
class ReplayReport:
    """What a replay did, or would do.

    Attributes:
        selected: dead letters that the ledger holds open for this selection, by stage and class.
        conflicts: those of them that were left out, because they would conflict again.
        sent: by stage and class.
        refused: how many could not go, by reason.
        examples: the first few coordinates for each reason.
        missing: selected, and not found in the dead-letter topic.
        stopped: somebody asked to stop before the end.
    """

    selected: Counter[tuple[str, str]] = field(default_factory=Counter)
    conflicts: int = 0
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[Refusal] = field(default_factory=Counter)
    examples: dict[Refusal, list[Coordinates]] = field(default_factory=dict)
    missing: int = 0
    stopped: bool = False

    def refuse(self, coordinates: Coordinates, reason: Refusal) -> None:
        """Note one that cannot go."""
        self.refused[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _MAX_EXAMPLES:
            examples.append(coordinates)


@dataclass(frozen=True, slots=True)
class _Candidate:
    letter: DeadLetter
    entry: DeadLetterEntry
    record: OutboundRecord


class Replay:
    """One pass over the dead-letter topic for one selection.

    For each batch: (1) the ledger says which of its records are selected and open, (2) they are screened, (3) claimed
    in the database, and only then (4) one Kafka transaction publishes them together with the position in the
    dead-letter topic; (5) the claims are confirmed. A process that dies in between leaves claims in flight, and the
    committed position tells the next replay which of them went out (`settle`).
    """

    def __init__(
        self,
        *,
        topic: str,
        reader: TopicReader,
        catalogue: DeadLetterCatalogue,
        screening: Screening,
        selection: DeadLetterSelection,
        limit_records: int | None,
        rate_per_s: float | None,
        should_stop: Callable[[], bool],
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._topic = topic
        self._reader = reader
        self._catalogue = catalogue
        self._screening = screening
        self._selection = selection
        self._limit_records = limit_records
        self._rate_per_s = rate_per_s
        self._should_stop = should_stop
        self._on_progress = on_progress
        self._report = ReplayReport()
        # A second copy of a dead letter may follow: where it was not claimed, nothing else tells that it was met.
        self._met: set[Coordinates] = set()

    def select(self) -> ReplayReport:
        """Count what is selected, and freeze it: what fails again from now on is not part of it."""
        now = self._catalogue.now()
        until = min(self._selection.until or now, now)
        everything = replace(self._selection, until=until)
        # A conflict that is named by its coordinates is meant: its rival may have been erased since.
        self._selection = replace(everything, conflicts=bool(self._selection.coordinates))
        counts = self._catalogue.count(self._selection)
        self._report.selected.update({(count.stage, count.error_class): count.records for count in counts})
        self._report.conflicts = self._total(everything) - self._report.selected.total()
        if counts:
            self._begin_at = min(count.first_recorded_at for count in counts) - CLOCK_SKEW
        return self._report

    @property
    def selection(self) -> DeadLetterSelection:
        """The selection, as frozen by `select`."""
        return self._selection

    def rehearse(self) -> ReplayReport:
        """Do everything but claim and send. Raises TransientError or FatalError as the servers do."""
        starts, ends = self._stretch()
        for batch in self._batches(starts, ends):
            for candidate in self._candidates(batch):
                self._met.add(candidate.letter.source)
                self._report.sent[candidate.entry.stage, candidate.entry.error_class] += 1
            self._show()
        if not self._report.stopped and not self._is_enough():
            self._report.missing = max(0, self._report.selected.total() - len(self._met))
        return self._report

    def run(self, journal: ReplayJournal, run: ReplayRun, sender: "Sender") -> ReplayReport:
        """Send them. Raises TransientError or FatalError as the servers do; the next replay settles what was left."""
        starts, ends = self._stretch()
        # Before anything is claimed: a group without a position is then one whose position Kafka has forgotten.
        sender.send([], starts)
        began_s = time.monotonic()
        for batch in self._batches(starts, ends):
            candidates = self._candidates(batch)
            claims = [
                Claim(candidate.letter.source, candidate.letter.partition, candidate.letter.offset)
                for candidate in candidates
            ]
            claimed = journal.claim(run, claims) if claims else set()
            mine = [candidate for candidate in candidates if candidate.letter.source in claimed]
            if mine:
                sender.send([candidate.record for candidate in mine], batch.next_offsets)
                journal.confirm(run)
            self._report.sent.update((candidate.entry.stage, candidate.entry.error_class) for candidate in mine)
            self._show()
            self._pace(began_s)
        if not self._report.stopped and not self._is_enough():
            # Somebody else may have dropped some meanwhile.
            self._report.missing = max(0, self._total(self._selection) - len(self._met))
        journal.finish(run)
        return self._report

    def _total(self, selection: DeadLetterSelection) -> int:
        return sum(count.records for count in self._catalogue.count(selection))

    def _stretch(self) -> tuple[dict[int, int], dict[int, int]]:
        ends = self._reader.ends()
        return self._reader.positions_at(self._begin_at, ends), ends

    def _batches(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> Iterator[Batch]:
        # At a low rate, transactions of one second each: not a burst and a long silence.
        max_records = max(1, min(MAX_TRANSACTION_RECORDS, int(self._rate_per_s or MAX_TRANSACTION_RECORDS)))
        for batch in self._reader.batches(starts, ends, max_records=max_records, max_bytes=_MAX_BATCH_BYTES):
            if self._should_stop():
                self._report.stopped = True
                return
            yield batch
            if self._is_enough():
                return

    def _is_enough(self) -> bool:
        sent = self._report.sent.total()
        if self._limit_records is not None and sent >= self._limit_records:
            return True
        return sent + sum(self._report.refused.values()) >= self._report.selected.total()

    def _candidates(self, batch: Batch) -> list[_Candidate]:
        """The selected dead letters of a batch that can go, each once; the others are noted."""
        letters = [letter for letter in self._letters(batch.messages) if letter.source not in self._met]
        entries = self._catalogue.find(self._selection, [letter.source for letter in letters]) if letters else {}
        candidates: list[_Candidate] = []
        for letter in letters:
            coordinates = letter.source
            # A letter of a former topic of this name has these coordinates too, and another time.
            entry = entries.get(coordinates)
            if entry is None or entry.recorded_at != letter.first_failed_at:
                continue
            del entries[coordinates]
            if self._limit_records is not None and len(candidates) + self._report.sent.total() >= self._limit_records:
                break
            judged = self._screening.judge(letter)
            if isinstance(judged, OutboundRecord):
                candidates.append(_Candidate(letter, entry, judged))
            else:
                self._met.add(coordinates)
                self._report.refuse(coordinates, judged)
        return candidates

    def _letters(self, messages: Sequence[Message]) -> Iterator[DeadLetter]:
        for message in messages:
            letter = DeadLetter.from_message(message, self._topic)
            if letter is not None:
                yield letter

    def _show(self) -> None:
        total = self._report.selected.total()
        self._on_progress(self._report.sent.total(), min(total, self._limit_records or total))

    def _pace(self, began_s: float) -> None:
        if self._rate_per_s is None:
            return
        due_s = began_s + self._report.sent.total() / self._rate_per_s
        while (ahead_s := due_s - time.monotonic()) > 0 and not self._should_stop():
            time.sleep(min(0.1, ahead_s))


class Sender:
    """Sends records and the position that they were read up to in one transaction, or neither."""

    def __init__(
        self, producer: TransactionalProducer, reader: TopicReader, dead_letter_topic: str, availability: Availability
    ) -> None:
        self._producer = producer
        self._reader = reader
        self._dead_letter_topic = dead_letter_topic
        self._availability = availability

    def take_over(self) -> None:
        """End what an earlier replay left open, for good: from here on it can commit nothing.

        Raises:
            FatalError: the cluster refuses, or stayed away too long.
        """
        self._availability.wait_for(self._producer.initialise)

    def send(self, records: Sequence[OutboundRecord], next_offsets: Mapping[int, int]) -> None:
        """Publish records, and commit the position.

        Raises:
            TransactionAbortedError: it failed several times; nothing of it is visible.
            FatalError: the cluster refuses, or another replay took over.
        """
        for attempt in range(1, _TRANSACTION_ATTEMPTS + 1):
            try:
                self._try(records, next_offsets)
            except TransactionAbortedError:
                self.take_over()
                if self._availability.wait_for(lambda: self._reader.committed(next_offsets)) == dict(next_offsets):
                    return  # the answer to the commit was lost, not the commit
                if attempt == _TRANSACTION_ATTEMPTS:
                    raise
            except FatalError as fatal:
                if RESTART not in str(fatal):
                    raise
                raise FatalError(f"{OVERTAKEN} ({str(fatal).removesuffix(f': {RESTART}')})") from None
            else:
                return

    def settle(self, journal: ReplayJournal, interrupted: ReplayRun, numbers: Mapping[int, int]) -> Settlement:
        """End a replay whose process died; after `take_over`."""
        committed = self._availability.wait_for(lambda: self._reader.committed(numbers))
        return journal.settle(interrupted, committed)

    def _try(self, records: Sequence[OutboundRecord], next_offsets: Mapping[int, int]) -> None:
        self._producer.begin()
        for record in records:
            self._producer.produce(record)
        self._producer.send_offsets(self._dead_letter_topic, next_offsets, self._reader.group_metadata())
        self._producer.commit()
