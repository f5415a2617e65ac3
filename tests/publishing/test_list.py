"""The operator's one view: what was published, what runs, and what each consumer says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas.announcement import ModelReport
from tests.inference.tiny_bundle import build_tiny_bundle, write_manifest
from tests.publishing.conftest import Desk

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

Bundles = Callable[[str], Path]


def report(desk: Desk, replica: str, state: str, version: str, reason: str | None = None) -> None:
    said = ModelReport.model_validate(
        {
            "role": "live",
            "group_id": "classifiers",
            "replica_id": replica,
            "state": state,
            "name": "tiny",
            "version": version,
            "manifest_sha256": "0" * 64,
            "announcement_offset": 0,
            "reason": reason,
            "app_version": "0.1.0",
            "reported_at": "2026-01-01T00:00:00Z",
        }
    )
    producer = Producer(desk.kafka.as_librdkafka())
    topic = desk.environment["CONSUMER_MODEL_REPORTS_TOPIC"]
    producer.produce(topic, said.model_dump_json().encode(), key=f"classifiers/{replica}/live")
    producer.produce(topic, None, key="classifiers/gone/live")
    assert producer.flush(30) == 0


def test_nothing_yet(desk: Desk) -> None:
    done = desk.run("list")

    assert done.exit_code == 4
    assert "publish BUNDLE --to URL" in done.err
    assert done.out == ""


def test_versions_roles_and_what_consumers_say(desk: Desk, bundles: Bundles, tmp_path: Path) -> None:
    measured = build_tiny_bundle(tmp_path / "measured", version="7")
    manifest = json.loads((measured / "manifest.json").read_text())
    manifest["metrics"] = {"dev": {"category": {"accuracy": 0.8582}}}
    write_manifest(measured, {name: value for name, value in manifest.items() if name != "files"})
    assert desk.publish(measured, "--live").exit_code == 0
    assert desk.publish(bundles("2"), "--canary", "--share", "0.05").exit_code == 0
    assert desk.publish(bundles("3")).exit_code == 0
    elsewhere = tmp_path / "elsewhere"
    assert desk.run("publish", bundles("2"), "--to", elsewhere).exit_code == 0
    report(desk, "0", "serving", "1")
    report(desk, "0", "serving", "7")
    report(desk, "1", "refused", "7", "probe differs\x1b[2J[red]")

    shown = desk.run("list")
    document = desk.run("list", "--json").document

    assert (shown.exit_code, shown.err) == (0, "")
    lines = {version: line for line in shown.out.splitlines() for version in "237" if f"tiny {version} " in line}
    assert "canary 0.05" in lines["2"]
    assert "not measured" in lines["3"]
    assert str(elsewhere) not in shown.out, "where it was announced from counts"
    assert "category 0.858" in shown.out
    # Its reason is shown as words: nothing in it acts on the terminal.
    assert "probe differs [2J[red]" in shown.out
    assert "\x1b[2J" not in shown.out
    assert {each["version"]: each["roles"] for each in document["versions"]} == {
        "7": ["live"],
        "2": ["canary"],
        "3": [],
    }
    assert document["versions"][-1]["dev_accuracy"] == {"category": 0.8582}
    says = {each["replica_id"]: (each["state"], each["version"]) for each in document["consumers"]}
    assert says == {"0": ("serving", "7"), "1": ("refused", "7")}
    assert document["disagreements"] == []


def test_without_the_topic_of_reports_it_shows_the_rest(desk: Desk, bundles: Bundles) -> None:
    assert desk.publish(bundles("1"), "--live").exit_code == 0

    done = desk.run("list", "--json", CONSUMER_MODEL_REPORTS_TOPIC="no.such.topic")

    assert done.exit_code == 0
    assert done.document["consumers"] == []
    assert list(done.document["announced"]) == ["live"]
