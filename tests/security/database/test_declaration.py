"""`schemas/roles.toml` speaks of everything there is, and `roles show|diff|apply` make a database agree with it."""

import json
import subprocess
from collections.abc import Callable

import pytest
from sqlalchemy import inspect
from sqlalchemy.engine import make_url
from typer.testing import CliRunner, Result

from devstack.placement import packaged_programs
from schemas import roles_commands
from schemas.__main__ import app
from schemas.connection import DatabaseConnection
from schemas.roles import Target, everything, load_roles
from schemas.tables import metadata as tables
from schemas.views import metadata as views
from tests.security.database.guarded import GuardedDatabase, engine_of, remove_roles, session, sqlstate_of

pytestmark = pytest.mark.postgres

INSUFFICIENT_PRIVILEGE = "42501"


def command(connection: DatabaseConnection, *arguments: str) -> Result:
    environment = {"DATABASE_URL": connection.database_url.get_secret_value()}
    # COLUMNS would count only if the module had not been loaded before.
    roles_commands.out.width = 200
    return CliRunner().invoke(app, ["roles", *arguments], env=environment)


def test_every_table_and_view_has_a_line(database: DatabaseConnection) -> None:
    found = inspect(engine_of(database))

    assert load_roles().relations() == {*found.get_table_names(), *found.get_view_names()}


def test_every_column_that_is_named_exists() -> None:
    relations = {**tables.tables, **views.tables}
    for name, spec in load_roles().roles.items():
        for table in spec.tables:
            for privilege in spec.privileges(table):
                assert privilege.column is None or privilege.column in relations[table].columns, (name, table)


def test_what_a_later_migration_adds_opens_to_nobody(guarded_database: GuardedDatabase) -> None:
    guarded_database.run("CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, secret text)")
    guarded_database.run("CREATE SEQUENCE numbers")
    guarded_database.run("CREATE FUNCTION public.tell() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1")

    for role in load_roles().roles:
        for statement in ("SELECT * FROM later", "SELECT nextval('numbers')", "SELECT public.tell()"):
            assert sqlstate_of(guarded_database.login(role), statement) == INSUFFICIENT_PRIVILEGE, (role, statement)


# What somebody might do to a database over the years: as whom, what, and the words that `diff` must print.
TAMPERING = {
    "a table for the reader": ("owner", "GRANT SELECT ON feedback TO {reader}", "reader table feedback nothing SELECT"),
    "a column for the reader": (
        "owner",
        "GRANT SELECT (customer_id) ON feedback TO {reader}",
        "reader table feedback nothing SELECT, SELECT (customer_id)",
    ),
    "a right that is missing": (
        "owner",
        "REVOKE INSERT ON feedback FROM {consumer}",
        "consumer table feedback SELECT, INSERT SELECT",
    ),
    "a whole table instead of columns": (
        "owner",
        "GRANT UPDATE ON window_marks TO {consumer}",
        "consumer table window_marks",
    ),
    "a sequence": ("owner", "GRANT USAGE ON SEQUENCE labels_id_seq TO {reader}", "reader sequence labels_id_seq"),
    "a function": (
        "owner",
        "CREATE FUNCTION tell() RETURNS int LANGUAGE sql RETURN 1; GRANT EXECUTE ON FUNCTION tell TO PUBLIC",
        "PUBLIC routine public.tell() nothing EXECUTE",
    ),
    "a view that shows what it leaves out": (
        "owner",
        "ALTER VIEW review_queue RESET (security_barrier)",
        "view review_queue security_barrier none",
    ),
    "objects for everybody": (
        "owner",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        "PUBLIC schema public nothing CREATE",
    ),
    "temporary tables for everybody": (
        "owner",
        "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY, CONNECT ON DATABASE %I TO PUBLIC', current_database()); END $$",
        "PUBLIC database {database} nothing CONNECT, TEMPORARY",
    ),
    "tables to come": (
        "owner",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {reader}",
        "reader default in schema for new tables nothing SELECT",
    ),
    "functions to come": (
        "owner",
        "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC",
        "PUBLIC default for new routines nothing EXECUTE",
    ),
    "a membership": ("administrator", "GRANT pg_read_all_data TO {reader}", "reader role pg_read_all_data"),
    "an attribute": ("administrator", "ALTER ROLE {reader} BYPASSRLS", "reader role NOBYPASSRLS BYPASSRLS"),
}


