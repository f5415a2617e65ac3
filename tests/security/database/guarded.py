"""A database whose rights are as the declaration says, with a login for each role."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from schemas.connection import DatabaseConnection
from schemas.roles import RolesFile, Target, load_roles
from schemas.roles_database import apply_roles

PASSWORD = "canary-of-a-login"


@dataclass(frozen=True)
class GuardedDatabase:
    """The database as its owner, an administrator and the roles' logins reach it.

    `login` of the role `nobody` is a member of none.
    """

    owner: DatabaseConnection
    administrator: DatabaseConnection
    target: Target

    def login(self, role: str) -> DatabaseConnection:
        url = make_url(self.owner.sqlalchemy_url()).set(username=self.login_name(role), password=PASSWORD)
        return DatabaseConnection(database_url=SecretStr(url.render_as_string(hide_password=False)))

    def login_name(self, role: str) -> str:
        return f"{self.target.prefix}{role}_login"

    def run(self, statement: str, connection: DatabaseConnection | None = None) -> None:
        """Run statements as the owner, or as somebody else."""
        with session(connection or self.owner) as opened:
            opened.exec_driver_sql(statement.replace("%", "%%"))


@contextmanager
def session(connection: DatabaseConnection) -> Iterator[Connection]:
    """A connection in which each statement is a transaction."""
    engine = create_engine(connection.sqlalchemy_url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as opened:
        yield opened


def engine_of(connection: DatabaseConnection) -> Engine:
    """An engine that keeps no connection: a role can be dropped when a test is over."""
    return create_engine(connection.sqlalchemy_url(), poolclass=NullPool)


def sqlstate_of(connection: DatabaseConnection, statement: str) -> str | None:
    """How the database refuses a statement; None if it does not."""
    with session(connection) as opened:
        return answer_to(opened, statement)


def answer_to(opened: Connection, statement: str) -> str | None:
    """The same in a session that is open."""
    try:
        opened.exec_driver_sql(statement.replace("%", "%%"))
    except DBAPIError as error:
        return getattr(error.orig, "pgcode", None)
    return None


@contextmanager
def guarded(owner: DatabaseConnection, administrator: DatabaseConnection) -> Iterator[GuardedDatabase]:
    """Make the roles and their logins, apply the declaration, and take all of it away again."""
    roles = load_roles()
    database = make_url(owner.sqlalchemy_url()).database or ""
    target = Target(database, prefix=f"t{uuid.uuid4().hex[:8]}_")
    made = GuardedDatabase(owner, administrator, target)
    names = [target.prefix + name for name in roles.roles]
    logins = [made.login_name(name) for name in (*roles.roles, "nobody")]
    with session(administrator) as admin:
        for name in names:
            admin.execute(text(f"CREATE ROLE {name} NOLOGIN"))
        for login in logins:
            admin.execute(text(f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}'"))
        for name in roles.roles:
            admin.execute(text(f"GRANT {target.prefix}{name} TO {made.login_name(name)}"))
    try:
        apply_as_owner(made, roles)
        yield made
    finally:
        remove_roles(administrator, [*logins, *names])


def apply_as_owner(made: GuardedDatabase, roles: RolesFile) -> None:
    _, left = apply_roles(engine_of(made.owner), roles, made.target)
    assert left == []


def remove_roles(administrator: DatabaseConnection, names: list[str]) -> None:
    end_sessions = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = :name")
    with session(administrator) as admin:
        for name in names:
            admin.execute(end_sessions, {"name": name})
            with suppress(DBAPIError):
                admin.execute(text(f"DROP OWNED BY {name}"))
            admin.execute(text(f"DROP ROLE IF EXISTS {name}"))
