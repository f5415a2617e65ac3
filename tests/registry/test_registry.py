"""Records that name their schema: written with a real registry, read by Confluent's own parts and by the consumer."""

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from confluent_kafka.schema_registry import (
    Schema,
    SchemaRegistryClient,
    dual_schema_id_deserializer,
    topic_subject_name_strategy,
)
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.serde import SchemaId
from confluent_kafka.serialization import MessageField, SerializationContext
from pydantic import SecretStr
from typer.testing import CliRunner

from producer.client import FeedbackPublisher
from producer.errors import BrokerError
from schemas.connection import KafkaConnection
from schemas.jsonschema import contract_files
from schemas.registry import RegisteredEventSchema, SchemaRegistryConnection
from schemas.registry_commands import registry_app
from tests.integration.harness import Bench, make_event, turn_until
from tests.producer.topic_reader import read_topic

pytestmark = pytest.mark.timeout(300)

EVENT_SCHEMA = next(text for path, text in contract_files().items() if path.name.startswith("feedback-event"))
EVENT = {"source": "web", "occurred_at": "2026-01-31T09:30:00Z", "text": "Fine.", "plan": "pro"}


def commands(*arguments: str, **environment: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(
        registry_app, arguments, env={f"KAFKA_SCHEMA_REGISTRY_{k}": v for k, v in environment.items()}
    )
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.kafka
def test_the_publisher_registers_once_and_confluents_deserializer_finds_the_schema(
    kafka: KafkaConnection, make_topic: Callable[..., str], registry_url: str
) -> None:
    topic, registry = make_topic(), SchemaRegistryConnection(url=registry_url)
    for _ in range(2):
        with FeedbackPublisher(kafka, topic=topic, schema_registry=registry) as publisher:
            publisher.publish(EVENT)
    with SchemaRegistryClient({"url": registry_url}) as client:
        assert client.get_versions(f"{topic}-value") == [1]
        # Given no schema of its own, it must learn it from the record and the registry.
        deserialize = JSONDeserializer(None, schema_registry_client=client)
        for record in read_topic(kafka, topic):
            assert json.loads(record.value() or b"")["text"] == "Fine."
            context = SerializationContext(topic, MessageField.VALUE, record.headers())
            document: Any = deserialize(record.value(), context)
            assert document["plan"] == "pro"


@pytest.mark.kafka
@pytest.mark.postgres
def test_the_consumer_reads_both_framings_without_a_registry(bench: Bench, registry_url: str) -> None:
    first, second, third = make_event("It crashes."), make_event("Fine."), make_event("Fine.")
    topic = bench.topics.events
    with SchemaRegistryClient({"url": registry_url}) as client:
        settings = {"subject.name.strategy": topic_subject_name_strategy}
        serialize = JSONSerializer(EVENT_SCHEMA, client, conf=settings)
        framed = serialize(first, SerializationContext(topic, MessageField.VALUE))
    assert framed is not None
    assert framed[:1] == b"\x00"
    consumer = bench.consumer()
    bench.publish([framed, framed])
    with FeedbackPublisher(
        bench.kafka, topic=topic, schema_registry=SchemaRegistryConnection(url=registry_url)
    ) as publisher:
        publisher.publish(second)
        publisher.publish(third)
    turn_until(lambda: bench.has_settled(4), consumer)
    assert sorted(outcome["outcome"] for outcome in bench.outcomes()) == ["classified"] * 3 + ["duplicate"]
    bench.assert_exactly_once([first, second, third])


@pytest.mark.kafka
def test_the_command_line_publishes_with_the_registry_of_the_environment(
    kafka: KafkaConnection, make_topic: Callable[..., str], registry_url: str
) -> None:
    topic = make_topic()
    assert send(kafka, topic, registry_url).returncode == 0
    [record] = read_topic(kafka, topic)
    assert dict(record.headers() or [])["__value_schema_id"][:1] == b"\x00"  # type: ignore[index]


@pytest.mark.kafka
@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://registry"])
def test_without_its_registry_nothing_is_published(
    kafka: KafkaConnection, make_topic: Callable[..., str], url: str
) -> None:
    topic = make_topic()
    done = send(kafka, topic, url)
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "KAFKA_SCHEMA_REGISTRY_URL" in done.stderr or url in done.stderr
    assert read_topic(kafka, topic) == []


def test_a_guid_goes_before_the_id_as_confluents_own_reader_takes_it() -> None:
    guid = uuid.UUID("0f5ab1bc-6e57-4d2c-9d2c-7f0f3a1c8f11")
    name, value = RegisteredEventSchema("orders-value", 7, guid, 1).header()
    read = SchemaId("JSON")
    dual_schema_id_deserializer(b"{}", SerializationContext("orders", MessageField.VALUE, [(name, value)]), read)
    assert (read.guid, read.id) == (guid, None)


def test_a_schema_that_the_registry_refuses_stops_the_publisher(registry_url: str) -> None:
    with SchemaRegistryClient({"url": registry_url}) as client:
        other = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "required": ["body"]}
        client.register_schema("refused-value", Schema(json.dumps(other), "JSON"))
        client.set_compatibility("refused-value", level="FULL")
    with pytest.raises(BrokerError, match=f"schema registry at {registry_url}: .+HTTP"):
        FeedbackPublisher(topic="refused", schema_registry=SchemaRegistryConnection(url=registry_url))


