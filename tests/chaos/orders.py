"""How the harness tells one consumer process where and how to fail: a small file that the process takes away."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

ORDERS_VARIABLE: Final = "CHAOS_ORDERS"
MUTATION_VARIABLE: Final = "CHAOS_MUTATION"
MAX_POLL_INTERVAL_VARIABLE: Final = "CHAOS_MAX_POLL_INTERVAL_MS"

Step = Literal["polled", "classified", "inserted", "rows", "produced", "offsets", "committed", "inference"]
"""A point of a window's way: records polled; verdicts there, nothing written; between INSERT and COMMIT; rows
committed; inside the Kafka transaction before its offsets; after them; Kafka transaction committed. `inference` is the
call of the model, in its own thread."""

CHECKPOINT_STEPS: Final[tuple[Step, ...]] = (
    "polled",
    "classified",
    "inserted",
    "rows",
    "produced",
    "offsets",
    "committed",
)

Action = Literal["kill", "terminate", "freeze", "block", "raise", "clock"]
"""`kill`: SIGKILL. `terminate`: SIGTERM. `freeze`: SIGSTOP. `block`: the thread sleeps, the others go on. `raise`: the
call fails as one that finds no memory. `clock`: the wall clock jumps."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to do when the step is next reached. `seconds`: how long to block, or how far the clock jumps."""

    step: Step
    action: Action
    seconds: float = 0.0


class Orders:
    """The order of one consumer process, on either side. There is at most one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The file, for the process's environment."""
        return self._path

    def give(self, order: Order) -> None:
        """Harness: replace what was ordered before."""
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(order)))
        draft.replace(self._path)

    def is_taken(self) -> bool:
        """Harness: whether the process has obeyed, or nothing was ordered."""
        return not self._path.exists()

    def withdraw(self) -> bool:
        """Harness: take the order back; False when the process was faster."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def take(self, step: Step) -> Order | None:
        """Process: the order for this step. It is gone before it is obeyed, so that no successor obeys it again."""
        try:
            order = Order(**json.loads(self._path.read_text()))
            if order.step != step:
                return None
            # Whoever unlinks it obeys it: the harness may be withdrawing it at this moment.
            os.unlink(self._path)  # noqa: PTH108 (as fast as it gets; this runs several times a window)
        except FileNotFoundError:
            return None
        return order
