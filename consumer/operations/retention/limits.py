"""What a retention file means now, and the one rule that it must not break."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from consumer.errors import FatalError
from consumer.operations.retention.topic_limits import TopicLimit
from schemas.retention import KeptTables, TableRetention

LEDGER: Final = "record_outcomes"
_NEVER_BEFORE_TOPICS: Final = (LEDGER, "erased_events")


@dataclass(frozen=True, slots=True)
class TableLimit:
    """One table's limit. Rows of before `cutoff` go; None deletes nothing. `problem` says why it cannot be applied."""

    table: str
    keep: timedelta | None
    cutoff: datetime | None
    problem: str | None = None


def table_limits(kept: KeptTables, topics: Mapping[str, TopicLimit], now: datetime) -> list[TableLimit]:
    """The limits of all tables; `topics` are those whose records could be processed again."""
    limits = []
    for name in type(kept).model_fields:
        retention: TableRetention = getattr(kept, name)
        cutoff = None if retention.keep is None else now - retention.keep
        problem = _problem(name, retention.keep, topics) if name in _NEVER_BEFORE_TOPICS else None
        limits.append(TableLimit(name, retention.keep, cutoff, problem))
    return limits


def refuse_broken(limits: list[TableLimit]) -> None:
    """Raise FatalError with the first problem, if there is one."""
    for limit in limits:
        if limit.problem is not None:
            raise FatalError(limit.problem)


def _problem(table: str, keep: timedelta | None, topics: Mapping[str, TopicLimit]) -> str | None:
    """What lies in a topic longer than its verdict could be classified a second time, or come back erased."""
    if keep is None:
        return None
    for topic, limit in topics.items():
        if limit.longest is None or limit.is_compacted:
            return (
                f"{table}: {keep.days}d is too short: the brokers keep records of {topic} for ever "
                '(retention.ms or cleanup.policy); keep = "forever"'
            )
    topic, longest = max(
        ((topic, limit.longest or timedelta()) for topic, limit in topics.items()), key=lambda found: found[1]
    )
    if keep > longest:
        return None
    return (
        f"{table}: {keep.days}d is too short: the brokers may keep a record of {topic} for "
        f"{longest / timedelta(days=1):.1f} days (retention.ms and segment.ms); keep at least {longest.days + 1}d"
    )
