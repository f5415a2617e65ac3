"""Whether the login may do all that the consumer will do."""

from sqlalchemy import Engine as Database
from sqlalchemy import text

from consumer.errors import FatalError
from consumer.sinks.database import connected
from schemas.roles import DEFAULT_PREFIX, missing_rights

_ROLE = "consumer"


def check_rights(database: Database) -> None:
    """Refuse a login that would be stopped later, at a record that nobody can foresee.

    Raises:
        TransientError: the database is away.
        FatalError: a right is missing, or the database refuses the login.
    """
    with connected(database) as connection:
        missing = missing_rights(connection, _ROLE)
        login = connection.scalar(text("SELECT current_user"))
    if missing:
        more = "" if len(missing) == 1 else f" and {len(missing) - 1} more"
        raise FatalError(
            f"the database role {login} lacks {missing[0]}{more}: let the owner of the tables run "
            f"`python -m schemas roles apply`, and an administrator `GRANT {DEFAULT_PREFIX}{_ROLE} TO {login}`"
        )
