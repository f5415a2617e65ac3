"""Whether the client gets into its group: librdkafka has lost its way there for good, without an error."""

import json
import time
from collections.abc import Callable
from typing import Final

from consumer.errors import FatalError

STATISTICS_INTERVAL_MS: Final = 2_000


class GroupMembership:
    """Follows the client's own statistics (librdkafka, STATISTICS.md, "cgrp").

    Args:
        limit_s: the longest time that a rebalance may take.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s = limit_s
        self._clock = clock
        self._outside_since_s: float | None = None
        self._states = ("", "")

    def on_statistics(self, statistics: str) -> None:
        """What librdkafka calls as its `stats_cb`."""
        group = json.loads(statistics).get("cgrp")
        if group is None:
            return
        self._states = (group["state"], group["join_state"])
        if self._states == ("up", "steady"):
            self._outside_since_s = None
        elif self._outside_since_s is None:
            self._outside_since_s = self._clock()

    def check(self, *, is_cluster_away: bool) -> None:
        """Judge how long the client has been outside. Nobody gets into a group of a cluster that is away.

        Raises:
            FatalError: for longer than the limit.
        """
        if self._outside_since_s is None:
            return
        if is_cluster_away:
            self._outside_since_s = self._clock()
        elif (outside_s := self._clock() - self._outside_since_s) > self._limit_s:
            coordinator, member = self._states
            raise FatalError(
                f"outside its group for {outside_s:.0f} s (coordinator: {coordinator}, member: {member}), longer than "
                "a rebalance may take: this process must restart"
            )
