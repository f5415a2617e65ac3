"""What the topics show, staged in temporary tables, so that SQL can join millions of records without our memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    Uuid,
    cast,
    delete,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError

from consumer.sinks.database import create_database
from consumer.sinks.sqlstate import to_consumer_error
from schemas.connection import DatabaseConnection

# A join over everything retained takes minutes, where a window of the consumer takes milliseconds; locks are only
# ever waited for by a repair, and never long.
_STATEMENT_TIMEOUT_MS: Final = 1_800_000
_LOCK_TIMEOUT_MS: Final = 5_000

_temporary: Final = MetaData()


def _table(name: str, *columns: Column[Any], index: tuple[str, ...] = ()) -> Table:
    # An index where a repair looks records up one by one: the planner cannot know how few of them there are.
    indexes = [Index(f"ix_reconcile_{name}", *index)] if index else []
    return Table(f"reconcile_{name}", _temporary, *columns, *indexes, prefixes=["TEMPORARY"])


ranges: Final = _table(
    "ranges",
    Column("source_partition", Integer),
    Column("from_offset", BigInteger),
    Column("to_offset", BigInteger),
)
events: Final = _table("events", Column("source_partition", Integer), Column("source_offset", BigInteger))
results: Final = _table(
    "results",
    Column("output_partition", Integer),
    Column("output_offset", BigInteger),
    Column("source_partition", Integer),
    Column("source_offset", BigInteger),
    Column("event_id", Uuid),
    Column("digest", LargeBinary),
    index=("source_partition", "source_offset"),
)
dead_letters: Final = _table(
    "dead_letters",
    Column("output_partition", Integer),
    Column("output_offset", BigInteger),
    Column("source_partition", Integer),
    Column("source_offset", BigInteger),
    Column("first_failed_at", DateTime(timezone=True)),
    index=("source_partition", "source_offset"),
)
records: Final = _table(
    "records",
    Column("source_partition", Integer),
    Column("source_offset", BigInteger),
    Column("in_topic", Boolean),
    Column("has_row", Boolean),
    Column("outcome", Text),
    Column("recorded_at", DateTime(timezone=True)),
    Column("results", BigInteger),
    Column("dead_letters", BigInteger),
)
findings: Final = _table(
    "findings",
    Column("kind", Text),
    Column("at_partition", Integer),
    Column("at_offset", BigInteger),
    index=("at_partition", "at_offset"),
)
decoded_events: Final = _table(
    "decoded_events",
    Column("source_partition", Integer),
    Column("source_offset", BigInteger),
    Column("event_id", Uuid),
    Column("payload_sha256", LargeBinary),
    Column("other_sha256", LargeBinary),
    index=("source_partition", "source_offset"),
)

walk: Final = _table(
    "walk",
    Column("number", BigInteger, primary_key=True),
    Column("at_partition", Integer),
    Column("at_offset", BigInteger),
    Column("payload_sha256", LargeBinary),
)


@contextmanager
def reconciling_session(database: DatabaseConnection) -> Iterator[Connection]:
    """One connection, to which the temporary tables belong; database errors come as the consumer's errors.

    Raises:
        TransientError, FatalError: the database is away, or refuses.
    """
    engine = create_database(database, statement_timeout_ms=_STATEMENT_TIMEOUT_MS, lock_timeout_ms=_LOCK_TIMEOUT_MS)
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise to_consumer_error(error) from None
    finally:
        engine.dispose()


def create_staging(connection: Connection) -> None:
    """Make the tables that `stage` fills."""
    with connection.begin():
        _temporary.create_all(connection, checkfirst=False)


def stage(connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]) -> None:
    """Append rows in one statement, whatever their number, within the transaction that is open."""
    if not rows:
        return
    columns = [cast([row[column.name] for row in rows], ARRAY(column.type)) for column in table.columns]
    unnested = func.unnest(*columns).table_valued(*table.columns.keys()).render_derived()
    connection.execute(insert(table).from_select(table.columns.keys(), select(unnested)))


def analyze(connection: Connection, *tables: Table) -> None:
    """Tell the planner what the tables hold: autovacuum never sees temporary ones."""
    with connection.begin():
        for table in tables:
            connection.execute(text(f"ANALYZE {table.name}"))


def pages(connection: Connection, wanted: Select[Any], page_records: int) -> Iterator[list[Row[Any]]]:
    """Walk a selection of (partition, offset, payload_sha256) in order, with no transaction open between two pages."""
    chosen = wanted.subquery()
    partition, offset, payload_sha256 = chosen.columns
    numbered = select(func.row_number().over(order_by=(partition, offset)), partition, offset, payload_sha256)
    with connection.begin():
        connection.execute(delete(walk))
        connection.execute(insert(walk).from_select(walk.columns.keys(), numbered))
    analyze(connection, walk)
    first = 1
    while True:
        page = select(walk).where(walk.c.number.between(first, first + page_records - 1)).order_by(walk.c.number)
        with connection.begin():
            rows = list(connection.execute(page))
        if not rows:
            return
        yield rows
        first += page_records
