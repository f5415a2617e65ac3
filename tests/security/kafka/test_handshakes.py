"""A login, a certificate or a protocol that does not fit is told in one line that says what to do; nobody gets in."""

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from devstack import ports
from devstack.certificates import Authority, Identity
from schemas.connection import KafkaConnection
from schemas.handshake import why_refused
from tests.security.kafka.conftest import OTHER_HOST, Secured
from tests.security.kafka.test_roles import running

pytestmark = pytest.mark.kafka

COMMANDS = {
    "consumer": ("consumer dlq list", ()),
    "publisher": ("producer send", ("hello",)),
    "reader": ("consumer.client tail", ("--limit", "1")),
    "topics": ("schemas topics diff", ()),
}


@dataclass(frozen=True)
class Case:
    """Variables instead of, or beside, those that would let a consumer in by its password; and what must be said."""

    variables: Callable[[Secured, Path, KafkaConnection], dict[str, str]]
    words: str


def by_certificate(secured: Secured, identity: Identity | None) -> dict[str, str]:
    variables = secured.environment("consumer", by_certificate=True)
    location = {
        "KAFKA_SSL_CERTIFICATE_LOCATION": str(identity.certificate) if identity else "",
        "KAFKA_SSL_KEY_LOCATION": str(identity.key) if identity else "",
    }
    return {**variables, **location}


def expired_client(secured: Secured, *_: object) -> dict[str, str]:
    now = datetime.now(UTC)
    return by_certificate(secured, secured.kafka.issue("late", hosts=[], not_after=now - timedelta(hours=1)))


def foreign_authority(folder: Path) -> Authority:
    authority = Authority(folder / "foreign")
    authority.create()
    return authority


def faulty(listener: str) -> Callable[..., dict[str, str]]:
    def variables(secured: Secured, *_: object) -> dict[str, str]:
        address = f"{ports.HOST}:{secured.kafka.faulty_ports[listener]}"
        return {**by_certificate(secured, None), "KAFKA_BOOTSTRAP_SERVERS": address}

    return variables


