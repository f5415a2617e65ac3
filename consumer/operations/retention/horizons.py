"""How far retention may have deleted from each table: what is older and missing is not lost."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from schemas.tables import retention_horizons


def read_horizons(connection: Connection) -> Mapping[str, datetime]:
    """The horizon of each table that retention has ever deleted from, within the transaction that is open."""
    known = select(retention_horizons.c.table_name, retention_horizons.c.deleted_before)
    return {row.table_name: row.deleted_before for row in connection.execute(known)}


def advance_horizon(connection: Connection, table: str, deleted_before: datetime) -> None:
    """Move a table's horizon on, in the transaction that deletes; it never goes back."""
    entry = insert(retention_horizons).values(table_name=table, deleted_before=deleted_before)
    further = {
        "deleted_before": func.greatest(retention_horizons.c.deleted_before, entry.excluded.deleted_before),
        "applied_at": func.now(),
    }
    connection.execute(entry.on_conflict_do_update(constraint=retention_horizons.primary_key, set_=further))