def test_diff_finds_what_departs_and_apply_mends_it(guarded_database: GuardedDatabase) -> None:
    prefix, database = guarded_database.target.prefix, guarded_database.target.database
    names = {name: prefix + name for name in load_roles().roles}
    clean = command(guarded_database.owner, "diff", "--prefix", prefix)
    assert (clean.exit_code, clean.stdout) == (0, "the database agrees with the declaration\n")

    for who, statement, _ in TAMPERING.values():
        # Not `format` alone: some statements are full of its own signs.
        for name, role in names.items():
            statement = statement.replace(f"{{{name}}}", role)  # noqa: PLW2901
        guarded_database.run(statement, getattr(guarded_database, who))

    found = command(guarded_database.owner, "diff", "--prefix", prefix)
    assert found.exit_code == 1
    printed = [" ".join(line.replace("│", " ").split()).replace(prefix, "") for line in found.stdout.splitlines()]
    for case, (_, _, words) in TAMPERING.items():
        assert any(line.startswith(words.replace("{database}", database)) for line in printed), (case, printed)

    # The owner is no administrator: the roles' own attributes are left, and said.
    applied = command(guarded_database.owner, "apply", "--prefix", prefix)
    assert applied.exit_code == 1
    [line] = applied.stderr.splitlines()
    assert f"REVOKE pg_read_all_data FROM {names['reader']}" in line
    assert f"ALTER ROLE {names['reader']} NOBYPASSRLS" in line

    applied = command(guarded_database.administrator, "apply", "--prefix", prefix, "--json")
    assert applied.exit_code == 0
    assert {change["on"] for change in json.loads(applied.stdout)} == {"role", "role pg_read_all_data"}
    assert command(guarded_database.owner, "diff", "--prefix", prefix).exit_code == 0


def test_rights_of_others_are_shown_and_left_alone(guarded_database: GuardedDatabase) -> None:
    prefix, other = guarded_database.target.prefix, guarded_database.login_name("nobody")
    guarded_database.run(f"GRANT SELECT ON feedback TO {other}")

    found = command(guarded_database.owner, "diff", "--prefix", prefix)
    command(guarded_database.owner, "apply", "--prefix", prefix)
    [still] = json.loads(command(guarded_database.owner, "diff", "--prefix", prefix, "--json").stdout)

    assert found.exit_code == 0
    assert "(not declared)" in found.stdout
    assert still["role"] == other
    assert still["declared"] is False


@pytest.fixture
def made_by_hand(administrator: DatabaseConnection) -> "Callable[[str], None]":
    """Runs SQL as psql does."""

    def run(sql: str, connection: DatabaseConnection = administrator) -> None:
        url = make_url(connection.sqlalchemy_url()).set(drivername="postgresql")
        done = subprocess.run(
            [packaged_programs() / "psql", url.render_as_string(hide_password=False), "-Xq", "-v", "ON_ERROR_STOP=1"],
            input=sql,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")

    return run


def test_what_show_prints_makes_the_database_agree(
    database: DatabaseConnection, administrator: DatabaseConnection, made_by_hand: Callable[..., None]
) -> None:
    prefix = "byhand_"
    shown = command(database, "show", "--prefix", prefix)
    by_administrator, by_owner = shown.stdout.split("-- In the database", 1)
    try:
        made_by_hand(by_administrator)
        for _ in range(2):
            made_by_hand(f"-- {by_owner}", database)

        assert command(database, "diff", "--prefix", prefix).exit_code == 0
    finally:
        remove_roles(administrator, [prefix + name for name in load_roles().roles])


def test_an_owner_who_may_create_no_role_is_told_who_does_what(database: DatabaseConnection) -> None:
    applied = command(database, "apply", "--prefix", "unmade_")

    assert applied.exit_code == 1
    [line] = applied.stderr.splitlines()
    assert "CREATE ROLE unmade_consumer NOLOGIN; " in line
    assert "`python -m schemas roles show`" in line
    # Nobody has lost a right before somebody else has it.
    with session(database) as connection:
        assert connection.exec_driver_sql(
            "SELECT count(*) FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) "
            "WHERE datname = current_database() AND grantee = 0"
        ).scalar_one()


def test_a_database_without_tables_is_told(empty_database: DatabaseConnection) -> None:
    for arguments in (("diff",), ("apply",)):
        found = command(empty_database, *arguments)
        assert found.exit_code in {1, 2}
        [line] = found.stderr.splitlines()
        assert "run `python -m schemas migrate` first" in line


def test_names_that_need_quotes_get_them() -> None:
    _, rights = everything(load_roles(), Target("my-shop", 'Feed"back', "order "), "Owner")

    assert 'GRANT CONNECT ON DATABASE "my-shop" TO "order reader"' in rights
    assert 'GRANT SELECT ON TABLE "Feed""back".feedback_daily TO "order reader"' in rights
