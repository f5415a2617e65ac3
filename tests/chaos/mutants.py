"""Broken variants of the consumer, made in its own process: what the harness must find if it is worth anything.

`python -m tests.chaos.mutations` runs each of them. Only the harness's consumer process knows of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from confluent_kafka import Consumer, Producer, TopicPartition

from consumer.checkpoint import Checkpoint, _next_offsets
from consumer.errors import PoisonEvent
from consumer.outcomes import Coordinates, KnownRecords, Proposal, StandingOutcome
from consumer.preparation import ClassifiedWindow
from consumer.records import OutboundRecord, SourceRecord
from consumer.sinks.ledger import Ledger
from consumer.transport.base import Transport
from consumer.transport.kafka import KafkaTransport


def _offsets_before_rows() -> None:
    """The window's offsets are committed before anything of it is written."""
    whole = Checkpoint.run

    def run(self: Checkpoint, window: ClassifiedWindow) -> Mapping[int, int]:
        assignment = self.transport.assignment
        records = [record for record in window.records if assignment.get(record.partition) == record.epoch]
        if records:
            self.transport.begin()
            self.transport.send_offsets(_next_offsets(records))
            self.transport.commit()
        return whole(self, window)

    Checkpoint.run = run  # type: ignore[method-assign]


def _results_outside_transaction() -> None:
    """Results and dead letters are produced by a producer without transactions."""
    plain: list[Producer] = []

    def produce(self: KafkaTransport, record: OutboundRecord) -> None:
        if not plain:
            config = self._options.producer()
            for name in ("transactional.id", "transaction.timeout.ms"):
                del config[name]
            plain.append(Producer(config))
        plain[0].produce(record.topic, value=record.value, key=record.key, headers=list(record.headers))
        plain[0].flush()

    KafkaTransport.produce = produce  # type: ignore[method-assign]


def _position_as_offsets() -> None:
    """What is committed is how far the client has read, not what was processed."""

    def send_offsets(self: KafkaTransport, next_offsets: Mapping[int, int]) -> None:
        partitions = [TopicPartition(self._topic, number) for number in next_offsets]
        read = {position.partition: position.offset for position in self._consumer.position(partitions)}
        metadata = self._consumer.consumer_group_metadata()
        self._producer.send_offsets(self._topic, {number: read[number] for number in next_offsets}, metadata)

    KafkaTransport.send_offsets = send_offsets  # type: ignore[method-assign]


def _fresh_classification() -> None:
    """What goes out is this process's own verdict, whatever stands in the ledger."""
    proposed = _remember_proposals()
    stored = Checkpoint._stands

    def stands(
        self: Checkpoint, record: SourceRecord, standing: Mapping[Coordinates, StandingOutcome]
    ) -> StandingOutcome:
        outcome = stored(self, record, standing)
        proposal = proposed.get(Coordinates(record.partition, record.offset))
        if outcome.outcome != "classified" or proposal is None or proposal.row is None:
            return outcome
        return replace(outcome, row=proposal.row)

    Ledger.look_up = lambda *_: KnownRecords(frozenset(), {})  # type: ignore[method-assign]
    Checkpoint._stands = stands  # type: ignore[method-assign]


def _no_epoch_check() -> None:
    """A checkpoint takes any record, whoever owns its partition now."""
    whole = Checkpoint.run

    def run(self: Checkpoint, window: ClassifiedWindow) -> Mapping[int, int]:
        claimed = {record.partition: record.epoch for record in window.records}
        return whole(replace(self, transport=_Claiming(self.transport, claimed)), window)

    Checkpoint.run = run  # type: ignore[method-assign]


def _no_on_lost() -> None:
    """Nobody is told of lost partitions: what was read from them stays in flight, and they count as assigned.

    To treat them as revoked ones, as the client does where it is given no `on_lost`, breaks nothing that can be seen:
    the brokers refuse the commit of a member that they gave up.
    """

    def on_lost(_: KafkaTransport, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)

    KafkaTransport._on_lost = on_lost  # type: ignore[method-assign, assignment]


def _ledger_without_dead_letters() -> None:
    """Only what has a row is recorded."""
    proposed = _remember_proposals()
    stored, persist = Checkpoint._stands, Ledger.persist

    def stands(
        self: Checkpoint, record: SourceRecord, standing: Mapping[Coordinates, StandingOutcome]
    ) -> StandingOutcome:
        proposal = proposed.get(Coordinates(record.partition, record.offset))
        if proposal is None or proposal.failure is None:
            return stored(self, record, standing)
        return _dead_letter(proposal.failure)

    def persist_rows(self: Ledger, proposals: Sequence[Proposal]) -> None:
        if rows := [proposal for proposal in proposals if proposal.failure is None]:
            persist(self, rows)

    Checkpoint._stands = stands  # type: ignore[method-assign]
    Ledger.persist = persist_rows  # type: ignore[method-assign]


def _remember_proposals() -> dict[Coordinates, Proposal]:
    """The proposals of the window that is being made durable."""
    proposed: dict[Coordinates, Proposal] = {}
    whole = Checkpoint.run

    def run(self: Checkpoint, window: ClassifiedWindow) -> Mapping[int, int]:
        proposed.clear()
        proposed.update({proposal.coordinates: proposal for proposal in window.proposals if proposal is not None})
        return whole(self, window)

    Checkpoint.run = run  # type: ignore[method-assign]
    return proposed


def _dead_letter(failure: PoisonEvent) -> StandingOutcome:
    return StandingOutcome(
        outcome="dead_letter",
        row=None,
        stage=failure.stage,
        error_class=failure.error_class,
        error_message=failure.message,
        attempts=1,
        app_version="mutant",
        recorded_at=datetime.now(UTC),
    )


class _Claiming:
    """A transport that says that everything is assigned as it was read."""

    def __init__(self, transport: Transport, claimed: Mapping[int, int]) -> None:
        self._transport = transport
        self.assignment = claimed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    "offsets before rows": _offsets_before_rows,
    "results outside the transaction": _results_outside_transaction,
    "position() as offsets": _position_as_offsets,
    "a fresh classification instead of the stored verdict": _fresh_classification,
    "no epoch check": _no_epoch_check,
    "no on_lost": _no_on_lost,
    "ledger without dead letters": _ledger_without_dead_letters,
}


def apply(name: str) -> None:
    """Break this process's consumer.

    Raises:
        KeyError: there is no such variant.
    """
    MUTANTS[name]()
