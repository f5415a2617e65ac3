"""Rows that name no customer, and whose key is a customer's id. One look at the whole table, for want of an index."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, Connection, Integer, LargeBinary, Select, cast, func, insert, null, select

from consumer.operations.erasure import work
from schemas.tables import feedback


def count_rows_by_key(connection: Connection, customers: Sequence[Sequence[str]]) -> list[int]:
    """How many there are for each customer, given by their names."""
    found = _rows_by_key(customers).subquery()
    counted = select(found.c.customer, func.count()).group_by(found.c.customer)
    with connection.begin():
        counts = {row[0]: row[1] for row in connection.execute(counted)}
    return [counts.get(customer, 0) for customer in range(len(customers))]


def stage_rows_by_key(connection: Connection, customers: Sequence[Sequence[str]]) -> None:
    """Add the records that own such rows to `work.records`, as if the topics had shown them."""
    with connection.begin():
        connection.execute(insert(work.records).from_select(work.records.columns.keys(), _rows_by_key(customers)))


def _rows_by_key(customers: Sequence[Sequence[str]]) -> Select[tuple[object, ...]]:
    keys = [(customer, name.encode()) for customer, names in enumerate(customers) for name in names]
    wanted = (
        func.unnest(
            cast([customer for customer, _ in keys], ARRAY(Integer)), cast([key for _, key in keys], ARRAY(LargeBinary))
        )
        .table_valued("customer", "key", name="wanted")
        .render_derived()
    )
    column = feedback.c
    return select(
        wanted.c.customer,
        column.source_topic_id,
        column.source_partition,
        column.source_offset,
        column.event_id,
        null().label("recorded_at"),
    ).where(column.customer_id.is_(None), column.record_key == wanted.c.key)
