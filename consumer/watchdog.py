"""Ends a process whose loop hangs for good: some calls of the Kafka client take no time-out."""

import threading
from collections.abc import Callable
from typing import Final

from consumer.health import Health

_INTERVAL_S: Final = 5.0


class Watchdog:
    """Looks at the loop from a thread of its own.

    Args:
        health: what the loop reports.
        end: ends the process, told why.
    """

    def __init__(self, health: Health, end: Callable[[str], None]) -> None:
        self._health = health
        self._end = end
        self._was_silent = False

    def start(self) -> None:
        """Look every few seconds until the process ends."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def look(self) -> None:
        """End the process if the loop was silent for too long, now and at the last look.

        Once is not enough: a process that was frozen and woke up finds itself silent, and turns a moment later.
        """
        reason = self._health.why_not_live()
        if reason is not None and self._was_silent:
            self._end(reason)
        self._was_silent = reason is not None

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(_INTERVAL_S):
            self.look()
