"""`python -m benchmarks.transport.null_consumer`: the shipped consumer with a model that costs nothing.

Its settings are the consumer's. BENCH_ROWS=off takes the tables away too: verdicts are kept for as long as a window
lives, which is what an engine without a ledger would do, and gives up what the ledger is for.
"""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from consumer import __main__ as shipped
from consumer import app
from consumer.inference.bundle import Bundle
from consumer.inference.classifier import HeadVerdict, Verdict
from consumer.outcomes import Coordinates, KnownRecords, Proposal, StandingOutcome

ROWS_VARIABLE: Final = "BENCH_ROWS"


class NullClassifier:
    """Gives every text the first label of each head."""

    def __init__(self, bundle: Bundle, **_: Any) -> None:  # noqa: ANN401 (the options of a classifier that computes)
        self.bundle = bundle
        self._heads = {
            head: HeadVerdict(labels[0], 1.0, {label: float(label == labels[0]) for label in labels})
            for head, labels in bundle.labels.heads.items()
        }

    def classify(self, texts: Sequence[str]) -> list[Verdict]:
        """One verdict for each text, always the same."""
        verdict = Verdict(self._heads, needs_review=False, token_count=2, truncated=False, model=self.bundle.manifest)
        return [verdict] * len(texts)

    def warm_up(self) -> float:
        """Nothing is cold."""
        return 0.0

    def probe(self) -> bool:
        """Nothing can fail."""
        return True

    def replace_threads(self, threads: int | None) -> None:
        """There are none."""

    def close(self) -> None:
        """Nothing is open."""


class MemoryLedger:
    """Takes every proposal as what stands, and forgets it with the next window."""

    def __init__(self, _database: object, _topic_id: UUID, app_version: str) -> None:
        self._app_version = app_version
        self._standing: dict[Coordinates, StandingOutcome] = {}

    def look_up(self, _coordinates: Sequence[Coordinates], _event_ids: Sequence[UUID]) -> KnownRecords:
        """Nothing is known."""
        return KnownRecords(frozenset(), {})

    def persist(self, proposals: Sequence[Proposal]) -> None:
        """Keep the window's proposals."""
        now = datetime.now(UTC)
        self._standing = {
            proposal.coordinates: StandingOutcome(
                outcome="classified",
                row=proposal.row,
                stage=None,
                error_class=None,
                error_message=None,
                attempts=proposal.attempts,
                app_version=self._app_version,
                recorded_at=now,
            )
            for proposal in proposals
        }

    def read_back(self, coordinates: Sequence[Coordinates]) -> dict[Coordinates, StandingOutcome]:
        """What `persist` kept."""
        return {each: self._standing[each] for each in coordinates}

    def next_offsets(self, _partitions: Sequence[int]) -> dict[int, int]:
        """Nothing was recorded."""
        return {}

    def count_from(self, _partition: int, _offset: int, _limit_records: int) -> int:
        """Nothing was recorded."""
        return 0


def _replace(name: str, part: Callable[..., object]) -> None:
    if not hasattr(app, name):
        raise AttributeError(f"consumer.app has no {name} any more: {Path(__file__).name} replaces it")
    setattr(app, name, part)


if __name__ == "__main__":
    _replace("Classifier", NullClassifier)
    if os.environ.get(ROWS_VARIABLE) == "off":
        _replace("Ledger", MemoryLedger)
    shipped.app(["run"])
