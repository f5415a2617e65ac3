"""One window made durable: the ledger first, then what stands there to Kafka, in one transaction with the offsets."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from consumer.dead_letter_limit import DeadLetterLimit
from consumer.dead_letters import to_dead_letter
from consumer.errors import FatalError, PoisonEvent
from consumer.metrics import Metrics
from consumer.outcomes import Coordinates, Proposal, StandingOutcome
from consumer.preparation import ClassifiedWindow
from consumer.records import OutboundRecord, SourceRecord
from consumer.results import to_result
from consumer.sinks.ledger import UnstorableRecordsError
from consumer.transport.base import Transport


class VerdictLedger(Protocol):
    """The ledger as a checkpoint uses it; see `consumer.sinks.ledger.Ledger`."""

    def persist(self, proposals: Sequence[Proposal]) -> None:
        """Record proposals; the first verdict on a record stands."""
        ...

    def read_back(self, coordinates: Sequence[Coordinates]) -> Mapping[Coordinates, StandingOutcome]:
        """The verdicts that stand."""
        ...


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the three topics, and how large a record the two output topics take, in bytes."""

    events: str
    results: str
    dead_letters: str
    max_output_bytes: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The only place that orders effects. Its parts are handed in, so that a test can stop between any two steps.

    1. Records of partitions that are not assigned now, in the epoch they were read in, are refused.
    2. The dead-letter limits judge the whole window.
    3. The ledger and the rows are written in one database transaction.
    4. Everything is read back: what stands may be somebody else's verdict.
    5. A Kafka transaction holds results, dead letters and offsets, and nothing else: it is never open while the
       database is away.

    Running it again for the same window, after any failure at any point, ends in the same state.
    """

    topics: Topics
    ledger: VerdictLedger
    transport: Transport
    limit: DeadLetterLimit
    metrics: Metrics

    def run(self, window: ClassifiedWindow) -> Mapping[int, int]:
        """Make one window durable and visible.

        Returns:
            The next offset that was committed, for each partition of the window that is still assigned.

        Raises:
            DeadLetterLimitError: nothing was written; an operator must look.
            TransactionAbortedError: nothing is visible; the caller rewinds.
            TransientError: run the same window again.
            FatalError: this process must end.
        """
        assignment = self.transport.assignment
        current = [
            (record, proposal)
            for record, proposal in zip(window.records, window.proposals, strict=True)
            if assignment.get(record.partition) == record.epoch
        ]
        if not current:
            return {}
        records = [record for record, _ in current]
        with self.metrics.database_seconds.labels("persist").time(), window.trace.step("persist"):
            self._persist([proposal for _, proposal in current if proposal is not None])
        with self.metrics.database_seconds.labels("read_back").time(), window.trace.step("read_back"):
            standing = self.ledger.read_back([Coordinates(record.partition, record.offset) for record in records])
        stands = [(record, self._stands(record, standing)) for record in records]
        outputs = [output for record, outcome in stands if (output := self._output(record, outcome)) is not None]
        next_offsets = _next_offsets(records)
        with self.metrics.commit_seconds.time(), window.trace.step("commit"):
            self._emit(outputs, next_offsets)
        self._count(stands)
        window.trace.settled(stands)
        return next_offsets

    def _persist(self, proposals: Sequence[Proposal]) -> None:
        if not proposals:
            return
        self.limit.judge(proposals)
        try:
            self.ledger.persist(proposals)
        except UnstorableRecordsError as unstorable:
            replaced = [_refuse(proposal, unstorable.failures) for proposal in proposals]
            self.limit.judge(replaced)
            self.ledger.persist(replaced)

    def _stands(self, record: SourceRecord, standing: Mapping[Coordinates, StandingOutcome]) -> StandingOutcome:
        try:
            return standing[Coordinates(record.partition, record.offset)]
        except KeyError:
            raise FatalError(f"the ledger lost its entry for {record}: was the database restored?") from None

    def _output(self, record: SourceRecord, standing: StandingOutcome) -> OutboundRecord | None:
        if standing.outcome == "classified" and standing.row is not None:
            return to_result(standing.row, self.topics.results)
        if standing.outcome in {"dead_letter", "conflict"}:
            return to_dead_letter(
                record,
                self.topics.dead_letters,
                source_topic=self.topics.events,
                stage=standing.stage or "",
                error_class=standing.error_class or "",
                error_message=standing.error_message or "",
                attempts=standing.attempts,
                first_failed_at=standing.recorded_at,
                app_version=standing.app_version,
                max_bytes=self.topics.max_output_bytes,
            )
        return None  # a duplicate, an erased record, or a classified one whose row was removed since

    def _emit(self, outputs: Sequence[OutboundRecord], next_offsets: Mapping[int, int]) -> None:
        self.transport.begin()
        for output in outputs:
            self.transport.produce(output)
        self.transport.send_offsets(next_offsets)
        self.transport.commit()

    def _count(self, stands: Sequence[tuple[SourceRecord, StandingOutcome]]) -> None:
        self.metrics.count_outcomes(Counter(outcome.outcome for _, outcome in stands))
        for record, outcome in stands:
            if outcome.outcome in {"dead_letter", "conflict"}:
                self.metrics.dead_letters.labels(outcome.stage, outcome.error_class).inc()
            elif outcome.outcome == "classified" and outcome.row is not None:
                self.metrics.observe_result(record, outcome.row)


def _refuse(proposal: Proposal, failures: Mapping[Coordinates, PoisonEvent]) -> Proposal:
    failure = failures.get(proposal.coordinates)
    if failure is None:
        return proposal
    return Proposal(proposal.coordinates, proposal.event_id, proposal.payload_sha256, failure=failure)


def _next_offsets(records: Sequence[SourceRecord]) -> dict[int, int]:
    next_offsets: dict[int, int] = {}
    for record in records:
        next_offsets[record.partition] = max(next_offsets.get(record.partition, 0), record.offset + 1)
    return next_offsets
