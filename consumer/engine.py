"""The loop: poll, classify one window while the one before it is made durable, and survive what happens meanwhile."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol
from uuid import UUID

import structlog

from consumer.checkpoint import Checkpoint
from consumer.dead_letter_limit import DeadLetterLimitError
from consumer.errors import PoisonEvent, TransientError
from consumer.health import Health
from consumer.inference.classifier import Verdict
from consumer.metrics import Metrics
from consumer.outcomes import Coordinates, KnownRecords
from consumer.preparation import ClassifiedWindow, Preparation, PreparedWindow
from consumer.records import SourceRecord
from consumer.start_positions import StartPositions
from consumer.suspects import Suspects
from consumer.tracing.base import Tracing
from consumer.transport.base import TransactionAbortedError, Transport
from consumer.window import WindowBuffer

log = structlog.get_logger(__name__)

_IDLE_POLL_S: Final = 0.1
# While a window computes, its end must be noticed soon: this adds to a record's latency.
_BUSY_POLL_S: Final = 0.002
_MAX_UNPOLLED_S: Final = 2.0
_LAG_INTERVAL_S: Final = 1.0
_FIRST_BACKOFF_S: Final = 0.1
_MAX_BACKOFF_S: Final = 5.0
# A hiccup does not make a process unready; a dependency that stays away does.
_PATIENCE_FAILURES: Final = 3

Classify = Callable[[PreparedWindow], Sequence[Verdict | PoisonEvent]]
"""One entry for each of the window's `to_classify`. A verdict says which bundle decided."""


class KnowledgeBase(Protocol):
    """What the ledger knows beforehand; see `consumer.sinks.ledger.Ledger.look_up`."""

    def look_up(self, coordinates: Sequence[Coordinates], event_ids: Sequence[UUID]) -> KnownRecords:
        """What is known about these records already."""
        ...


@dataclass(frozen=True, slots=True)
class Budgets:
    """How long the engine may take to give partitions back, in seconds, and to drain at the end."""

    revoke_s: float
    shutdown_s: float


@dataclass(frozen=True, slots=True, repr=False)
class _Computing:
    prepared: PreparedWindow
    verdicts: "Future[Sequence[Verdict | PoisonEvent]]"


