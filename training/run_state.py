"""What an interrupted run goes on from: weights, optimiser, random numbers and the place in the epoch, in one file."""

from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from torch import Tensor

STATE_FILE: Final = "unfinished.pt"

Weights = dict[str, Tensor]


class FitError(Exception):
    """The run cannot start or go on; the message says what to do."""


@dataclass
class RunProgress:
    """Where a run stands.

    Attributes:
        fingerprint: of the configuration and the data.
        history: the figures of each finished epoch.
        best_weights: of the epoch with the best validation score.
        recent_weights: of the last epochs, oldest first, as many as are to be averaged.
        step: finished batches of the epoch in hand.
        loss_sum: over those batches.
        seconds: spent so far, by the runs before too.
        tracking_id: the run's name with the metrics' store, if it has one.
    """

    fingerprint: str
    history: list[dict[str, Any]] = field(default_factory=list)
    best_weights: Weights = field(default_factory=dict)
    recent_weights: list[Weights] = field(default_factory=list)
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    tracking_id: str | None = None

    @property
    def best_epoch(self) -> int:
        """Counted from 1; 0 before the first epoch."""
        return max(range(len(self.history)), key=lambda index: self.history[index]["score"]) + 1 if self.history else 0

    def record(self, entry: dict[str, Any], weights: Weights, average_epochs: int) -> None:
        """Add a finished epoch."""
        self.history.append(entry)
        self.step, self.loss_sum = 0, 0.0
        copied = {name: value.clone() for name, value in weights.items()}
        if self.best_epoch == len(self.history):
            self.best_weights = copied
        if average_epochs > 1:
            self.recent_weights = [*self.recent_weights, copied][-average_epochs:]


def save_state(path: Path, progress: RunProgress, parts: dict[str, Any]) -> None:
    """Write the state in place of the one before, whole or not at all.

    Args:
        path: of the file.
        progress: where the run stands.
        parts: objects with `state_dict`, by name.
    """
    partial = path.with_suffix(".partial")
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"progress": vars(progress), "random": torch.get_rng_state(), **states}, partial)
    partial.replace(path)


def load_state(path: Path, fingerprint: str, parts: dict[str, Any]) -> RunProgress:
    """Bring parts and random numbers to where a run was interrupted; a new beginning if it never was.

    Raises:
        FitError: the file belongs to a run of something else, or cannot be read.
    """
    if not path.exists():
        return RunProgress(fingerprint)
    try:
        state = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
        raise FitError(f"{path}: cannot be read ({type(error).__name__}); remove the folder to begin anew") from error
    progress = RunProgress(**state["progress"])
    if progress.fingerprint != fingerprint:
        raise FitError(
            f"{path}: an unfinished run with another configuration or other data; "
            "remove the folder or give another --out"
        )
    for name, part in parts.items():
        part.load_state_dict(state[name])
    torch.set_rng_state(state["random"])
    return progress


def mean_weights(several: list[Weights]) -> Weights:
    """The uniform average of weights of one shape (Wortsman et al. 2022, "Model soups")."""
    return {
        name: torch.stack([weights[name].double() for weights in several]).mean(dim=0).to(first.dtype)
        if first.is_floating_point()
        else first
        for name, first in several[0].items()
    }
