"""The whole main job with the rights of its role, and what a consumer says that lacks one."""

import json
import signal
from collections.abc import Callable

import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from consumer.__main__ import app
from consumer.app import build
from consumer.errors import FatalError
from consumer.settings import ConsumerSettings
from consumer.sinks.database import host_without_tls
from schemas.connection import DatabaseConnection
from tests.integration.harness import Bench, make_event
from tests.operations.command import environment_of
from tests.operations.reconcile_bench import reconcile
from tests.security.database.guarded import PASSWORD, GuardedDatabase

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.mark.timeout(300)
def test_the_main_job_and_the_commands_need_no_more_than_their_roles(
    bench: Bench, guarded_database: GuardedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = guarded_database.login("consumer").database_url
    operator = guarded_database.login("operator").database_url
    events = [make_event(f"It works, {number}.", customer_id=f"customer-{number}") for number in range(20)]
    repeated, other = events[0], {**events[1], "text": "Something else."}

    running = bench.process(database_url=consumer)
    running.wait_ready()
    bench.publish([*events, repeated, other, b"no JSON"])
    bench.wait_for_outcomes(23, running)
    assert running.end(signal.SIGTERM) == 0
    log = running.log()

    outcomes = [outcome["outcome"] for outcome in bench.outcomes()]
    assert {name: outcomes.count(name) for name in set(outcomes)} == {
        "classified": 20,
        "duplicate": 1,
        "conflict": 1,
        "dead_letter": 1,
    }
    bench.assert_exactly_once(events)
    assert not [entry for entry in log if entry["event"] in {"backing_off", "database_tls_optional"}]

    # The operator finds what was lost and puts it back, which only the owner could lose.
    guarded_database.run("DELETE FROM feedback WHERE text = 'It works, 5.'")
    found = reconcile(bench, monkeypatch, "--repair", database_url=operator)
    assert found.exit_code == 0, found
    bench.assert_exactly_once(events)

    settings = bench.make_settings(database_url=guarded_database.login("privacy").database_url)
    for arguments in (["erase", "--customer", "customer-7", "--yes", "--json"], ["retention", "show", "--json"]):
        done = CliRunner().invoke(app, arguments, env=environment_of(settings), catch_exceptions=False)
        assert (done.exit_code, done.stderr) == (0, ""), arguments
    assert "customer-7" not in {row["customer_id"] for row in bench.rows()}


def test_a_missing_right_is_said_at_the_start(
    make_settings: Callable[..., ConsumerSettings], guarded_database: GuardedDatabase
) -> None:
    role = f"{guarded_database.target.prefix}consumer"
    login = guarded_database.login_name("consumer")
    settings = make_settings(database_url=guarded_database.login("consumer").database_url)
    for right in ("UPDATE (stage), INSERT ON record_outcomes", "SELECT ON alembic_version"):
        guarded_database.run(f"REVOKE {right} FROM {role}")

    with pytest.raises(FatalError) as refused:
        build(settings)

    assert str(refused.value) == (
        f"the database role {login} lacks SELECT on alembic_version and 1 more: let the owner of the tables run "
        f"`python -m schemas roles apply`, and an administrator `GRANT feedback_consumer TO {login}`"
    )


def test_a_login_without_a_role_is_told_by_the_process_itself(bench: Bench, guarded_database: GuardedDatabase) -> None:
    running = bench.process(database_url=guarded_database.login("nobody").database_url)

    assert running.process.wait(60) == 1
    last = running.log()[-1]
    assert last["event"] == "fatal"
    assert "permission denied for database" in last["reason"]
    assert "docs/database-security.md" in last["reason"]
    assert PASSWORD not in json.dumps(running.log())
    assert "Traceback" not in running.log_path.read_text()


def test_a_right_that_goes_while_it_runs_is_one_line_as_well(bench: Bench, guarded_database: GuardedDatabase) -> None:
    running = bench.process(database_url=guarded_database.login("consumer").database_url)
    running.wait_ready()
    guarded_database.run(f"REVOKE INSERT ON feedback FROM {guarded_database.target.prefix}consumer")

    bench.publish([make_event("A canary, by name.")])

    assert running.process.wait(60) == 1
    last = running.log()[-1]
    assert last["reason"] == (
        "PostgreSQL refuses: permission denied for table feedback: "
        "this login lacks a right: docs/database-security.md says which role has it"
    )
    assert "canary" not in running.log_path.read_text()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://u@localhost/f", None),
        ("postgresql://u@127.0.0.5/f", None),
        ("postgresql://u@[::1]/f", None),
        ("postgresql:///f", None),
        ("postgresql://u@/f?host=/run/postgresql", None),
        ("postgresql://u@db.example.com/f", "db.example.com"),
        ("postgresql://u@10.0.0.5/f?sslmode=prefer", "10.0.0.5"),
        ("postgresql:///f?host=db.example.com&sslmode=allow", "db.example.com"),
        ("postgresql:///f?host=localhost&host=db.example.com", "db.example.com"),
        ("postgresql://u@db.example.com/f?sslmode=require", None),
        ("postgresql://u@db.example.com/f?sslmode=verify-full&sslrootcert=/ca.pem", None),
        ("postgresql://u@db.example.com/f?sslrootcert=system", None),
        # Said in the open: the network is trusted.
        ("postgresql://u@db.example.com/f?sslmode=disable", None),
    ],
)
def test_another_machine_without_tls_is_noticed(url: str, host: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSSLMODE", raising=False)
    assert host_without_tls(DatabaseConnection(database_url=SecretStr(url))) == host


def test_a_mode_from_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert host_without_tls(DatabaseConnection(database_url=SecretStr("postgresql://u@db/f"))) is None


def test_a_consumer_warns_of_it_once(bench: Bench, guarded_database: GuardedDatabase) -> None:
    url = make_url(guarded_database.login("consumer").sqlalchemy_url()).set(drivername="postgresql")
    # What the name stands for, libpq is told as well: it is this machine.
    named = url.update_query_dict({"host": "db.example.com", "hostaddr": url.host or ""})
    running = bench.process(database_url=SecretStr(named.render_as_string(hide_password=False)))
    running.wait_ready()

    warned = [entry for entry in running.log() if entry["event"] == "database_tls_optional"]
    assert [entry["host"] for entry in warned] == ["db.example.com"]
    assert warned[0]["level"] == "warning"
    assert PASSWORD not in json.dumps(running.log())
