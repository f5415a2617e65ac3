"""A real broker that encrypts, asks for logins and checks rights; some of its listeners are not as they should be."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from confluent_kafka.admin import AclBinding, AclBindingFilter
from typer.testing import CliRunner

import consumer.__main__
import consumer.client.__main__
import producer.__main__
import schemas.__main__
from consumer.operations import dlq_commands
from devstack import ports
from devstack.certificates import Authority, Identity
from devstack.kafka import Broker
from devstack.secret_files import write_secret
from devstack.secure_kafka import ADMINISTRATOR, SecureKafka
from model_export.publish_commands import register
from schemas.access import Right, _acl, apply_access, diff_access, load_access, rights_of
from schemas.cluster import Cluster
from schemas.connection import KafkaConnection, LibrdkafkaConfig
from schemas.topics import apply_topics, load_topics
from tests.inference.tiny_bundle import build_tiny_bundle

slow = pytest.mark.skipif(not os.environ.get("SECURITY_SLOW"), reason="takes ten seconds; `make test-security` runs it")
GROUP = "feedback-classifier"
OTHER_HOST = "kafka.example"

publishing = typer.Typer()
register(publishing)
PROGRAMS = {
    "consumer": consumer.__main__.app,
    "consumer.client": consumer.client.__main__.app,
    "producer": producer.__main__.app,
    "schemas": schemas.__main__.app,
    "model_export": publishing,
}


class FaultyKafka(SecureKafka):
    """Two more listeners: one whose certificate has expired, and one whose certificate names another host."""

    def __init__(self, directory: Path) -> None:
        chosen = ports.choose(5)
        self.faulty_ports = {"EXPIRED": chosen[3], "ELSEWHERE": chosen[4]}
        super().__init__(directory, "A" + "0" * 20 + "w", chosen[:1], chosen[1:2], chosen[2:3])
        self.controller_port = chosen[1]
        self.authority = Authority(directory / "security")

    def prepare(self) -> None:
        super().prepare()
        now = datetime.now(UTC)
        issued = {
            "EXPIRED": self.issue("expired-server", hosts=[ports.HOST], not_after=now - timedelta(hours=1)),
            "ELSEWHERE": self.issue("elsewhere", hosts=[OTHER_HOST]),
        }
        for name, identity in issued.items():
            write_secret(self._store(name), identity.key.read_text() + identity.certificate.read_text())

    def issue(self, name: str, *, hosts: list[str], not_after: datetime | None = None) -> Identity:
        now = datetime.now(UTC)
        return self.authority.issue(
            name, hosts=hosts, not_before=now - timedelta(days=2), not_after=not_after or now + timedelta(days=1)
        )

    def _store(self, listener: str) -> Path:
        return self.authority.certificate.parent / f"{listener.lower()}.keystore.pem"

    def _properties(self, broker: Broker) -> dict[str, str]:
        properties = super()._properties(broker)
        more = ",".join(f"{name}://{ports.HOST}:{port}" for name, port in self.faulty_ports.items())
        protocols = ",".join(f"{name}:SSL" for name in self.faulty_ports)
        return {
            **properties,
            "listeners": f"{more},{properties['listeners']}",
            "advertised.listeners": f"{more},{properties['advertised.listeners']}",
            "listener.security.protocol.map": f"{protocols},{properties['listener.security.protocol.map']}",
            **{
                f"listener.name.{name.lower()}.ssl.{what}": value
                for name in self.faulty_ports
                for what, value in (("keystore.location", str(self._store(name))), ("client.auth", "none"))
            },
        }


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line on its standard error."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        return lines[0]


@dataclass
class Secured:
    """The secured broker with the project's topics and rights."""

    kafka: FaultyKafka
    administrator: Cluster
    monkeypatch: pytest.MonkeyPatch
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, role: str, *, by_certificate: bool = False) -> dict[str, str]:
        return {**self.kafka.environment(role, by_certificate=by_certificate), **self.variables}

    def connection(self, role: str, *, by_certificate: bool = False) -> KafkaConnection:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment(role, by_certificate=by_certificate).items():
                patch.setenv(name, value)
            return KafkaConnection()

    def librdkafka(self, role: str) -> LibrdkafkaConfig:
        return {**self.connection(role).as_librdkafka(), "log_level": 0}

    def run(self, role: str, command: str, *arguments: str, **variables: str) -> Done:
        """Run `python -m COMMAND` as this role, in this process."""
        return self.run_with({**self.environment(role), **variables}, command, *arguments)

    def run_with(self, variables: dict[str, str], command: str, *arguments: str) -> Done:
        program, *words = command.split()
        environment: dict[str, str | None] = {**variables, "COLUMNS": "300"}
        done = CliRunner().invoke(PROGRAMS[program], [*words, *arguments], env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Done(done.exit_code, done.stdout, done.stderr)

    def give(self, *rights: Right) -> None:
        self.administrator.answers(self.administrator.admin.create_acls([AclBinding(*_acl(right)) for right in rights]))

    def take(self, *rights: Right) -> None:
        filters = [AclBindingFilter(*_acl(right)) for right in rights]
        self.administrator.answers(self.administrator.admin.delete_acls(filters))

    def rights(self, role: str, *, group: str = GROUP) -> list[Right]:
        return rights_of(load_access(), {role: [f"User:{role}"]}, group)

    def right(self, role: str, operation: str, name: str) -> Right:
        [found] = [each for each in self.rights(role) if (each.operation, each.name) == (operation, name)]
        return found


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultyKafka, Cluster]]:
    kafka = FaultyKafka(tmp_path_factory.mktemp("secured"))
    try:
        kafka.prepare()
        kafka.start()
        kafka.create_users()
        administrator = Cluster({"bootstrap.servers": "", **kafka.brokers[0].client_config})
        apply_topics(administrator.admin, load_topics())
        roles = load_access()
        everybody = {role: [f"User:{role}"] for role in roles if role != ADMINISTRATOR}
        apply_access(administrator, rights_of(roles, everybody, GROUP), prune=False)
        yield kafka, administrator
    finally:
        kafka.kill()


@pytest.fixture
def secured(secured_kafka: tuple[FaultyKafka, Cluster], monkeypatch: pytest.MonkeyPatch) -> Secured:
    for name in ("KAFKA_SASL_PASSWORD", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    # The logs of this process are other tests' too.
    monkeypatch.setattr(dlq_commands, "configure_logs", lambda *_: None)
    return Secured(*secured_kafka, monkeypatch)


@pytest.fixture
def without(secured: Secured) -> Iterator[Callable[[Right], None]]:
    """Takes a right away until the end of the test."""
    taken: list[Right] = []

    def take(right: Right) -> None:
        secured.take(right)
        taken.append(right)

    yield take
    if taken:
        secured.give(*taken)


@pytest.fixture
def lend(secured: Secured) -> Iterator[Callable[..., None]]:
    """Gives rights until the end of the test."""
    lent: list[Right] = []

    def give(*rights: Right) -> None:
        had = {each.right for each in diff_access(secured.administrator, list(rights)) if each.state == "missing"}
        secured.give(*had)
        lent.extend(had)

    yield give
    if lent:
        secured.take(*lent)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The tiny bundle of a version."""
    folder = tmp_path_factory.mktemp("secured-bundles")

    def build(version: str) -> Path:
        path = folder / version
        return path if path.exists() else build_tiny_bundle(path, version=version, seed=int(version) % 2)

    return build
