"""From polled records to proposals for the ledger: decode, skip what is known, classify, size-check."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self
from uuid import UUID

from consumer.decode import DecodedEvent, decode
from consumer.errors import PoisonEvent
from consumer.inference.classifier import Verdict
from consumer.outcomes import Coordinates, KnownRecords, Proposal
from consumer.policy import Policy
from consumer.records import SourceRecord
from consumer.redaction.redactor import Redactor
from consumer.results import FeedbackRow, feedback_row, to_result
from consumer.tracing.base import NO_TRACE, WindowTrace


@dataclass(frozen=True, slots=True, repr=False)
class PreparedWindow:
    """A decoded window. `to_classify` are the indexes of the records whose text a model must see."""

    records: Sequence[SourceRecord]
    decoded: Sequence[DecodedEvent | PoisonEvent]
    to_classify: Sequence[int]
    is_recorded: Sequence[bool]
    attempts: int = 1
    trace: WindowTrace = NO_TRACE

    @property
    def unclassified(self) -> list[tuple[SourceRecord, DecodedEvent]]:
        """The records to classify and their events, in order."""
        return [
            (self.records[index], event)
            for index in self.to_classify
            if isinstance(event := self.decoded[index], DecodedEvent)
        ]

    @property
    def texts(self) -> list[str]:
        """The texts to classify, in order."""
        return [event.event.text for _, event in self.unclassified]

    def refused(self, failure: PoisonEvent, attempts: int) -> Self:
        """The window with `failure` in place of each record that would be classified."""
        decoded = [failure if index in self.to_classify else event for index, event in enumerate(self.decoded)]
        return replace(self, decoded=decoded, to_classify=(), attempts=attempts)


@dataclass(frozen=True, slots=True, repr=False)
class ClassifiedWindow:
    """Records in source order, each with what to record of it; `None` where the ledger knows it already."""

    records: Sequence[SourceRecord]
    proposals: Sequence[Proposal | None]
    trace: WindowTrace = NO_TRACE


@dataclass(frozen=True, slots=True)
class Preparation:
    """What turning a window into proposals depends on, the model apart. `topic_id` belongs to `topic`."""

    topic: str
    topic_id: UUID
    results_topic: str
    max_output_bytes: int
    policy: Policy
    redactor: Redactor | None = None

    def prepare(
        self,
        records: Sequence[SourceRecord],
        look_up: Callable[[Sequence[Coordinates], Sequence[UUID]], KnownRecords],
        trace: WindowTrace = NO_TRACE,
    ) -> PreparedWindow:
        """Decode a window and ask the ledger what it knows of it. Raises what `look_up` raises."""
        with trace.step("decode"):
            decoded = [self._decode(record) for record in records]
        event_ids = sorted({event.event.event_id for event in decoded if isinstance(event, DecodedEvent)})
        with trace.step("look_up"):
            known = look_up([Coordinates(record.partition, record.offset) for record in records], event_ids)
        is_recorded = [Coordinates(record.partition, record.offset) in known.recorded for record in records]
        to_classify = [
            index
            for index, event in enumerate(decoded)
            if isinstance(event, DecodedEvent)
            and not is_recorded[index]
            and event.event.event_id not in known.owners
            and event.event.event_id not in known.erased
        ]
        return PreparedWindow(records, decoded, to_classify, is_recorded, trace=trace)

    def propose(
        self, prepared: PreparedWindow, verdicts: Sequence[Verdict | PoisonEvent], classified_at: datetime
    ) -> ClassifiedWindow:
        """Join the verdicts, one for each of `prepared.to_classify`, with their records."""
        verdict_of = dict(zip(prepared.to_classify, verdicts, strict=True))
        with prepared.trace.step("route"):
            proposals = [
                None
                if prepared.is_recorded[index]
                else self._propose(
                    record, prepared.decoded[index], verdict_of.get(index), classified_at, prepared.attempts
                )
                for index, record in enumerate(prepared.records)
            ]
        return ClassifiedWindow(prepared.records, proposals, prepared.trace)

    def _decode(self, record: SourceRecord) -> DecodedEvent | PoisonEvent:
        try:
            return decode(record, self.topic_id, self.redactor)
        except PoisonEvent as poison:
            return poison

    def _propose(
        self,
        record: SourceRecord,
        decoded: DecodedEvent | PoisonEvent,
        verdict: Verdict | PoisonEvent | None,
        classified_at: datetime,
        attempts: int,
    ) -> Proposal:
        coordinates = Coordinates(record.partition, record.offset)
        if isinstance(decoded, PoisonEvent):
            return Proposal(coordinates, failure=decoded, attempts=attempts)
        event_id, payload_sha256 = decoded.event.event_id, decoded.payload_sha256
        if verdict is None:
            return Proposal(coordinates, event_id, payload_sha256, other_sha256=decoded.other_sha256)
        if isinstance(verdict, PoisonEvent):
            return Proposal(coordinates, event_id, payload_sha256, failure=verdict, attempts=attempts)
        row = feedback_row(
            record,
            decoded,
            verdict,
            topic=self.topic,
            topic_id=self.topic_id,
            policy=self.policy,
            model=verdict.model,
            classified_at=classified_at,
        )
        too_large = self._too_large(row)
        if too_large is not None:
            return Proposal(coordinates, event_id, payload_sha256, failure=too_large, attempts=attempts)
        return Proposal(
            coordinates, event_id, payload_sha256, row=row, attempts=attempts, other_sha256=decoded.other_sha256
        )

    def _too_large(self, row: FeedbackRow) -> PoisonEvent | None:
        # Before any row is written: a result that no broker takes would abort its transaction for ever.
        size_bytes = to_result(row, self.results_topic).size_bytes
        if size_bytes <= self.max_output_bytes:
            return None
        return PoisonEvent(
            "encode",
            "result_too_large",
            f"the result has {size_bytes} bytes, the topic takes {self.max_output_bytes}; send fewer unknown fields",
        )
