"""How long a dependency may stay away before the process gives up."""

import time
from collections.abc import Callable

from consumer.errors import FatalError


class OutageBudget:
    """Counts from the first failure of an unbroken series. The clock is monotonic seconds."""

    def __init__(self, dependency: str, budget_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._dependency = dependency
        self._budget_s = budget_s
        self._clock = clock
        self._away_since: float | None = None

    @property
    def is_away(self) -> bool:
        """Whether the last that was heard is a failure."""
        return self._away_since is not None

    def failed(self, reason: str) -> None:
        """Note a failure.

        Raises:
            FatalError: the series of failures has lasted longer than the budget.
        """
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
        away_s = now - self._away_since
        if away_s > self._budget_s:
            raise FatalError(f"{self._dependency} has been away for {away_s:.0f} s: {reason}")

    def recovered(self) -> None:
        """Note a success: the series is over."""
        self._away_since = None
