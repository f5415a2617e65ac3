"""Labelled rows out of the consumer's database: what people corrected, to learn from."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import create_engine, func, select, true
from sqlalchemy.exc import SQLAlchemyError

from model_export.rows import Row, RowError
from schemas.connection import DatabaseConnection
from schemas.database_errors import explain
from schemas.tables import feedback, labels

_CHUNK_ROWS: Final = 1_000
_LICENCE: Final = "own customers"
_LICENCE_CLASS: Final = "own"


def read_feedback_rows(connection: DatabaseConnection, since: datetime | None) -> Iterator[Row]:
    """Read the events that people labelled, each with its newest label; heads that nobody labelled stay open.

    Args:
        connection: the consumer's database.
        since: only labels made at or after this time; all if absent.

    Raises:
        RowError: the database cannot be read.
    """
    newest_first = func.row_number().over(
        partition_by=labels.c.event_id, order_by=(labels.c.labelled_at.desc(), labels.c.id.desc())
    )
    ranked = select(labels, newest_first.label("place")).where(labels.c.labelled_at >= since if since else true())
    latest = ranked.subquery()
    statement = (
        select(feedback.c.text, feedback.c.source, latest.c.category, latest.c.sentiment, latest.c.constructive)
        .join(latest, latest.c.event_id == feedback.c.event_id)
        .where(latest.c.place == 1)
        .order_by(feedback.c.event_id)
    )
    engine = create_engine(connection.sqlalchemy_url(), hide_parameters=True, connect_args={"connect_timeout": 10})
    try:
        with engine.connect() as session:
            for found in session.execution_options(yield_per=_CHUNK_ROWS).execute(statement):
                yield Row(
                    text=found.text,
                    category=found.category,
                    sentiment=found.sentiment,
                    constructive=found.constructive,
                    split="train",
                    source=found.source,
                    licence=_LICENCE,
                    licence_class=_LICENCE_CLASS,
                )
    except SQLAlchemyError as error:
        raise RowError(f"{connection.database_address()}: cannot be read: {explain(error)}") from None
    finally:
        engine.dispose()
