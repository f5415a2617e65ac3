"""Secrets come from variables or files, certificates from files; and nothing switches the checks off by the way."""

import json
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from consumer.settings import ConsumerSettings, explain
from schemas.connection import CONNECTION_PROPERTIES, DatabaseConnection, KafkaConnection
from tests.docs.test_command_line_errors import ARGUMENTS, ASKED_HERE, NEEDS_DATABASE, invoke
from tests.security.kafka.conftest import Secured

URL = "postgresql://name:canary@db.example/feedback"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("KAFKA_", "CONSUMER_", "DATABASE_URL")):
            monkeypatch.delenv(name)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("canary\n")
    # As container platforms mount them.
    file.chmod(0o444)
    return file


def test_a_password_is_read_from_its_file(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD_FILE", str(secret))
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")

    for settings in (KafkaConnection(), ConsumerSettings()):
        assert settings.as_librdkafka()["sasl.password"] == "canary"
        assert "canary" not in repr(settings)
        assert "canary" not in settings.model_dump_json()
    assert "canary" not in invoke("consumer check-config").output


def test_the_databases_url_is_read_from_its_file(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret.chmod(0o600)
    secret.write_text(URL + "\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))

    for settings in (DatabaseConnection(), ConsumerSettings()):
        assert settings.sqlalchemy_url() == URL.replace("postgresql", "postgresql+psycopg2")
    shown = invoke("consumer check-config").stdout
    assert json.loads(shown)["database_url"] == "postgresql://db.example:5432/feedback"
    assert "canary" not in shown


def test_a_secret_may_come_through_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"canary")
    os.close(writing)
    monkeypatch.setenv("KAFKA_SASL_PASSWORD_FILE", f"/dev/fd/{reading}")

    password = KafkaConnection().sasl_password

    os.close(reading)
    assert password is not None
    assert password.get_secret_value() == "canary"


VARIABLES = {
    "KAFKA_SASL_PASSWORD": "canary",
    "KAFKA_SSL_KEY_PASSWORD": "canary",
    "DATABASE_URL": URL,
}


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_secret_and_its_file_exclude_each_other(variable: str, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, VARIABLES[variable])
    monkeypatch.setenv(f"{variable}_FILE", str(secret))

    with pytest.raises(ValidationError) as refused:
        ConsumerSettings()

    assert explain(refused.value) == f"{variable}: is set, and {variable}_FILE too: keep one of them"


@pytest.mark.parametrize("name", [*ASKED_HERE, *NEEDS_DATABASE, "consumer check-config"])
@pytest.mark.parametrize("content", ["no file", "a folder", "nothing", "too much", "no text"])
def test_a_file_without_a_secret_is_told_before_anything_is_tried(name: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / "canary"
    if content == "a folder":
        file.mkdir()
    elif content != "no file":
        file.write_bytes({"nothing": b"\n", "too much": b"x" * 70_000, "no text": b"\xff\xfe"}[content])
    variable = "DATABASE_URL_FILE" if name in NEEDS_DATABASE else "KAFKA_SASL_PASSWORD_FILE"

    done = invoke(name, *ARGUMENTS.get(name, ()), **{variable: str(file)})

    assert done.exit_code == 2
    assert len(done.output.splitlines()) == 1
    assert variable in done.stderr
    # It might have been the secret itself.
    assert "canary" not in done.output


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    for name in ("KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PASSWORD_FILE", "KAFKA_SSL_CERTIFICATE_LOCATION"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("KAFKA_SASL_PASSWORD_FILE", str(secret))

    password = KafkaConnection().sasl_password

    assert password is not None
    assert password.get_secret_value() == "canary"


@pytest.mark.parametrize("given", ["KAFKA_SSL_CERTIFICATE_LOCATION", "KAFKA_SSL_KEY_LOCATION"])
def test_a_certificate_goes_with_its_key(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(given, "/etc/client.pem")

    with pytest.raises(ValidationError, match="KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION go together"):
        KafkaConnection()


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_host_names_are_checked(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", protocol)

    assert KafkaConnection().as_librdkafka()["ssl.endpoint.identification.algorithm"] == "https"


@pytest.mark.parametrize("name", CONNECTION_PROPERTIES)
def test_further_properties_leave_the_connection_alone(name: str) -> None:
    done = invoke("consumer check-config", CONSUMER_LIBRDKAFKA=json.dumps({name: "canary"}))

    assert done.exit_code == 2
    assert done.stderr.startswith(f"librdkafka: {name} is no further property: set KAFKA_") or name in done.stderr
    assert "canary" not in done.output


@pytest.mark.kafka
@pytest.mark.parametrize(("password", "status"), [("right", 0), ("wrong", 3)])
def test_a_private_key_may_have_a_password(password: str, status: int, secured: Secured, tmp_path: Path) -> None:
    variables = secured.environment("publisher", by_certificate=True)
    key = serialization.load_pem_private_key(Path(variables["KAFKA_SSL_KEY_LOCATION"]).read_bytes(), None)
    locked, file = tmp_path / "locked.key", tmp_path / "password"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"right"),
        )
    )
    file.write_text(password)

    done = secured.run_with(
        {**variables, "KAFKA_SSL_KEY_LOCATION": str(locked), "KAFKA_SSL_KEY_PASSWORD_FILE": str(file)},
        "producer send",
        "hello",
    )

    assert done.status == status, done.err
    if status:
        assert "ssl.key.location" in done.line
