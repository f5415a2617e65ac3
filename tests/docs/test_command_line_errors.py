"""Every command, used wrongly or on servers that are not as they should be, says why in one line, soon, and fails."""

import importlib
import importlib.util
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from sqlalchemy.engine import make_url
from typer import Typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.main import get_command
from typer.testing import CliRunner, Result

from schemas.connection import DatabaseConnection
from tests.conftest import Servers
from tests.docs.reader import environment_without_ours

PROGRAMS = ["consumer", "consumer.client", "producer", "schemas", "devstack", "demo", "demo.local", "model_export"]
# Commands give up after 10 s on servers that do not answer; the rest is for starting Python on a busy machine.
DEADLINE_S = 120

# How to ask each command that needs a server for something small.
NEEDS_KAFKA = {
    "producer send": ("hello",),
    "producer file": ("README.md", "--format", "text"),
    "producer load": ("--rate", "1", "--duration", "1"),
    "schemas topics apply": (),
    "schemas topics diff": (),
    "schemas access diff": (),
    "schemas access apply": (),
    "consumer.client tail": ("--limit", "1"),
}
NEEDS_BOTH = {
    "consumer dlq accept": ("--reason", "a test"),
    "consumer dlq list": (),
    "consumer dlq show": ("0:0",),
    "consumer dlq replay": ("--all", "--reason", "a test"),
    "consumer dlq drop": ("0:0", "--reason", "a test"),
    "consumer reconcile": (),
    "consumer erase": ("--customer", "canary-customer"),
    "consumer retention show": (),
    "consumer retention apply": (),
    "consumer run": ("--http-port", "0", "--outage-budget-s", "2", "--log-format", "json"),
}
NEEDS_DATABASE = {"schemas migrate": (), "schemas roles diff": (), "schemas roles apply": ()}
# They start the servers, need none, or are asked elsewhere (tests/registry, tests/publishing, tests/model).
OTHERS = {
    "consumer check-config",
    "consumer classify",
    "schemas access show",
    "schemas generate",
    "schemas compatibility",
    "schemas roles show",
    "schemas registry check",
    "schemas registry register",
    "devstack up",
    "devstack down",
    "devstack status",
    "devstack env",
    "devstack clean",
    "demo",
    "demo.local up",
    "demo.local status",
    "demo.local down",
    "demo.local clean",
    "model_export export",
    "model_export verify",
    "model_export inspect",
    "model_export diff",
    "model_export publish",
    "model_export rollback",
    "model_export withdraw",
    "model_export list",
}
ARGUMENTS = {**NEEDS_KAFKA, **NEEDS_BOTH, **NEEDS_DATABASE}
# `run` ends by os._exit, which would end the tests too; it reads its settings as `check-config` does.
ASKED_HERE = [name for name in (*NEEDS_KAFKA, *NEEDS_BOTH) if name != "consumer run"]


def leaves(words: tuple[str, ...], command: object) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from leaves((*words, name), inner)
    elif isinstance(command, TyperCommand):
        yield words, command


def app_of(program: str) -> Typer:
    specification = importlib.util.find_spec(program)
    assert specification is not None, program
    is_package = specification.submodule_search_locations is not None
    # Where an extra may be missing, `__main__` loads the commands late.
    is_late = importlib.util.find_spec(f"{program}.commands") is not None if is_package else False
    module = f"{program}.{'commands' if is_late else '__main__'}" if is_package else program
    app = importlib.import_module(module).app
    assert isinstance(app, Typer)
    return app


# Each command under the words that call it.
COMMANDS = {
    " ".join((program, *words)): command
    for program in PROGRAMS
    for words, command in leaves((), get_command(app_of(program)))
}


def invoke(name: str, *arguments: str, **variables: str) -> Result:
    program = next(
        program for program in sorted(PROGRAMS, key=len, reverse=True) if f"{name} ".startswith(f"{program} ")
    )
    words = name.removeprefix(program).split()
    return CliRunner().invoke(app_of(program), [*words, *arguments], prog_name=f"python -m {program}", env=variables)


def test_every_command_is_in_these_tests() -> None:
    assert set(COMMANDS) == {*ARGUMENTS, *OTHERS}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_it_does_and_what_each_option_is(name: str) -> None:
    done = invoke(name, "--help")

    assert done.exit_code == 0
    assert f"python -m {name}" in done.output
    assert COMMANDS[name].help
    for parameter in COMMANDS[name].params:
        assert not isinstance(parameter, TyperOption) or parameter.help, parameter.opts


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_named(name: str) -> None:
    done = invoke(name, "--no-such-flag")

    assert done.exit_code == 2
    assert "--no-such-flag" in done.stderr


@pytest.mark.parametrize("name", [*ASKED_HERE, "consumer check-config"])
def test_a_protocol_that_is_none_is_told_before_anything_is_tried(name: str) -> None:
    done = invoke(name, *ARGUMENTS.get(name, ()), KAFKA_SECURITY_PROTOCOL="nonsense")

    assert done.exit_code == 2
    assert done.stderr.startswith("KAFKA_SECURITY_PROTOCOL: ")
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize("url", ["mysql://localhost/feedback", "postgresql://name:pass#canary@localhost/feedback"])
@pytest.mark.parametrize(
    "name", [*sorted(NEEDS_BOTH.keys() & set(ASKED_HERE)), *NEEDS_DATABASE, "consumer check-config"]
)
def test_an_address_of_no_database_is_told_before_anything_is_tried(name: str, url: str) -> None:
    done = invoke(name, *ARGUMENTS.get(name, ()), DATABASE_URL=url)

    assert done.exit_code == 2
    assert done.stderr.startswith("DATABASE_URL: ")
    assert len(done.output.splitlines()) == 1
    assert "canary" not in done.output


