"""What a database error means for the work at hand, by SQLSTATE (PostgreSQL documentation, appendix A)."""

from typing import Final, Literal

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from consumer.errors import ConsumerError, FatalError, TransientError

Meaning = Literal["data", "transient", "fatal"]

_DATA: Final = ("22", "54")
_FATAL: Final = ("28", "3D", "42")
# libpq tells no SQLSTATE when a connection is refused; these of the server's words mean that waiting does not help.
_REFUSED: Final = ("authentication failed", "no pg_hba.conf entry", "does not exist", "no password supplied")


def meaning_of(error: DBAPIError) -> Meaning:
    """Data: some value is at fault. Transient: try again later. Fatal: a person must act.

    Unknown states count as transient: trying again loses nothing.
    """
    sqlstate = getattr(error.orig, "pgcode", None)
    if sqlstate is None:
        if isinstance(error, OperationalError | InterfaceError):
            refused = any(words in str(error.orig) for words in _REFUSED)
            return "fatal" if refused else "transient"
        # psycopg2 refuses some values by itself (ValueError for NUL), before the server sees them.
        return "data"
    if sqlstate.startswith(_DATA):
        return "data"
    return "fatal" if sqlstate.startswith(_FATAL) else "transient"


def describe(error: DBAPIError) -> str:
    """The error as it may be logged: class and SQLSTATE, never a statement or a value.

    Without a SQLSTATE it is the connection that failed, and libpq's own words hold host, port, user and reason.
    """
    sqlstate = getattr(error.orig, "pgcode", None)
    if sqlstate is None and isinstance(error, OperationalError):
        return str(error.orig).strip().splitlines()[0]
    return f"{type(error.orig).__name__} (SQLSTATE {sqlstate or 'none'})"


def to_consumer_error(error: DBAPIError) -> ConsumerError:
    """The engine's error for a database error that no single value is to blame for."""
    if meaning_of(error) == "fatal":
        return FatalError(
            f"PostgreSQL refuses: {describe(error)}; check DATABASE_URL, the role's rights and migrations"
        )
    return TransientError(f"PostgreSQL: {describe(error)}")
