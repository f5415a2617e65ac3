"""What each login tries beyond its job, the database refuses."""

from itertools import product
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from schemas.connection import DatabaseConnection
from schemas.roles import load_roles
from schemas.roles_database import diff_roles
from schemas.tables import labels
from schemas.tables import metadata as tables
from schemas.views import metadata as views
from tests.security.database.guarded import GuardedDatabase, answer_to, session, sqlstate_of
from tests.security.database.jobs import look, row, seed

pytestmark = pytest.mark.postgres

INSUFFICIENT_PRIVILEGE = "42501"
NOT_UPDATABLE = {"55000", "0A000"}
ROLES = load_roles().roles

# Nobody but the owner may do any of this. `{other}` is another role of the declaration.
FOR_NOBODY = {
    "tables": "CREATE TABLE public.mine (i int)",
    "views": "CREATE VIEW public.mine AS SELECT 1",
    "functions": "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql RETURN 1",
    "a schema to be found first": "CREATE SCHEMA mine",
    "extensions": "DROP EXTENSION plpgsql",
    "languages that are not safe": "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE c AS 'libc', 'system'",
    "another layout": "ALTER TABLE feedback ADD COLUMN mine text",
    "an index": "CREATE INDEX ON feedback (text)",
    "a publication": "CREATE PUBLICATION mine FOR TABLE feedback",
    "an event trigger": "CREATE EVENT TRIGGER mine ON ddl_command_end EXECUTE FUNCTION pg_sleep()",
    "a foreign server": "CREATE FOREIGN DATA WRAPPER mine",
    "a trigger": "CREATE TRIGGER mine BEFORE INSERT ON feedback EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "a rule": "CREATE RULE mine AS ON INSERT TO feedback DO INSTEAD NOTHING",
    "another view": "CREATE OR REPLACE VIEW review_queue AS SELECT * FROM review_queue",
    "a view without its barrier": "ALTER VIEW review_queue RESET (security_barrier)",
    "dropping": "DROP TABLE feedback",
    "holding everybody up": "DO $$ BEGIN LOCK TABLE review_queue IN ACCESS EXCLUSIVE MODE; END $$",
    "emptying the ledger": "TRUNCATE record_outcomes",
    "emptying feedback": "TRUNCATE feedback",
    "the tables' layout": "UPDATE alembic_version SET version_num = '0001'",
    "another event": "UPDATE feedback SET text = 'changed'",
    "whose record it was": "UPDATE record_outcomes SET source_offset = source_offset + 1000",
    "rights to come": "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {other}",
    "a role": "CREATE ROLE mine",
    "a right more": "GRANT {other} TO CURRENT_USER",
    "a predefined right more": "GRANT pg_read_all_data TO CURRENT_USER",
    "being another role": "SET ROLE {other}",
    "being the owner": "SET ROLE {owner}",
    "being the superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "another session's role": "SET SESSION AUTHORIZATION {owner}",
    "a database": "CREATE DATABASE mine",
    "this database's settings": "ALTER DATABASE {database} SET search_path = mine",
    "the server's settings": "ALTER SYSTEM SET fsync = off",
    "triggers off": "SET session_replication_role = replica",
    "commands on the server": "COPY (SELECT 1) TO PROGRAM 'true'",
    "commands on the server, the other way": "DO $$ BEGIN COPY pg_class FROM PROGRAM 'true'; END $$",
    "files of the server": "SELECT pg_read_file('PG_VERSION')",
    "folders of the server": "SELECT pg_ls_dir('.')",
    "writing files": "COPY (SELECT 1) TO '/tmp/mine'",
    "large files": "SELECT lo_import('/etc/passwd')",
    "passwords": "SELECT * FROM pg_authid",
    "other sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datid IS NULL",
    "the log": "SELECT * FROM pg_stat_file('postgresql.conf')",
    "replication": "SELECT pg_create_physical_replication_slot('mine')",
}
# PostgreSQL only warns whoever hands on a right that is theirs to use and not to give.
FOR_OTHERS = (
    "GRANT SELECT ON feedback, feedback_daily TO {other}",
    "GRANT USAGE, CREATE ON SCHEMA public TO {other}",
    "GRANT CONNECT, TEMPORARY ON DATABASE {database} TO PUBLIC",
)
PROBES = {
    "SELECT": "SELECT {column} FROM {table}",
    "INSERT": "INSERT INTO {table} ({column}) VALUES (DEFAULT)",
    "UPDATE": "UPDATE {table} SET {column} = DEFAULT",
    "DELETE": "DELETE FROM {table} WHERE false",
}


@pytest.fixture(scope="module")
def seeded(shared_database: GuardedDatabase) -> GuardedDatabase:
    """There is something to find."""
    seed(shared_database.owner)
    return shared_database


def with_names(statement: str, role: str, database: GuardedDatabase) -> str:
    other = "operator" if role == "reader" else "reader"
    owner = make_url(database.owner.sqlalchemy_url()).username or ""
    names = {"{other}": database.target.prefix + other, "{owner}": owner, "{database}": database.target.database}
    for mark, name in names.items():
        statement = statement.replace(mark, name)
    return statement


