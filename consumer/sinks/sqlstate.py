"""What a database error means for the work at hand, by SQLSTATE (PostgreSQL documentation, appendix A)."""

from typing import Final, Literal

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from consumer.errors import ConsumerError, FatalError, TransientError
from schemas.database_errors import advice_on, server_words

Meaning = Literal["data", "transient", "fatal"]

_DATA: Final = ("22", "54")
_FATAL: Final = ("28", "3D", "42")
_INSUFFICIENT_PRIVILEGE: Final = "42501"
_WHAT_TO_CHECK: Final = "check DATABASE_URL, the role's rights and migrations"


def meaning_of(error: DBAPIError) -> Meaning:
    """Data: some value is at fault. Transient: try again later. Fatal: a person must act.

    Unknown states count as transient: trying again loses nothing.
    """
    sqlstate = getattr(error.orig, "pgcode", None)
    if sqlstate is None:
        # libpq tells no SQLSTATE when a connection is refused, or its options make no sense; only its words.
        if advice_on(error) is not None:
            return "fatal"
        if isinstance(error, OperationalError | InterfaceError):
            return "transient"
        # psycopg2 refuses some values by itself (ValueError for NUL), before the server sees them.
        return "data"
    if sqlstate.startswith(_DATA):
        return "data"
    return "fatal" if sqlstate.startswith(_FATAL) else "transient"


def describe(error: DBAPIError) -> str:
    """The error as it may be logged: class and SQLSTATE, never a statement or a value.

    Without a SQLSTATE it is the connection that failed, and libpq's own words hold host, port, user and reason. Where a
    right is missing, the server's words hold the name of the table and nothing else.
    """
    sqlstate = getattr(error.orig, "pgcode", None)
    is_connection = sqlstate is None and (isinstance(error, OperationalError) or advice_on(error) is not None)
    if is_connection or sqlstate == _INSUFFICIENT_PRIVILEGE:
        return server_words(error)
    return f"{type(error.orig).__name__} (SQLSTATE {sqlstate or 'none'})"


def to_consumer_error(error: DBAPIError) -> ConsumerError:
    """The engine's error for a database error that no single value is to blame for."""
    if meaning_of(error) == "fatal":
        return FatalError(f"PostgreSQL refuses: {describe(error)}: {advice_on(error) or _WHAT_TO_CHECK}")
    return TransientError(f"PostgreSQL: {describe(error)}")
