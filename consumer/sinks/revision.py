"""Whether the database has the layout that this code works with."""

from sqlalchemy import Engine as Database

from consumer.errors import FatalError
from consumer.sinks.database import connected
from schemas.migrate import current_revision, newest_revision


def check_revision(database: Database) -> None:
    """Refuse a database whose layout is not the one this code works with.

    Raises:
        TransientError: the database is away.
        FatalError: it is at another revision, or refuses.
    """
    with connected(database) as connection:
        found = current_revision(connection)
    if found != newest_revision():
        raise FatalError(
            f"the database is at revision {found or 'none'}, this version needs {newest_revision()}: "
            "run `python -m schemas migrate`"
        )