@pytest.mark.parametrize("name", ASKED_HERE)
def test_a_certificate_that_is_not_there_is_told_at_once(name: str) -> None:
    variables = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_LOCATION": "/nowhere.pem"}
    done = invoke(name, *ARGUMENTS[name], **variables)

    assert done.exit_code in {1, 2, 3}
    assert "ssl.ca.location" in done.stderr
    assert len(done.output.splitlines()) == 1


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


def ask(name: str, variables: dict[str, str], arguments: tuple[str, ...] = ()) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", *name.split(), *(arguments or ARGUMENTS[name])],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Situation:
    """What is wrong, as variables or a password of the database, and the words that a user must find."""

    variables: dict[str, str]
    commands: Sequence[str]
    words: tuple[str, ...]
    database_password: str | None = None

    def environment(self, servers: Servers, topics: dict[str, str]) -> dict[str, str]:
        url = make_url(servers.database_url)
        if self.database_password is not None:
            url = url.set(password=self.database_password)
        database_url = url.render_as_string(hide_password=False)
        given = {"KAFKA_BOOTSTRAP_SERVERS": servers.bootstrap_servers, "DATABASE_URL": database_url}
        return {**environment_without_ours(), **given, **topics, **self.variables}


SITUATIONS = {
    "no broker": Situation({"KAFKA_BOOTSTRAP_SERVERS": "localhost:1"}, [*NEEDS_KAFKA, *NEEDS_BOTH], ("localhost:1",)),
    "no CA file": Situation(
        {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CA_LOCATION": "/nowhere.pem"},
        ["consumer run"],
        ("ssl.ca.location",),
    ),
    "no topics": Situation(
        {"CONSUMER_EVENTS_TOPIC": "nowhere.events"},
        ["consumer dlq list", "consumer erase", "consumer retention apply", "consumer run"],
        ("nowhere.events", "python -m schemas topics apply"),
    ),
    "wrong password": Situation(
        {},
        ["schemas migrate", "schemas roles diff", "consumer dlq list", "consumer erase", "consumer run"],
        ("password",),
        database_password="canary",
    ),
    "no database": Situation(
        {"DATABASE_URL": "postgresql://feedback@localhost:1/feedback"},
        ["schemas migrate", "consumer dlq list", "consumer run"],
        ("localhost",),
    ),
}
ASKED = [(situation, name) for situation, facts in SITUATIONS.items() for name in facts.commands]


@pytest.fixture(scope="module")
def topics(admin: AdminClient) -> dict[str, str]:
    """The variables that name three topics as the consumer wants them."""
    run = uuid.uuid4().hex[:8]
    names = {f"CONSUMER_{kind}_TOPIC": f"{kind.lower()}.{run}" for kind in ("EVENTS", "RESULTS", "DEAD_LETTER")}
    sizes = {"max.message.bytes": "4194304"}
    made = [NewTopic(name, 1, 1, config={} if name.startswith("events") else sizes) for name in names.values()]
    for future in admin.create_topics(made).values():
        future.result(30)
    return names


@pytest.fixture(scope="module")
def answers(servers: Servers, topics: dict[str, str]) -> Iterator[dict[tuple[str, str], "Future[Answer]"]]:
    """All of it; most commands wait for an answer, so several run at a time."""
    with ThreadPoolExecutor(max_workers=4) as executor:
        yield {
            (situation, name): executor.submit(ask, name, SITUATIONS[situation].environment(servers, topics))
            for situation, name in ASKED
        }
        executor.shutdown(cancel_futures=True)


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("situation", "name"), ASKED)
def test_it_says_why_in_one_line(situation: str, name: str, answers: dict[tuple[str, str], "Future[Answer]"]) -> None:
    facts = SITUATIONS[situation]
    answer = answers[situation, name].result()

    assert answer.stdout == ""
    assert "canary" not in answer.stderr
    *before, line = answer.stderr.splitlines()
    if name == "consumer run":
        assert answer.status == 1, answer.stderr
        line = json.loads(line)["reason"]
    else:
        assert answer.status in {1, 2, 3}, answer.stderr
        assert before == [], answer.stderr
    for words in facts.words:
        assert words in line


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("consumer dlq list", ()), ("consumer reconcile", ()), ("consumer.client tail", ("--until-end", "--topic"))],
)
def test_an_empty_topic_is_told_apart_from_success(
    name: str, arguments: tuple[str, ...], topics: dict[str, str], servers: Servers, database: DatabaseConnection
) -> None:
    given = Situation({"DATABASE_URL": database.database_url.get_secret_value()}, (), ()).environment(servers, topics)
    if arguments:
        arguments = (*arguments, topics["CONSUMER_RESULTS_TOPIC"])

    answer = ask(name, given, arguments)

    assert answer.status == 4, answer
    assert answer.stdout == ""
    assert len(answer.stderr.splitlines()) == 1
