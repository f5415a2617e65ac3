import re
from typing import Any

import pytest
import yaml

from consumer.settings import ConsumerSettings
from devstack.kafka import Kafka
from schemas.connection import DatabaseConnection
from tests.deploy.deployed_settings import ROOT, settings_from


@pytest.fixture
def services() -> dict[str, Any]:
    # Passwords as Docker Compose would put them in.
    text = re.sub(r"\$\{(\w+):\?[^}]*\}", r"the-\1", (ROOT / "docker-compose.yml").read_text("utf-8"))
    return dict(yaml.safe_load(text)["services"])


def listeners(kafka: dict[str, Any], setting: str) -> dict[str, tuple[str, int]]:
    """By listener name: host and port."""
    addresses = (entry.split("://") for entry in kafka["environment"][setting].split(","))
    return {name: (where.rsplit(":", 1)[0], int(where.rsplit(":", 1)[1])) for name, where in addresses}


def test_consumer_and_setup_reach_the_services_that_are_there(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres = services["postgres"]["environment"]
    for name in ("consumer", "setup"):
        settings = settings_from(services[name]["environment"], monkeypatch)

        host, port = settings.bootstrap_servers.split(":")
        assert (host, int(port)) in listeners(services["kafka"], "KAFKA_ADVERTISED_LISTENERS").values()
        assert services["kafka"]["hostname"] == host
        assert settings.database_url.get_secret_value() == (
            f"postgresql://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}"
            f"@postgres:5432/{postgres['POSTGRES_DB']}"
        )


def test_consumer_answers_from_outside_its_container_on_its_own_port(
    services: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = services["consumer"]
    settings = settings_from(consumer["environment"], monkeypatch)

    assert settings.http_host == "0.0.0.0"  # noqa: S104 (inside a container)
    assert consumer["ports"] == [f"127.0.0.1:{settings.http_port}:{settings.http_port}"]
    assert f"127.0.0.1:{settings.http_port}/health/ready" in consumer["healthcheck"]["test"][-1]
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text("utf-8"))
    [job] = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"consumer:{settings.http_port}"]}]


def test_each_consumer_says_who_it_is(services: dict[str, Any]) -> None:
    consumers = [service["environment"] for name, service in services.items() if name.startswith("consumer")]

    replica_ids = [environment["CONSUMER_REPLICA_ID"] for environment in consumers]

    assert len(set(replica_ids)) == len(consumers)


def test_consumer_has_time_to_drain(services: dict[str, Any]) -> None:
    [longest_s] = [
        entry.le for entry in ConsumerSettings.model_fields["shutdown_budget_s"].metadata if hasattr(entry, "le")
    ]

    assert int(services["consumer"]["stop_grace_period"].removesuffix("s")) > longest_s


def test_topics_of_one_broker_are_set_up_as_devstack_sets_them_up(services: dict[str, Any]) -> None:
    stack = Kafka(ROOT, "cluster", [9092], [29093])
    properties = stack._properties(stack.brokers[0])
    of_topics = [name for name in properties if re.search(r"replication|\.isr|insync|num\.partitions|topics", name)]
    environment = services["kafka"]["environment"]

    assert len(of_topics) > 8
    for name in of_topics:
        assert environment[f"KAFKA_{name.upper().replace('.', '_')}"] == properties[name]


def test_kafka_listens_where_it_says_and_nowhere_else_on_the_network(services: dict[str, Any]) -> None:
    kafka = services["kafka"]
    bound = {name: port for name, (_, port) in listeners(kafka, "KAFKA_LISTENERS").items()}
    advertised = listeners(kafka, "KAFKA_ADVERTISED_LISTENERS")

    assert {name: port for name, (_, port) in advertised.items()} == {
        name: port for name, port in bound.items() if name != "CONTROLLER"
    }
    [published] = kafka["ports"]
    _host, outside, inside = published.split(":")
    assert ("localhost", int(outside)) in advertised.values()
    assert outside == inside
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", [])), (
        "a published port without an address is open to the network"
    )


def test_data_outlives_the_containers(services: dict[str, Any]) -> None:
    kafka = services["kafka"]
    assert kafka["volumes"] == [f"kafka-data:{kafka['environment']['KAFKA_LOG_DIRS']}"]
    assert services["postgres"]["volumes"] == ["postgres-data:/var/lib/postgresql"]


def test_mounted_and_built_files_exist(services: dict[str, Any]) -> None:
    mounts = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    local = [mount for mount in mounts if mount.startswith("./")]

    assert local
    assert all((ROOT / mount).is_dir() for mount in local)
    assert all((ROOT / service["build"]["dockerfile"]).is_file() for service in services.values() if "build" in service)


def test_the_example_environment_fits_compose_and_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    given = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    offered = dict(line[2:].split("=", 1) for line in lines if re.match(r"# [A-Z_]+=", line))
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")

    wanted = set(re.findall(r"\$\{(\w+)", compose))
    assert wanted <= given.keys()
    settings = settings_from(given | offered, monkeypatch)
    assert given["POSTGRES_PASSWORD"] in DatabaseConnection().database_url.get_secret_value()
    # What is offered as a comment is the default, except for a login, which has none.
    untouched = settings_from({}, monkeypatch)
    for name, field in ConsumerSettings.model_fields.items():
        if f"CONSUMER_{name.upper()}" in offered and field.validation_alias is None:
            assert getattr(settings, name) == getattr(untouched, name), name
