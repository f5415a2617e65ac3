"""The table of what a shadow bundle decided otherwise."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects.postgresql import insert

from consumer.sinks.database import connected
from schemas.tables import shadow_comparisons


class ShadowComparisons:
    """Every replica of a group adds to the same rows."""

    def __init__(self, database: Engine, consumer_group: str) -> None:
        self._database = database
        self._consumer_group = consumer_group

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add counts and sums to what stands; rows come in the order of the primary key, or two writers may deadlock.

        Raises:
            TransientError, FatalError: the database is away, or refuses. They may have been added.
        """
        statement = insert(shadow_comparisons)
        added = {
            name: shadow_comparisons.c[name] + statement.excluded[name] for name in ("events", "score_difference_sum")
        }
        upsert = statement.on_conflict_do_update(constraint=shadow_comparisons.primary_key, set_=added)
        with connected(self._database) as connection:
            connection.execute(upsert, [{**row, "consumer_group": self._consumer_group} for row in rows])