@pytest.mark.parametrize("role", ROLES)
def test_no_role_goes_beyond_the_tables(role: str, seeded: GuardedDatabase) -> None:
    with session(seeded.login(role)) as opened:
        found = {name: answer_to(opened, with_names(tried, role, seeded)) for name, tried in FOR_NOBODY.items()}
        for tried in FOR_OTHERS:
            answer_to(opened, with_names(tried, role, seeded))

    assert {name: state for name, state in found.items() if state != INSUFFICIENT_PRIVILEGE} == {}
    with session(seeded.owner) as connection:
        assert diff_roles(connection, load_roles(), seeded.target) == []


@pytest.mark.parametrize("role", ROLES)
def test_no_role_does_to_a_table_what_is_not_declared(role: str, seeded: GuardedDatabase) -> None:
    """All tables and views, all verbs, all columns: what is not in the declaration is refused."""
    spec = ROLES[role]
    let_in = []
    with session(seeded.login(role)) as opened:
        for table, verb in product([*tables.sorted_tables, *views.sorted_tables], PROBES):
            declared = spec.privileges(table.name) if table.name in spec.tables else frozenset()
            mine = {privilege.column for privilege in declared if privilege.verb == verb}
            for column in [""] if "{column}" not in PROBES[verb] else table.columns.keys():
                if None in mine or column in mine:
                    continue
                state = answer_to(opened, PROBES[verb].format(table=table.name, column=column))
                # A view that nobody can write to says so first.
                if state != INSUFFICIENT_PRIVILEGE and not (table.metadata is views and state in NOT_UPDATABLE):
                    let_in.append((verb, table.name, column, state))
    assert let_in == []


def test_a_login_of_no_role_does_not_even_connect(seeded: GuardedDatabase) -> None:
    with pytest.raises(DBAPIError, match="permission denied for database"), session(seeded.login("nobody")):
        pass


@pytest.mark.parametrize("role", [role for role, spec in ROLES.items() if not spec.temporary_tables])
def test_only_those_who_need_temporary_tables_make_them(role: str, seeded: GuardedDatabase) -> None:
    for statement in (
        "CREATE TEMPORARY TABLE feedback (text text)",
        "CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE sql RETURN true",
    ):
        assert sqlstate_of(seeded.login(role), statement) == INSUFFICIENT_PRIVILEGE


def told(login: DatabaseConnection, statement: str) -> str:
    """All that the database says to a statement, errors included."""
    try:
        with session(login) as connection:
            return str(connection.exec_driver_sql(statement).all())
    except DBAPIError as error:
        return str(error.orig)


# Conditions that PostgreSQL may evaluate before the view's own, and that say what they saw.
LEAKING = (
    "SELECT event_id FROM {view} WHERE text::int = 1",
    "SELECT event_id FROM {view} WHERE CAST(text AS uuid) IS NOT NULL",
    "SELECT event_id FROM {view} WHERE length(text) > 1 AND to_date(text, 'YYYY') IS NOT NULL",
    "SELECT event_id FROM {view} WHERE ('{' || text || '}')::int[] IS NOT NULL",
)


# What each view leaves out only after a reader's condition was looked at.
LEFT_OUT: dict[str, dict[str, Any]] = {
    "review_queue": {"needs_review": True},
    "constructive_feedback": {"needs_review": False, "constructive": "no"},
}


@pytest.mark.parametrize("view", load_roles().barriers)
def test_a_reader_learns_nothing_of_the_rows_that_a_view_leaves_out(
    view: str, guarded_database: GuardedDatabase
) -> None:
    login = guarded_database.login("reader")
    secret = row(text="canary 4711", **LEFT_OUT[view])
    seed(guarded_database.owner, secret)
    with session(guarded_database.owner) as connection:
        connection.execute(labels.insert().values(event_id=secret["event_id"], labelled_by="a person"))

    said = [told(login, statement.replace("{view}", view)) for statement in LEAKING]
    assert not any("canary" in each for each in said), said

    # The same without the barrier: the attack is a real one.
    guarded_database.run(f"ALTER VIEW {view} RESET (security_barrier)")
    said = [told(login, statement.replace("{view}", view)) for statement in LEAKING]
    assert any("canary" in each for each in said), said


def test_statistics_and_catalogues_tell_a_reader_no_values(seeded: GuardedDatabase) -> None:
    seed(seeded.owner, *(row(text="canary 4711", source="canary") for _ in range(5)))
    seeded.run("ANALYZE feedback")
    login = seeded.login("reader")

    for statement in (
        "SELECT most_common_vals, histogram_bounds FROM pg_stats WHERE tablename = 'feedback'",
        "SELECT query FROM pg_stat_activity WHERE usename <> current_user",
    ):
        assert "canary" not in told(login, statement)
    with session(seeded.owner) as connection:
        assert "canary" in str(connection.exec_driver_sql("SELECT most_common_vals FROM pg_stats").all())


def test_the_reader_reads_all_views(seeded: GuardedDatabase) -> None:
    look(seeded.login("reader"), seeded.owner)
    with session(seeded.login("reader")) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM review_queue").scalar_one() >= 1