CASES = {
    "wrong password": Case(
        lambda secured, _folder, _: {
            **secured.environment("consumer"),
            "KAFKA_SASL_PASSWORD_FILE": "",
            "KAFKA_SASL_PASSWORD": "canary",
        },
        "Authentication failed",
    ),
    "unknown user": Case(
        lambda secured, _folder, _: {**secured.environment("consumer"), "KAFKA_SASL_USERNAME": "nobody"},
        "Authentication failed",
    ),
    "unknown CA": Case(
        lambda secured, folder, _: {
            **secured.environment("consumer"),
            "KAFKA_SSL_CA_LOCATION": str(foreign_authority(folder).certificate),
        },
        "the broker's certificate is not trusted",
    ),
    "expired server": Case(faulty("EXPIRED"), "the broker's certificate has expired"),
    "wrong host name": Case(faulty("ELSEWHERE"), "the broker's certificate is not for 127.0.0.1"),
    "expired client": Case(expired_client, "this client's certificate (KAFKA_SSL_CERTIFICATE_LOCATION) has expired"),
    "client of another CA": Case(
        lambda secured, folder, _: by_certificate(secured, foreign_authority(folder).keep("administrator")),
        "the broker refuses this client's certificate",
    ),
    "no client certificate": Case(
        lambda secured, _folder, _: by_certificate(secured, None), "the broker asks for a client certificate"
    ),
    "no TLS to TLS": Case(
        lambda secured, _folder, _: {
            "KAFKA_BOOTSTRAP_SERVERS": secured.kafka.bootstrap_servers,
            "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        },
        "this port speaks TLS: set KAFKA_SECURITY_PROTOCOL",
    ),
    "a login without TLS to TLS": Case(
        lambda secured, _folder, _: {**secured.environment("consumer"), "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        "this port speaks TLS: set KAFKA_SECURITY_PROTOCOL",
    ),
    "TLS to no TLS": Case(
        lambda secured, _folder, plain: {
            **secured.environment("consumer"),
            "KAFKA_BOOTSTRAP_SERVERS": plain.bootstrap_servers,
        },
        "this port does not speak TLS",
    ),
}


@pytest.mark.parametrize("program", COMMANDS)
@pytest.mark.parametrize("case", CASES)
def test_it_is_one_line_that_says_what_to_do(
    case: str, program: str, secured: Secured, kafka: KafkaConnection, tmp_path: Path
) -> None:
    variables = CASES[case].variables(secured, tmp_path, kafka)
    command, arguments = COMMANDS[program]

    done = secured.run_with(variables, command, *arguments)

    assert done.status in {1, 2, 3}
    assert CASES[case].words in done.line
    assert "canary" not in done.out + done.err


@pytest.mark.parametrize("case", ["expired server", "no TLS to TLS"])
def test_a_consumer_ends_with_the_reason(case: str, secured: Secured, kafka: KafkaConnection, tmp_path: Path) -> None:
    variables = CASES[case].variables(secured, tmp_path, kafka)
    variables |= {"CONSUMER_HTTP_PORT": "0", "CONSUMER_LOG_FORMAT": "json"}

    with running(variables, tmp_path / "consumer.log") as consumer:
        assert consumer.process.wait(60) == 1
        assert CASES[case].words in consumer.log()[-1]["reason"]


def test_a_host_name_is_passed_over_only_where_that_was_said_in_the_open(secured: Secured) -> None:
    variables = {**secured.environment("consumer"), **faulty("ELSEWHERE")(secured)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**variables, "KAFKA_SSL_VERIFY_HOSTNAME": "false"}.items():
            patch.setenv(name, value)
        config = KafkaConnection().as_librdkafka()

    assert why_refused(config) is None
    assert why_refused({**config, "ssl.endpoint.identification.algorithm": "https"}) is not None


def test_a_name_that_the_certificate_holds_is_let_in(secured: Secured) -> None:
    port = secured.kafka.brokers[0].port
    connection = secured.connection("publisher").model_copy(update={"bootstrap_servers": f"localhost:{port}"})
    # The stack's own servers answer to both of their names.
    assert AdminClient(connection.as_librdkafka()).list_topics("feedback.events", timeout=20).topics

    wrong = connection.model_copy(update={"bootstrap_servers": f"{OTHER_HOST}:{port}"})
    assert why_refused(wrong.as_librdkafka()) is None  # nobody has that name: an outage, as far as one can tell


def test_a_servers_certificate_is_for_servers_only(secured: Secured) -> None:
    """Whoever holds a client's certificate cannot pose as a broker: OpenSSL's and Java's purpose checks refuse it."""
    identity = secured.kafka.authority.keep("publisher")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    with socket.create_server((ports.HOST, 0)) as listening:

        def pose() -> None:
            accepted, _ = listening.accept()
            with accepted, pytest.raises(ssl.SSLError):
                context.wrap_socket(accepted, server_side=True)

        poser = threading.Thread(target=pose)
        poser.start()
        config = secured.connection("publisher", by_certificate=True).as_librdkafka()
        reason = why_refused({**config, "bootstrap.servers": f"{ports.HOST}:{listening.getsockname()[1]}"})
        poser.join(20)
    assert reason is not None
    assert "unsuitable certificate purpose" in reason


@pytest.mark.parametrize("name", ["administrator,O=elsewhere", "Administrator", "administrator+O=elsewhere"])
def test_a_name_that_looks_like_the_superusers_has_no_right(name: str, secured: Secured) -> None:
    variables = by_certificate(secured, secured.kafka.issue(name, hosts=[]))

    done = secured.run_with(variables, "schemas access diff")

    assert done.status == 2
    assert "only a superuser may see and give rights" in done.line


def test_nobody_gets_into_the_controller_without_a_certificate(secured: Secured) -> None:
    config = secured.connection("publisher").as_librdkafka()
    address = f"{ports.HOST}:{secured.kafka.controller_port}"

    reason = why_refused({**config, "bootstrap.servers": address})

    assert reason is not None
    assert "the broker asks for a client certificate" in reason
