import json
import re
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from consumer.metrics import Metrics
from schemas.topics import EVENTS
from tests.deploy.deployed_settings import ROOT

RULES = ROOT / "deploy/prometheus/rules.yml"
DASHBOARDS = ROOT / "deploy/grafana/dashboards"
# How prometheus_client names the series of each type.
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
    "info": ("_info",),
}
# Added by Prometheus when it scrapes.
TARGET_LABELS = {"instance", "job"}
SERIES = re.compile(r"\b((?:feedback|process|python)_[a-z_]+)(?:\{([^}]*)\})?")


def expressions() -> list[str]:
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    targets = [
        target["expr"]
        for path in DASHBOARDS.glob("*.json")
        for panel in json.loads(path.read_text("utf-8"))["panels"]
        for target in panel.get("targets", [])
    ]
    return [*rules, *targets]


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return Metrics(EVENTS)


@pytest.fixture(scope="module")
def labels(metrics: Metrics) -> dict[str, set[str]]:
    """By the name of a series: its labels."""
    own = {part._name: set(part._labelnames) for part in vars(metrics).values() if isinstance(part, MetricWrapperBase)}
    series = {
        family.name + suffix: own.get(family.name, set()) | ({"le"} if suffix == "_bucket" else set())
        for family in metrics.registry.collect()
        for suffix in SUFFIXES[family.type]
    }
    return series | {"feedback_model_info": {"role", "name", "version", "sha256"}}


@pytest.mark.parametrize("expression", expressions())
def test_expressions_ask_for_series_and_labels_that_the_consumer_has(
    expression: str, labels: dict[str, set[str]]
) -> None:
    asked = SERIES.findall(expression)
    if "up{" not in expression:
        assert asked
    known = set(TARGET_LABELS)
    for name, selector in asked:
        assert name in labels
        known |= labels[name]
        assert set(re.findall(r"(\w+)\s*[=!]~?", selector)) <= labels[name] | TARGET_LABELS
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        assert {label.strip() for label in grouping.split(",")} <= known


def test_label_values_are_ones_that_occur(metrics: Metrics) -> None:
    bounds = {f'le="{bound}"' for bound in metrics.confidence._kwargs["buckets"]}
    outcomes = {f'outcome="{name}"' for name in ("classified", "dead_letter", "aborted", "committed")}
    heads = {f'head="{name}"' for name in ("sentiment", "category", "constructive")}

    asked = {match for text in expressions() for match in re.findall(r'\b(?:le|outcome|head)="[^"]*"', text)}

    assert asked <= bounds | outcomes | heads


def test_every_alert_tells_a_person_what_it_is_and_what_to_do() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]
    operations = (ROOT / "docs/operations.md").read_text("utf-8")

    for rule in rules:
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["alert"] in operations, "docs/operations.md says what to do for each alert"


def test_every_metric_is_in_the_catalogue(labels: dict[str, set[str]]) -> None:
    operations = (ROOT / "docs/operations.md").read_text("utf-8")

    for name in labels:
        if name.startswith("feedback_"):
            assert re.sub(r"_(bucket|sum|count)$", "", name) in operations, name


def test_grafana_finds_its_datasource_and_dashboards() -> None:
    provisioning = ROOT / "deploy/grafana/provisioning"
    [datasource] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text("utf-8"))["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards/files.yml").read_text("utf-8"))["providers"]
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))

    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in compose["services"]["grafana"]["volumes"]
    [port] = compose["services"]["prometheus"]["ports"]
    assert datasource["url"] == f"http://prometheus:{port.split(':')[-1]}"
    for path in DASHBOARDS.glob("*.json"):
        panels = json.loads(path.read_text("utf-8"))["panels"]
        identifiers = [panel["id"] for panel in panels]
        assert len(set(identifiers)) == len(identifiers)
        assert {panel["datasource"]["uid"] for panel in panels if "datasource" in panel} == {datasource["uid"]}
