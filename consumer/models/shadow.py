"""A bundle that classifies a share of the events beside the ones whose verdicts go out, when there is time for it."""

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from consumer.background import lower_priority
from consumer.decode import DecodedEvent
from consumer.errors import ConsumerError, PoisonEvent
from consumer.inference.classifier import Classifier, Verdict
from consumer.inference.isolation import classify_isolating
from consumer.metrics import Metrics
from consumer.models.comparisons import ComparisonSums, score_difference
from consumer.models.shares import is_in_share
from consumer.sinks.shadow_comparisons import ShadowComparisons

log = structlog.get_logger(__name__)

_PURPOSE: Final = b"shadow"
# A burst may wait; a shadow that cannot keep up sees fewer events, and says so.
_MAX_WAITING_EVENTS: Final = 1_024
_MAX_BATCH_EVENTS: Final = 32
_POLL_S: Final = 0.2
_FLUSH_INTERVAL_S: Final = 10.0
_STOP_WAIT_S: Final = 5.0


@dataclass(frozen=True, slots=True, repr=False)
class _Waiting:
    text: str
    verdict: Verdict


class Shadow:
    """Compares its bundle's verdicts with those that went out; nothing of it reaches results or the ledger.

    Attributes:
        classifier: the bundle; closed by `close`.
        share: the part of all events that it sees, by their id.
        fault: why it gave up; None while it works.
    """

    def __init__(self, classifier: Classifier, share: float, store: ShadowComparisons, metrics: Metrics) -> None:
        self.classifier = classifier
        self.share = share
        self.fault: str | None = None
        self._store = store
        self._metrics = metrics
        self._waiting: queue.Queue[_Waiting] = queue.Queue(_MAX_WAITING_EVENTS)
        self._sums = ComparisonSums()
        self._flush_at_s = time.monotonic() + _FLUSH_INTERVAL_S
        self._is_stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def offer(self, events: Sequence[DecodedEvent], verdicts: Sequence[Verdict | PoisonEvent]) -> None:
        """Hand over what was classified. Never waits: what finds no room is dropped and counted."""
        for event, verdict in zip(events, verdicts, strict=True):
            if not isinstance(verdict, Verdict):
                continue
            if not is_in_share(event.event.event_id.bytes, self.share, purpose=_PURPOSE):
                continue
            try:
                self._waiting.put_nowait(_Waiting(event.event.text, verdict))
            except queue.Full:
                self._metrics.shadow_events.labels("dropped").inc()

    def close(self) -> None:
        """Stop; what still waits is dropped, what was compared is stored."""
        self._is_stopped.set()
        self._thread.join(_STOP_WAIT_S)
        self.classifier.close()

    def _run(self) -> None:
        lower_priority()
        self.classifier.replace_threads(1)
        while not self._is_stopped.is_set() and self.fault is None:
            batch = self._next_batch()
            try:
                self._compare(batch)
            except ConsumerError as error:
                self._metrics.shadow_events.labels("failed").inc(len(batch))
                self.fault = str(error)
            if time.monotonic() >= self._flush_at_s:
                self._flush()
        self._flush()

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        try:
            batch.append(self._waiting.get(timeout=_POLL_S))
            while len(batch) < _MAX_BATCH_EVENTS:
                batch.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return batch

    def _compare(self, batch: Sequence[_Waiting]) -> None:
        verdicts = classify_isolating(self.classifier, [waiting.text for waiting in batch])
        for waiting, verdict in zip(batch, verdicts, strict=True):
            if not isinstance(verdict, Verdict):
                self._metrics.shadow_events.labels("failed").inc()
                continue
            self._metrics.shadow_events.labels("compared").inc()
            for head, live in waiting.verdict.heads.items():
                self._metrics.shadow_comparisons.labels(head, live.label, verdict.heads[head].label).inc()
                self._metrics.shadow_score_difference.labels(head).observe(
                    score_difference(head, waiting.verdict, verdict)
                )
                self._sums.add(head, waiting.verdict, verdict)

    def _flush(self) -> None:
        self._flush_at_s = time.monotonic() + _FLUSH_INTERVAL_S
        rows, self._sums = self._sums.rows(), ComparisonSums()
        if not rows:
            return
        try:
            self._store.add(rows)
        except ConsumerError as error:
            # Whether they were stored may be unknown, and to count twice would be worse than not at all.
            log.warning("shadow_comparisons_lost", rows=len(rows), reason=str(error))
