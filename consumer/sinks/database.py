"""The consumer's PostgreSQL session: durable commits, and no statement that can hang."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Final

from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError

from consumer.sinks.sqlstate import to_consumer_error
from schemas.connection import DatabaseConnection

_CONNECT_TIMEOUT_S: Final = 5
# libpq's own choice without a word is `prefer`: whoever stands in between says that there is no TLS, and reads along.
_OPTIONAL_TLS: Final = ("prefer", "allow")
TLS_ADVICE: Final = (
    "add ?sslmode=verify-full&sslrootcert=FILE to DATABASE_URL, or ?sslmode=disable where the network is trusted"
)


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


def host_without_tls(connection: DatabaseConnection) -> str | None:
    """The other machine that would be talked to in the clear if it asked for it; None for this one and for real TLS."""
    url = make_url(connection.sqlalchemy_url())
    given = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    # With the system's authorities libpq checks all by default.
    default = "verify-full" if given.get("sslrootcert") == "system" else "prefer"
    if given.get("sslmode", os.environ.get("PGSSLMODE", default)) not in _OPTIONAL_TLS:
        return None
    hosts = given.get("host", url.host or os.environ.get("PGHOST", "")).split(",")
    return next((host for host in hosts if not _is_this_machine(host)), None)


def _is_this_machine(host: str) -> bool:
    # An empty host, a path, and a name that begins with @ are Unix sockets.
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