class Engine:
    """Owns the offsets. All calls to transport and database come from the thread that calls `turn`.

    At most two windows are in flight: one that a worker thread classifies, and one before it that is being made
    durable; windows commit strictly in order. A third collects. Everything in memory is bounded by them.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        buffer: WindowBuffer,
        preparation: Preparation,
        classify: Classify,
        knowledge: KnowledgeBase,
        checkpoint: Checkpoint,
        suspects: Suspects,
        start_positions: StartPositions,
        budgets: Budgets,
        metrics: Metrics,
        health: Health,
        tracing: Tracing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._buffer = buffer
        self._preparation = preparation
        self._classify = classify
        self._knowledge = knowledge
        self._checkpoint = checkpoint
        self._suspects = suspects
        self._start_positions = start_positions
        self._budgets = budgets
        self._metrics = metrics
        self._health = health
        self._tracing = tracing
        self._clock = clock
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="classify")
        self._computing: _Computing | None = None
        self._ready: ClassifiedWindow | None = None
        self._must_rewind = False
        self._is_held = False
        self._failures = 0
        self._retry_at_s = 0.0
        self._polled_at_s = clock()
        self._lag_at_s = 0.0

    def start(self) -> None:
        """Join the group.

        Raises:
            FatalError: the cluster refuses, or stayed away too long.
        """
        self._transport.start(self)

    def turn(self) -> None:
        """One round: poll, and move each window one step on if it can.

        Raises:
            FatalError: the process must end.
        """
        self._health.turned(is_joined=self._transport.is_joined)
        self._show_state()
        waiting_s = self._retry_at_s - self._clock()
        try:
            if waiting_s > 0:
                self._poll_paused(min(waiting_s, _IDLE_POLL_S))
                return
            self._recover()
            self._collect()
            self._advance()
        except TransactionAbortedError as aborted:
            self._metrics.transactions.labels("aborted").inc()
            self._drop_in_flight(aborted)
            self._must_rewind = True
            self._back_off(aborted)
        except DeadLetterLimitError as tripped:
            self._hold(tripped)
        except TransientError as transient:
            self._back_off(transient)
        except Exception as error:
            self._drop_in_flight(error)
            raise
        else:
            if self._failures > _PATIENCE_FAILURES:
                self._health.wait_for(None)
            self._failures = 0

    def stop(self) -> None:
        """Finish what was begun, as far as the budget goes, leave the group, stop the worker.

        Raises:
            FatalError: as `turn`.
        """
        deadline_s = self._clock() + self._budgets.shutdown_s
        self._buffer.clear()
        self._finish_in_flight(deadline_s)
        self._suspects.clear(list(self._transport.assignment))
        self._drop_in_flight(TransientError("stopped before it was committed"))
        self._transport.close()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def on_assigned(self, committed: Mapping[int, int | None]) -> Mapping[int, int | None]:
        """See `AssignmentListener`. Whether the ledger agrees is checked before the first record is prepared."""
        self._metrics.rebalances.labels("assigned").inc()
        log.info("partitions_assigned", partitions=sorted(committed))
        self._start_positions.add(committed)
        return committed

    def on_revoked(self, partitions: Sequence[int]) -> None:
        """See `AssignmentListener`: finish the windows that hold records of these partitions, within the budget."""
        self._metrics.rebalances.labels("revoked").inc()
        log.info("partitions_revoked", partitions=sorted(partitions))
        self._buffer.drop(partitions)
        if self._are_in_flight(partitions):
            self._finish_in_flight(self._clock() + self._budgets.revoke_s)
        if self._are_in_flight(partitions):
            # What could not be finished may be what hangs: the next owner must know.
            self._suspects.forget(partitions)
        else:
            self._suspects.clear(partitions)
        self._start_positions.remove(partitions)

    def on_lost(self, partitions: Sequence[int]) -> None:
        """See `AssignmentListener`: their records in flight are refused by the checkpoint, by their epoch."""
        self._metrics.rebalances.labels("lost").inc()
        log.warning("partitions_lost", partitions=sorted(partitions))
        self._buffer.drop(partitions)
        self._suspects.forget(partitions)
        self._start_positions.remove(partitions)

    def _recover(self) -> None:
        """What must succeed before records are read: the rewind after an abort, and the check of new partitions."""
        if self._must_rewind:
            self._transport.rewind()
            self._must_rewind = False
        new = self._start_positions.unchecked
        if not new:
            return
        first_offsets = self._start_positions.check(self._transport.beginnings(new))
        if first_offsets:
            # From here on, a partition without a committed offset is one whose offsets somebody deleted.
            self._transport.begin()
            self._transport.send_offsets(first_offsets)
            self._transport.commit()
        self._suspects.load(new)
        self._start_positions.accepted()

    def _collect(self) -> None:
        room = self._buffer.room_records
        if room == 0:
            if self._clock() - self._polled_at_s > _MAX_UNPOLLED_S:
                # Pausing throws the prefetched records away: only when this takes longer than a window should.
                self._poll_paused(0)
            elif self._computing is not None:
                _wait(self._computing.verdicts, _IDLE_POLL_S)
            return
        self._transport.resume()
        self._polled_at_s = self._clock()
        self._buffer.add(self._transport.poll(room, self._poll_timeout_s()))

    def _poll_timeout_s(self) -> float:
        if self._ready is not None:
            return 0.0
        if self._computing is not None:
            return 0.0 if self._computing.verdicts.done() else _BUSY_POLL_S
        return min(self._buffer.due_in_s, _IDLE_POLL_S)

    def _poll_paused(self, timeout_s: float) -> None:
        self._transport.pause()
        self._polled_at_s = self._clock()
        self._buffer.add(self._transport.poll(1, timeout_s))

    def _advance(self) -> None:
        """Move the windows on. The next one begins before the last is made durable: the two overlap."""
        self._complete_computing()
        # Partitions may be assigned inside a poll that brings a full window: they are checked first, in the next turn.
        is_checked = not self._start_positions.unchecked
        if self._computing is None and self._buffer.due_in_s == 0 and is_checked:
            self._begin_window()
        self._commit_ready()

    def _begin_window(self) -> None:
        records = self._buffer.take(self._suspects.is_suspect)
        trace = self._tracing.begin(records)
        try:
            with self._metrics.database_seconds.labels("look_up").time():
                prepared = self._preparation.prepare(records, self._knowledge.look_up, trace)
                with trace.step("mark"):
                    prepared = self._suspects.mark(prepared, self._ready.records if self._ready is not None else ())
        except Exception as error:
            trace.end(error)
            self._buffer.put_back(records)
            raise
        self._metrics.window_records.observe(len(records))
        self._compute(prepared)

    def _compute(self, prepared: PreparedWindow) -> None:
        self._computing = _Computing(prepared, self._worker.submit(self._classify_window, prepared))

    def _classify_window(self, prepared: PreparedWindow) -> Sequence[Verdict | PoisonEvent]:
        with prepared.trace.step("classify"):
            return self._classify(prepared)

    def _complete_computing(self) -> None:
        computing = self._computing
        if computing is None or self._ready is not None or not computing.verdicts.done():
            return
        try:
            verdicts = computing.verdicts.result()
        except TransientError:
            # Nothing was decided: the same window is computed again after the back-off.
            self._compute(computing.prepared)
            raise
        self._ready = self._preparation.propose(computing.prepared, verdicts, datetime.now(UTC))
        self._computing = None

    def _commit_ready(self) -> None:
        if self._ready is None:
            return
        self._start_positions.recheck()
        self._start_positions.advanced(self._checkpoint.run(self._ready))
        self._ready.trace.end()
        self._ready = None
        self._metrics.transactions.labels("committed").inc()
        if self._is_held:
            self._is_held = False
            self._metrics.dead_letter_limit_tripped.set(0)
            self._health.wait_for(None)

    def _finish_in_flight(self, deadline_s: float) -> None:
        """Compute and commit the windows in flight; give up at the deadline, when their epoch will refuse them."""
        backoff_s = _FIRST_BACKOFF_S
        while self._computing is not None or self._ready is not None:
            remaining_s = deadline_s - self._clock()
            if remaining_s <= 0:
                log.warning("gave_up_in_flight", records=len(self._records_in_flight()))
                return
            if self._ready is None and self._computing is not None:
                _wait(self._computing.verdicts, min(remaining_s, _IDLE_POLL_S))
            try:
                self._complete_computing()
                self._commit_ready()
            except (TransactionAbortedError, DeadLetterLimitError) as error:
                self._drop_in_flight(error)
                self._must_rewind = True
                return
            except TransientError:
                self._start_positions.doubt()
                time.sleep(max(0.0, min(backoff_s, deadline_s - self._clock())))
                backoff_s *= 2

    def _drop_in_flight(self, reason: Exception) -> None:
        """Forget everything that was polled: it will be read again from the committed offsets."""
        if self._ready is not None:
            self._ready.trace.end(reason)
        if self._computing is not None:
            self._computing.prepared.trace.end(reason)
        self._buffer.clear()
        self._computing = None
        self._ready = None

    def _records_in_flight(self) -> list[SourceRecord]:
        ready = self._ready.records if self._ready is not None else ()
        computing = self._computing.prepared.records if self._computing is not None else ()
        return [*ready, *computing]

    def _are_in_flight(self, partitions: Sequence[int]) -> bool:
        return any(record.partition in partitions for record in self._records_in_flight())

    def _back_off(self, error: TransientError) -> None:
        self._metrics.retries.inc()
        self._start_positions.doubt()
        backoff_s = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2**self._failures)
        self._failures += 1
        if self._failures > _PATIENCE_FAILURES:
            self._health.wait_for(str(error))
        # Jitter, so that replicas do not return all at once.
        backoff_s *= random.uniform(0.5, 1.0)
        log.warning("backing_off", reason=str(error), seconds=round(backoff_s, 2))
        self._retry_at_s = self._clock() + backoff_s

    def _hold(self, tripped: DeadLetterLimitError) -> None:
        if not self._is_held:
            log.error("dead_letter_limit", reason=str(tripped))
        self._is_held = True
        self._metrics.dead_letter_limit_tripped.set(1)
        self._health.wait_for(f"dead-letter limit: {tripped}")
        self._retry_at_s = self._clock() + _MAX_BACKOFF_S

    def _show_state(self) -> None:
        if self._clock() < self._lag_at_s:
            return
        self._lag_at_s = self._clock() + _LAG_INTERVAL_S
        assigned = len(self._transport.assignment)
        self._metrics.assigned_partitions.set(assigned)
        self._metrics.paused_partitions.set(assigned if self._retry_at_s > self._clock() else 0)
        self._metrics.show_lag(self._transport.lag())


def _wait(future: "Future[Sequence[Verdict | PoisonEvent]]", timeout_s: float) -> None:
    try:
        future.exception(timeout_s)
    except FutureTimeoutError:
        return
