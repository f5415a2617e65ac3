"""Interleaved rounds: whatever slows the machine for a while slows every contestant, and ratios stay."""

import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class ContestError(Exception):
    """A contestant cannot be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Spread:
    """What several rounds gave for one contestant.

    Attributes:
        values: in the order of the rounds.
    """

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The lower and the upper one; both the value itself where there is only one."""
        if len(self.values) < 2:  # noqa: PLR2004
            return self.values[0], self.values[0]
        lower, _, upper = statistics.quantiles(self.values, n=4, method="inclusive")
        return lower, upper

    def over(self, other: "Spread") -> "Spread":
        """This contestant's value divided by the other's, round by round."""
        return Spread([mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)])

    def as_json(self) -> dict[str, object]:
        """Median, quartiles and all values, to four digits."""
        return {
            "median": _rounded(self.median),
            "quartiles": [_rounded(value) for value in self.quartiles],
            "values": [_rounded(value) for value in self.values],
        }


@dataclass(frozen=True, slots=True)
class Outcome(Generic[K]):
    """What the rounds gave.

    Attributes:
        spreads: of each contestant that was measured in every round, in the order they were given.
        failed: why the others were not.
    """

    spreads: Mapping[K, Spread]
    failed: Mapping[K, str]


def run_rounds(
    contestants: Mapping[K, Callable[[], float]], rounds: int, on_turn: Callable[[int, K, float | None], None]
) -> Outcome[K]:
    """Run every contestant once in each round; each round begins with another one.

    A contestant that raises `ContestError` has no further turn.

    Args:
        contestants: name to a function that runs it once and gives its figure.
        rounds: how many; at least 5 for figures that people shall read.
        on_turn: called after each turn with the round, counted from 0, the name, and the figure or None.
    """
    names = list(contestants)
    values: dict[K, list[float]] = {name: [] for name in names}
    failed: dict[K, str] = {}
    for number in range(rounds):
        start = number * len(names) // rounds
        for name in names[start:] + names[:start]:
            if name in failed:
                continue
            try:
                values[name].append(contestants[name]())
                on_turn(number, name, values[name][-1])
            except ContestError as error:
                failed[name] = str(error)
                on_turn(number, name, None)
    return Outcome({name: Spread(each) for name, each in values.items() if name not in failed}, failed)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
