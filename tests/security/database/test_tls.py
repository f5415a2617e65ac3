"""TLS to PostgreSQL, on a server that has it: what is right works everywhere, what is wrong is one line."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner, Result

from consumer.__main__ import app as consumer_app
from consumer.app import build
from consumer.errors import FatalError
from consumer.operations import dlq_commands
from consumer.settings import ConsumerSettings
from schemas.__main__ import app as schemas_app
from schemas.connection import DatabaseConnection, KafkaConnection
from tests.conftest import Servers, TopicNames
from tests.integration.harness import Bench, make_event
from tests.operations.command import environment_of
from tests.operations.reconcile_bench import reconcile
from tests.security.database.guarded import session
from tests.security.database.tls_server import PASSWORD, TlsPostgres, expired, tls_postgres

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

CONSUMER_PASSWORD = "canary-of-the-consumer"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsPostgres]:
    with tls_postgres(tmp_path_factory.mktemp("certificates")) as server:
        yield server


def schemas(connection: DatabaseConnection, *arguments: str) -> Result:
    environment = {"DATABASE_URL": connection.database_url.get_secret_value()}
    return CliRunner().invoke(schemas_app, [*arguments], env=environment)


@pytest.mark.timeout(300)
def test_everything_works_with_a_server_that_is_checked(
    tls: TlsPostgres,
    kafka: KafkaConnection,
    topics: TopicNames,
    make_settings: Callable[..., ConsumerSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    migrated = schemas(tls.url(), "migrate")
    assert migrated.exit_code == 0, migrated.stderr
    # It owns the database and may create roles: no superuser is needed for any of this.
    applied = schemas(tls.url(), "roles", "apply")
    assert applied.exit_code == 0, applied.stderr
    assert schemas(tls.url(), "roles", "diff").exit_code == 0
    for role in ("consumer", "operator"):
        with session(tls.url(database="postgres")) as connection:
            connection.exec_driver_sql(
                f"CREATE ROLE {role} LOGIN PASSWORD '{CONSUMER_PASSWORD}' IN ROLE feedback_{role}"
            )
    consumer = tls.url(user="consumer", password=CONSUMER_PASSWORD)
    operator = tls.url(user="operator", password=CONSUMER_PASSWORD)

    with Bench(kafka, tls.url(), topics, make_settings) as bench:
        running = bench.process(database_url=consumer.database_url)
        running.wait_ready()
        events = [make_event(f"It works, {number}.") for number in range(10)]
        bench.publish([*events, b"no JSON"])
        bench.wait_for_outcomes(11, running)
        bench.assert_exactly_once(events)

        with session(tls.url(user="postgres")) as connection:
            sessions = connection.exec_driver_sql(
                "SELECT ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'consumer'"
            ).all()
        assert sessions
        assert {(row.ssl, row.version) for row in sessions} == {(True, "TLSv1.3")}
        assert PASSWORD not in running.log_path.read_text()
        assert CONSUMER_PASSWORD not in running.log_path.read_text()

        found = reconcile(bench, monkeypatch, database_url=operator.database_url)
        assert found.exit_code == 0, found
        listed = dlq_list(bench.make_settings(database_url=operator.database_url), monkeypatch)
        assert (listed.exit_code, listed.stderr) == (0, "")
        assert "not_json" in listed.stdout


def dlq_list(settings: ConsumerSettings, monkeypatch: pytest.MonkeyPatch) -> Result:
    # The logs of this process are other tests' too.
    monkeypatch.setattr(dlq_commands, "configure_logs", lambda *_: None)
    return CliRunner().invoke(consumer_app, ["dlq", "list"], env=environment_of(settings))


def test_a_client_certificate_beside_the_password(tls: TlsPostgres) -> None:
    mine = tls.authority.keep("certified")
    with session(tls.url(user="certified", client=mine, database="postgres")) as connection:
        assert connection.exec_driver_sql("SELECT current_user").scalar_one() == "certified"


# What is wrong: how to connect, and the words that the one line must hold.
WRONG: dict[str, tuple[Callable[[TlsPostgres], DatabaseConnection], tuple[str, ...]]] = {
    "wrong host name": (
        lambda tls: tls.url(host="127.0.0.1"),
        ('does not match host name "127.0.0.1"', "connect by a name that the server's certificate holds"),
    ),
    "unknown authority": (
        lambda tls: tls.url(sslrootcert=str(tls.stranger.certificate)),
        ("certificate verify failed", "has expired, or comes from another authority than sslrootcert names"),
    ),
    "no file of the authority": (
        lambda tls: tls.url(sslrootcert="/nowhere.pem"),
        ('"/nowhere.pem"', "sslrootcert names the certificate of the server's authority"),
    ),
    "no TLS where it must be": (
        lambda tls: tls.url(sslmode="disable", sslrootcert=""),
        ("no encryption", "sslmode=verify-full"),
    ),
    "wrong password": (lambda tls: tls.url(password="canary-wrong"), ("password authentication failed",)),
    "unknown user": (lambda tls: tls.url(user="mallory"), ("password authentication failed",)),
    "no such database": (lambda tls: tls.url(database="nowhere"), ('"nowhere" does not exist', "DATABASE_URL")),
    "no client certificate": (
        lambda tls: tls.url(user="certified", sslcert="/nowhere.pem"),
        ("requires a valid client certificate", "sslcert and sslkey"),
    ),
    "another user's client certificate": (
        lambda tls: tls.url(user="certified", client=tls.authority.keep("other")),
        ("authentication failed for user",),
    ),
    "an expired client certificate": (
        lambda tls: tls.url(user="certified", client=expired(tls.authority, "late")),
        ("certificate expired", "sslcert has expired"),
    ),
    "a client certificate of a stranger": (
        lambda tls: tls.url(user="certified", client=tls.stranger.keep("certified")),
        ("unknown ca", "does not know the authority"),
    ),
    "a mode that is none": (lambda tls: tls.url(sslmode="canary"), ("sslmode",)),
    "an option that is none": (lambda tls: tls.url(sslmod="require"), ('"sslmod"', "no option of libpq's")),
}


def assert_one_line(text: str, words: tuple[str, ...]) -> None:
    [line] = text.splitlines()
    for each in words:
        assert each in line, line
    assert PASSWORD not in line
    assert "canary-wrong" not in line


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line(case: str, tls: TlsPostgres) -> None:
    connect, words = WRONG[case]

    answer = schemas(connect(tls), "migrate")

    assert (answer.exit_code, answer.stdout) == (1, "")
    assert_one_line(answer.stderr, words)
    assert schemas(connect(tls), "roles", "diff").stderr.split(": ", 1)[1] == answer.stderr.split(": ", 1)[1]


@pytest.mark.parametrize(
    "case", ["wrong host name", "wrong password", "an expired server certificate", "an option that is none"]
)
def test_consumer_and_operators_say_the_same(
    case: str,
    tls: TlsPostgres,
    make_settings: Callable[..., ConsumerSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = case == "an expired server certificate"
    connection = tls.url() if late else WRONG[case][0](tls)
    words = WRONG["unknown authority"][1] if late else WRONG[case][1]
    settings = make_settings(database_url=connection.database_url)
    showing = tls.serving(expired(tls.authority, "server-late", hosts=("localhost",))) if late else nullcontext()

    with showing:
        listed = dlq_list(settings, monkeypatch)
        with pytest.raises(FatalError) as refused:
            build(settings)
        migrated = schemas(connection, "migrate")

    assert listed.exit_code == 1
    for said in (listed.stderr, str(refused.value), migrated.stderr):
        assert_one_line(said, words)


def test_a_server_without_tls_is_told(servers: Servers) -> None:
    if servers.stack is None:
        pytest.skip("the server of DATABASE_URL may have TLS")
    required = DatabaseConnection(database_url=servers.database_url + "?sslmode=require")

    answer = schemas(required, "migrate")

    assert answer.exit_code == 1
    assert_one_line(answer.stderr, ("server does not support SSL, but SSL was required", "switch it on there"))


def test_a_key_that_others_may_read_is_told(tls: TlsPostgres) -> None:
    mine = tls.authority.keep("open")
    mine.key.chmod(0o644)

    answer = schemas(tls.url(user="certified", client=mine), "migrate")

    assert answer.exit_code == 1
    assert_one_line(answer.stderr, ("private key file", "which only its owner may read"))
