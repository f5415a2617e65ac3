"""Temporary tables of an erasure: what was found in the topics, and what of it is to be changed."""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Uuid,
    text,
)

_temporary: Final = MetaData()


def _table(name: str, *columns: Column[Any], index: tuple[str, ...]) -> Table:
    table_name = f"erase_{name}"
    return Table(table_name, _temporary, *columns, Index(f"ix_{table_name}", *index), prefixes=["TEMPORARY"])


records: Final = _table(
    "records",
    Column("customer", Integer),
    Column("source_topic_id", Uuid),
    Column("source_partition", Integer),
    Column("source_offset", BigInteger),
    # Null where it cannot be decoded.
    Column("event_id", Uuid),
    # The time of the verdict that a dead letter repeats; null for an event.
    Column("recorded_at", DateTime(timezone=True)),
    index=("customer", "event_id"),
)
verdicts: Final = _table(
    "verdicts",
    Column("number", BigInteger),
    Column("source_topic_id", Uuid),
    Column("source_partition", Integer),
    Column("source_offset", BigInteger),
    Column("event_id", Uuid),
    # Whether it owns a row that goes with it.
    Column("has_row", Boolean),
    index=("number",),
)
# Events that are not kept away yet.
event_ids: Final = _table(
    "event_ids",
    Column("number", BigInteger),
    Column("event_id", Uuid),
    index=("number",),
)


def create(connection: Connection) -> None:
    """Make them; they end with the session."""
    with connection.begin():
        _temporary.create_all(connection, checkfirst=False)


def analyze(connection: Connection, table: Table) -> None:
    """Tell the planner what the table holds: autovacuum never sees temporary ones."""
    connection.execute(text(f"ANALYZE {table.name}"))
