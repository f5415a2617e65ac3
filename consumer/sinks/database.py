"""The consumer's PostgreSQL session: durable commits, and no statement that can hang."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError

from consumer.sinks.sqlstate import to_consumer_error
from schemas.connection import DatabaseConnection

_CONNECT_TIMEOUT_S: Final = 5


def create_database(connection: DatabaseConnection, *, statement_timeout_ms: int, lock_timeout_ms: int) -> Engine:
    """An engine of one pooled connection, whose session cannot outlive a frozen process for long.

    A process that freezes in the middle of a transaction holds row locks that its successor waits for: the server
    ends such a transaction after `statement_timeout_ms`, and both sides notice a dead connection within it.
    """
    session = {
        "application_name": "feedback-consumer",
        "timezone": "UTC",
        "synchronous_commit": "on",
        "lock_timeout": lock_timeout_ms,
        "statement_timeout": statement_timeout_ms,
        "idle_in_transaction_session_timeout": statement_timeout_ms,
    }
    return create_engine(
        connection.sqlalchemy_url(),
        hide_parameters=True,
        pool_size=1,
        max_overflow=1,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": statement_timeout_ms,
        },
    )


@contextmanager
def connected(database: Engine) -> Iterator[Connection]:
    """A connection in a transaction that commits at the end, with database errors as the engine's errors.

    Raises:
        TransientError, FatalError: the database is away, or refuses.
    """
    try:
        with database.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise to_consumer_error(error) from None