def test_commands_check_and_register(registry_url: str) -> None:
    code, _, message = commands("check", "--topic", "orders", URL=registry_url)
    assert (code, len(message.splitlines())) == (1, 1)
    assert "orders-value does not hold this version's schema" in message
    code, printed, _ = commands("register", "--topic", "orders", URL=registry_url)
    assert code == 0
    assert "orders-value: " in printed
    code, printed, _ = commands("check", "--topic", "orders", "--json", URL=registry_url)
    assert code == 0
    assert json.loads(printed).items() >= {("subject", "orders-value"), ("version", 1), ("guid", None)}


@pytest.mark.parametrize(
    ("environment", "code", "message"),
    [
        ({}, 2, "KAFKA_SCHEMA_REGISTRY_URL is not set"),
        ({"URL": "registry:8081"}, 2, "KAFKA_SCHEMA_REGISTRY_URL: must begin with http"),
        ({"URL": "http://me:canary@registry"}, 2, "KAFKA_SCHEMA_REGISTRY_URL: must hold no login"),
        ({"URL": "http://registry", "PASSWORD": "canary"}, 2, "KAFKA_SCHEMA_REGISTRY_PASSWORD go together"),
        ({"URL": "http://127.0.0.1:1", "USERNAME": "me", "PASSWORD": "canary"}, 1, "Connection refused"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(environment: dict[str, str], code: int, message: str) -> None:
    found, printed, complaint = commands("check", **environment)
    assert (found, printed, len(complaint.splitlines())) == (code, "", 1)
    assert message in complaint
    assert "canary" not in complaint


def test_an_address_that_is_no_registry_is_named(registry_url: str) -> None:
    code, _, complaint = commands("check", URL=registry_url.replace("ccompat", "nothing"))
    assert (code, len(complaint.splitlines())) == (1, 1)
    assert "no interface of Confluent's under this address" in complaint


def test_a_refused_login_names_the_settings_and_not_the_password() -> None:
    with refusing_server(401) as url:
        code, _, complaint = commands("check", URL=url, USERNAME="me", PASSWORD="canary")
    assert (code, len(complaint.splitlines())) == (1, 1)
    assert "refuses the login: see KAFKA_SCHEMA_REGISTRY_USERNAME" in complaint
    assert "canary" not in complaint + repr(
        SchemaRegistryConnection(url=url, username="me", password=SecretStr("canary"))
    )


def test_a_plain_install_neither_loads_nor_needs_the_registrys_client() -> None:
    program = (
        "import sys\n"
        "sys.modules['httpx'] = sys.modules['httpx2'] = sys.modules['attrs'] = sys.modules['attr'] = None\n"
        "from producer.client import FeedbackPublisher\n"
        "from producer.errors import BrokerError\n"
        "from schemas.registry import SchemaRegistryConnection\n"
        "FeedbackPublisher().close()\n"
        "assert 'confluent_kafka.schema_registry' not in sys.modules\n"
        "try:\n"
        "    FeedbackPublisher(schema_registry=SchemaRegistryConnection(url='http://registry'))\n"
        "except BrokerError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'feedback-stream[registry]'" in done.stdout


def send(kafka: KafkaConnection, topic: str, registry_url: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "producer", "send", "Fine.", "--topic", topic],
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_SCHEMA_REGISTRY_URL": registry_url,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def refusing_server(status: int) -> Iterator[str]:
    """A web server that answers every request with one status: Apicurio alone asks nobody for a password."""

    class Refuse(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
