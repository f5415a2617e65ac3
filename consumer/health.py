"""Whether the process is alive and ready, as the engine's own thread reports it."""

import time
from collections.abc import Callable
from typing import Final

# Longer than any single step of the loop may take: a commit, a revoke, a statement.
_SILENCE_LIMIT_S: Final = 90.0


class Health:
    """Written by the engine's thread, read by the HTTP server's. Each field is replaced as a whole."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # None until the loop begins: the start waits for its dependencies, within a budget of its own.
        self._last_turn_s: float | None = None
        self._is_joined = False
        self._waiting_for: str | None = None

    def turned(self, *, is_joined: bool) -> None:
        """The loop came round."""
        self.is_waiting()
        self._is_joined = is_joined

    def is_waiting(self) -> None:
        """The loop's thread is in a wait that has a budget of its own, and still awake."""
        self._last_turn_s = self._clock()

    def wait_for(self, reason: str | None) -> None:
        """Why the process is alive but does no work; None when it does."""
        self._waiting_for = reason

    def why_not_live(self) -> str | None:
        """None while the loop turns. Dependencies do not count: a restart would not bring them back."""
        if self._last_turn_s is None:
            return None
        silence_s = self._clock() - self._last_turn_s
        if silence_s > _SILENCE_LIMIT_S:
            return f"the loop has not turned for {silence_s:.0f} s"
        return None

    def why_not_ready(self) -> str | None:
        """None when the group was joined, the model is warm and nothing holds the work up. No partitions is ready."""
        if not self._is_joined:
            return "not joined the consumer group yet"
        return self._waiting_for
