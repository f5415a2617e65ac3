"""Bundles that must not serve: each leaves the one before it in place, and says why in three places."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consumer.inference.manifest import MODEL_FILE, TOKENIZER_FILE
from schemas.announcement import LIVE
from tests.inference.test_bundle import change_labels, change_manifest, replace
from tests.inference.tiny_bundle import build_tiny_bundle
from tests.integration.harness import Bench, make_event, turn_until
from tests.models.announcing import Announcer, announcement, running, sample

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def _other_graph(folder: Path) -> None:
    other = build_tiny_bundle(folder.parent / "other", version="1", seed=0)
    replace(folder, MODEL_FILE, (other / MODEL_FILE).read_bytes())


# What happens to the folder before it is announced, and after; what the announcement says otherwise; the reason told.
REFUSALS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object], dict[str, Any], str]] = {
    "other labels": (
        lambda f: change_labels(f, lambda heads: heads["sentiment"].reverse()),
        lambda _: None,
        {},
        "in this order",
    ),
    "other probabilities": (_other_graph, lambda _: None, {}, "probe_tolerance"),
    "a damaged file": (lambda _: None, lambda f: (f / TOKENIZER_FILE).write_bytes(b"{}"), {}, TOKENIZER_FILE),
    "changed since": (
        lambda _: None,
        lambda f: change_manifest(f, lambda manifest: manifest.update(probe_tolerance=0.5)),
        {},
        "publish it again",
    ),
    "another version": (lambda _: None, lambda _: None, {"version": "9.9"}, "announced was tiny 9.9"),
    "gone": (lambda _: None, lambda f: (f / "manifest.json").unlink(), {}, "manifest.json"),
    "not allowed": (lambda _: None, lambda _: None, {"url": "/etc"}, "outside the allowed places"),
    "nowhere": (lambda _: None, lambda _: None, {"url": "memory://no/where"}, "cannot be fetched"),
}


def test_what_cannot_be_used_leaves_the_bundle_before_it(bench: Bench, announcer: Announcer, tmp_path: Path) -> None:
    consumer = running(bench)
    for count, (name, (before, after, changes, reason)) in enumerate(REFUSALS.items(), start=1):
        folder = build_tiny_bundle(tmp_path / name.replace(" ", "-"), version="2", seed=1)
        before(folder)
        value = announcement(folder, **changes)
        after(folder)
        offset = announcer.write(LIVE.encode(), value)
        last = announcer.wait_for_report(bench, consumer, offset)
        assert last.state == "refused", name
        assert reason in (last.reason or ""), name
        assert "tiny 1 serves" in (last.reason or ""), name
        assert sample(consumer, "feedback_model_changes_total", role="live", outcome="refused") == count
        assert sample(consumer, "feedback_model_refused", role="live") == 1
    bench.publish([make_event("it goes on")])
    turn_until(lambda: bench.has_settled(1), consumer)
    assert bench.rows()[0]["model_version"] == "1"
    assert consumer.models.info()[LIVE]["version"] == "1"
    registry = consumer.engine._metrics.registry
    assert registry.get_sample_value("feedback_model_changes_total", {"role": "live", "outcome": "serving"}) is None


def test_no_allowed_place_means_none_for_announcements(bench: Bench, announcer: Announcer, tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "elsewhere", version="2", seed=1)
    offset = announcer.announce(folder)
    consumer = running(bench, bundle_allowed_prefixes=[])
    assert consumer.models.info()[LIVE]["version"] == "1"
    refusal = announcer.wait_for_report(bench, consumer, offset)
    assert "CONSUMER_BUNDLE_ALLOWED_PREFIXES" in (refusal.reason or "")
