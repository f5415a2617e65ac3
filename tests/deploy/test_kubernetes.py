from typing import Any

import pytest
import yaml

from consumer.settings import ConsumerSettings
from schemas.topics import EVENTS, load_topics
from tests.deploy.deployed_settings import ROOT, settings_from

FOLDER = ROOT / "deploy/kubernetes"


@pytest.fixture
def resources() -> dict[str, dict[str, Any]]:
    """Everything that the kustomization names, by kind."""
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    documents = (
        document for name in kustomization["resources"] for document in yaml.safe_load_all((FOLDER / name).read_text())
    )
    return {document["kind"]: document for document in documents}


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    return dict(workload["spec"]["template"]["spec"])


def test_every_file_is_applied() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))

    assert {path.name for path in FOLDER.glob("*.yaml")} == {"kustomization.yaml", *kustomization["resources"]}


def test_settings_are_the_consumers(resources: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    [container] = pod(resources["StatefulSet"])["containers"]
    values = resources["ConfigMap"]["data"] | {entry["name"]: "3" for entry in container["env"]}

    settings = settings_from(values, monkeypatch)

    assert settings.http_host == "0.0.0.0"  # noqa: S104 (inside a container)
    assert {port["containerPort"] for port in container["ports"]} == {settings.http_port}
    assert {port["port"] for port in resources["Service"]["spec"]["ports"]} == {settings.http_port}


def test_identity_is_the_ordinal(resources: dict[str, dict[str, Any]]) -> None:
    [container] = pod(resources["StatefulSet"])["containers"]

    [replica_id] = [entry for entry in container["env"] if entry["name"] == "CONSUMER_REPLICA_ID"]

    assert replica_id["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"


def test_pods_have_time_to_drain(resources: dict[str, dict[str, Any]]) -> None:
    [longest_s] = [
        entry.le for entry in ConsumerSettings.model_fields["shutdown_budget_s"].metadata if hasattr(entry, "le")
    ]

    assert pod(resources["StatefulSet"])["terminationGracePeriodSeconds"] > longest_s


def test_probes_ask_what_the_consumer_answers(resources: dict[str, dict[str, Any]]) -> None:
    [container] = pod(resources["StatefulSet"])["containers"]

    assert container["livenessProbe"]["httpGet"] == {"path": "/health/live", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/health/ready", "port": "http"}


def test_it_scales_on_the_consumers_own_lag_and_not_past_the_partitions(resources: dict[str, dict[str, Any]]) -> None:
    spec = resources["ScaledObject"]["spec"]
    [trigger] = spec["triggers"]
    kafka = trigger["metadata"]
    defaults = {name: field.default for name, field in ConsumerSettings.model_fields.items()}
    partitions = load_topics()[EVENTS].partitions

    assert kafka["topic"] == defaults["events_topic"]
    assert kafka["consumerGroup"] == defaults["group_id"]
    assert kafka["bootstrapServers"] == resources["ConfigMap"]["data"]["KAFKA_BOOTSTRAP_SERVERS"]
    assert spec["maxReplicaCount"] <= partitions
    assert kafka["allowIdleConsumers"] == "false"
    assert int(kafka["activationLagThreshold"]) > partitions
    assert spec["scaleTargetRef"]["name"] == resources["StatefulSet"]["metadata"]["name"]
    assert spec["scaleTargetRef"]["kind"] == "StatefulSet"
    assert "replicas" not in resources["StatefulSet"]["spec"]
