"""The dead letters that the ledger knows of: counted, and listed page by page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Engine, Integer, Select, cast, func, select, tuple_

from consumer.outcomes import Coordinates
from consumer.sinks.database import connected
from consumer.sinks.dead_letter_selection import STATE, DeadLetterSelection, State, ledger_with_decisions
from schemas.tables import dead_letter_decisions, record_outcomes

_PAGE_RECORDS: Final = 5_000


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """Dead letters of one stage, class and state."""

    stage: str
    error_class: str
    state: State
    records: int
    first_recorded_at: datetime
    last_recorded_at: datetime


@dataclass(frozen=True, slots=True)
class DeadLetterEntry:
    """One dead letter as the ledger has it. `decided_at` and `reason` are an operator's, where one decided."""

    coordinates: Coordinates
    recorded_at: datetime
    stage: str
    error_class: str
    error_message: str
    attempts: int
    app_version: str
    state: State
    decided_at: datetime | None
    reason: str | None


class DeadLetterCatalogue:
    """Reads the ledger of one events topic. Every method raises TransientError or FatalError as the database does."""

    def __init__(self, database: Engine, topic_id: UUID) -> None:
        self._database = database
        self._topic_id = topic_id

    def now(self) -> datetime:
        """The time by the clock that stamps the ledger."""
        with connected(self._database) as connection:
            now: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
            return now

    def count(self, selection: DeadLetterSelection) -> list[DeadLetterCount]:
        """Numbers by stage, class and state, the largest first."""
        grouped = (
            select(
                func.coalesce(record_outcomes.c.stage, ""),
                func.coalesce(record_outcomes.c.error_class, ""),
                STATE,
                func.count(),
                func.min(record_outcomes.c.recorded_at),
                func.max(record_outcomes.c.recorded_at),
            )
            .select_from(ledger_with_decisions())
            .where(selection.where(self._topic_id))
            .group_by(record_outcomes.c.stage, record_outcomes.c.error_class, STATE)
        )
        with connected(self._database) as connection:
            counts = [DeadLetterCount(*row) for row in connection.execute(grouped)]
        return sorted(counts, key=lambda count: (-count.records, count.stage, count.error_class, count.state))

    def entries(self, selection: DeadLetterSelection, limit_records: int) -> Iterator[DeadLetterEntry]:
        """Dead letters, newest first.

        Each page is a transaction of its own: whoever reads slowly, as a pager does, holds none open.
        """
        order = tuple_(
            record_outcomes.c.recorded_at, record_outcomes.c.source_partition, record_outcomes.c.source_offset
        )
        newest_first = (
            self._entries()
            .where(selection.where(self._topic_id))
            .order_by(
                record_outcomes.c.recorded_at.desc(),
                record_outcomes.c.source_partition.desc(),
                record_outcomes.c.source_offset.desc(),
            )
        )
        page = newest_first
        while limit_records > 0:
            wanted = min(limit_records, _PAGE_RECORDS)
            found = self._fetch(page.limit(wanted))
            yield from found
            if len(found) < wanted:
                return
            limit_records -= wanted
            last = found[-1]
            page = newest_first.where(
                order < tuple_(last.recorded_at, last.coordinates.partition, last.coordinates.offset)
            )

    def find(
        self, selection: DeadLetterSelection, coordinates: Sequence[Coordinates]
    ) -> dict[Coordinates, DeadLetterEntry]:
        """Those of the coordinates that the selection holds."""
        # Joined, not listed: PostgreSQL makes one look-up in the key of each, and no condition of hundreds of parts.
        named = (
            func.unnest(
                cast([at.partition for at in coordinates], ARRAY(Integer)),
                cast([at.offset for at in coordinates], ARRAY(BigInteger)),
            )
            .table_valued("partition", "offset", name="named")
            .render_derived()
        )
        is_named = (record_outcomes.c.source_partition == named.c.partition) & (
            record_outcomes.c.source_offset == named.c.offset
        )
        found = self._fetch(self._entries().where(selection.where(self._topic_id), is_named))
        return {entry.coordinates: entry for entry in found}

    def _entries(
        self,
    ) -> Select[*tuple[Any, ...]]:
        return select(
            record_outcomes.c.source_partition,
            record_outcomes.c.source_offset,
            record_outcomes.c.recorded_at,
            func.coalesce(record_outcomes.c.stage, ""),
            func.coalesce(record_outcomes.c.error_class, ""),
            func.coalesce(record_outcomes.c.error_message, ""),
            record_outcomes.c.attempts,
            record_outcomes.c.app_version,
            STATE,
            func.coalesce(dead_letter_decisions.c.sent_at, dead_letter_decisions.c.decided_at),
            dead_letter_decisions.c.reason,
        ).select_from(ledger_with_decisions())

    def _fetch(self, page: Select[*tuple[Any, ...]]) -> list[DeadLetterEntry]:
        with connected(self._database) as connection:
            return [DeadLetterEntry(Coordinates(row[0], row[1]), *row[2:]) for row in connection.execute(page)]
