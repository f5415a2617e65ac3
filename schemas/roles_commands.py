"""`python -m schemas roles`: who may do what in the database, and make it so."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final, NoReturn
from urllib.parse import unquote, urlsplit

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.connection import DatabaseConnection

if TYPE_CHECKING:
    # A plain install has no sqlalchemy: what needs it is imported by the commands.
    from sqlalchemy import Engine

    from schemas.roles_database import RoleDifference

_USAGE: Final = 2
_SHOWN_STATEMENTS: Final = 3
_LOCK_TIMEOUT: Final = "5s"

roles_app = typer.Typer(
    no_args_is_help=True,
    help="Compare the rights in the database that DATABASE_URL names with schemas/roles.toml. "
    "The login is that of the tables' owner, who migrates. docs/database-security.md explains the roles.",
)
out = Console()
err = Console(stderr=True)

PrefixOption = Annotated[str, typer.Option(help="What the names of the roles begin with in this cluster.")]
SchemaOption = Annotated[str, typer.Option(help="The schema that holds the tables.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


@roles_app.command()
def show(prefix: PrefixOption = "feedback_", schema: SchemaOption = "public") -> None:
    """Print all of it as SQL, for those who run it by hand. Asks no database.

    Exits 2 if DATABASE_URL makes no sense.
    """
    with _extra_needed():
        from schemas.roles import Target, everything, load_roles, quote  # noqa: PLC0415
    database, owner = _names(_connection())
    create, rights = everything(load_roles(), Target(database, schema, prefix), owner)
    lines = [
        "-- Once for each cluster of databases, by an administrator (CREATEROLE):",
        *(f"{statement};" for statement in create),
        f"-- In the database {database}, by the owner of its tables, after every `python -m schemas migrate`:",
        "BEGIN;",
        *(f"{statement};" for statement in rights),
        "COMMIT;",
        "-- A login for each program or person, by an administrator; \\password in psql asks for its password:",
        f"-- CREATE ROLE app LOGIN IN ROLE {quote(prefix + 'consumer')};",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


@roles_app.command()
def diff(prefix: PrefixOption = "feedback_", schema: SchemaOption = "public", as_json: JsonOption = False) -> None:
    """Show what the database grants too little or too much.

    Rights of roles that the declaration does not know are shown, and do not count.

    Exits 1 if there is a difference, 2 if the database is away or refuses, or a setting makes no sense.
    """
    with _extra_needed():
        from schemas.roles import Target, load_roles  # noqa: PLC0415
        from schemas.roles_database import diff_roles  # noqa: PLC0415
    connection = _connection()
    target = Target(_names(connection)[0], schema, prefix)
    with _database_needed(connection, "the rights cannot be compared", _USAGE) as engine, engine.connect() as session:
        differences = diff_roles(session, load_roles(), target)
    _print(differences, as_json, title="Differences", nothing="the database agrees with the declaration")
    if any(difference.is_ours for difference in differences):
        raise typer.Exit(1)


@roles_app.command()
def apply(prefix: PrefixOption = "feedback_", schema: SchemaOption = "public", as_json: JsonOption = False) -> None:
    """Create missing roles, give the rights that are missing, take away those that are too much. Prints the changes.

    Takes nothing from roles that the declaration does not know, but what everybody has: others that use this database,
    such as monitoring and backups, need CONNECT of their own afterwards.

    Exits 1 if the database is away or refuses any of it, 2 if a setting makes no sense.
    """
    with _extra_needed():
        from schemas.roles import Target, load_roles  # noqa: PLC0415
        from schemas.roles_database import apply_roles  # noqa: PLC0415
    connection = _connection()
    target = Target(_names(connection)[0], schema, prefix)
    with _database_needed(connection, "the rights cannot be changed") as engine:
        changed, left = apply_roles(engine, load_roles(), target)
    _print(changed, as_json, title="Changed", nothing="nothing was changed" if left else "nothing to change")
    if left:
        shown = "; ".join(difference.statement for difference in left[:_SHOWN_STATEMENTS])
        more = f"; and {len(left) - _SHOWN_STATEMENTS} more, see `python -m schemas roles show`"
        _fail(
            "this login may not do all of it, an administrator or the database's owner has to: "
            f"{shown}{more if len(left) > _SHOWN_STATEMENTS else ''}"
        )


@contextmanager
def _extra_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed: pip install 'feedback-stream[consumer]'", _USAGE)


def _connection() -> DatabaseConnection:
    try:
        return DatabaseConnection()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = first["loc"][0] if first["loc"] else "settings"
        _fail(f"{where}: {first['msg'].removeprefix('Value error, ')}", _USAGE)


def _names(connection: DatabaseConnection) -> tuple[str, str]:
    """The database as the URL names it, and the owner of the tables: whoever migrates."""
    parts = urlsplit(connection.database_url.get_secret_value())
    user = unquote(parts.username or "")
    return unquote(parts.path.lstrip("/")) or user, user


@contextmanager
def _database_needed(connection: DatabaseConnection, what_failed: str, code: int = 1) -> Iterator["Engine"]:
    from sqlalchemy import create_engine  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    from schemas.database_errors import explain  # noqa: PLC0415
    from schemas.roles_database import RolesError  # noqa: PLC0415

    engine = create_engine(
        connection.sqlalchemy_url(),
        hide_parameters=True,
        connect_args={"connect_timeout": 10, "options": f"-c lock_timeout={_LOCK_TIMEOUT}"},
    )
    try:
        yield engine
    except RolesError as error:
        _fail(str(error), code)
    except SQLAlchemyError as error:
        _fail(f"{what_failed}: {explain(error)}", code)
    finally:
        engine.dispose()


def _print(differences: "Sequence[RoleDifference]", as_json: bool, *, title: str, nothing: str) -> None:
    if as_json:
        sys.stdout.write(json.dumps([difference.as_json() for difference in differences]) + "\n")
        return
    if not any(difference.is_ours for difference in differences):
        out.print(nothing)
    if differences:
        table = Table("role", "on", "wanted", "found", title=title)
        for difference in differences:
            role = difference.role if difference.is_ours else f"{difference.role} (not declared)"
            table.add_row(*(Text(cell) for cell in (role, difference.on, difference.wanted, difference.found)))
        out.print(table)


def _fail(message: str, code: int = 1) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
