"""Brings a database to the newest table layout, and tells whether it is there."""

from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

# Any fixed number serves: two migrators at once must pick the same one.
ADVISORY_LOCK_KEY: Final = 7_221_904_517


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("schemas") / "migrations"))
    return config


def newest_revision() -> str:
    """The revision that this version of the code works with."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise RuntimeError("schemas/migrations holds no revision")
    return revision


def current_revision(connection: Connection) -> str | None:
    """The revision that the database is at; None where no migration ever ran."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine, revision: str = "head") -> str:
    """Upgrade the database, and return its revision afterwards.

    Safe to run from several processes at once: a session-level advisory lock lets one of them work at a time.
    All migrations run in one transaction: it is all of them or none.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database is away, refuses the login, or a statement failed.
    """
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK_KEY})
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        return current_revision(connection) or ""
