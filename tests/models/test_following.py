"""Live bundles: announced before and while a consumer runs, withdrawn, superseded, announced again."""

import threading
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from fsspec.implementations.memory import MemoryFileSystem

from consumer.app import Consumer
from consumer.inference.classifier import Classifier
from consumer.models import announcements, follower
from consumer.models.loading import BundleLoader
from schemas.announcement import LIVE, Announcement, Role
from tests.integration.harness import Bench, make_event, turn_until
from tests.models.announcing import Announcer, announcement, running, sample
from tests.models.conftest import Bundles

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def versions_after(bench: Bench, consumer: Consumer, texts: int = 5) -> set[str]:
    """Publish events, and return the versions that classify them."""
    before = bench.recorded()
    events = [make_event(f"message {n}") for n in range(texts)]
    bench.publish(events)
    turn_until(lambda: bench.has_recorded(before + texts), consumer)
    ids = {event["event_id"] for event in events}
    return {row["model_version"] for row in bench.rows() if str(row["event_id"]) in ids}


def serves(consumer: Consumer, version: str) -> bool:
    return str(consumer.models.info()[LIVE]["version"]) == version


def test_an_announced_bundle_serves_from_the_first_window(bench: Bench, announcer: Announcer, bundles: Bundles) -> None:
    announcer.announce(bundles.third)
    offset = announcer.announce(bundles.second)
    events = [make_event(f"{n}") for n in range(50)]
    bench.publish(events)
    consumer = running(bench)
    turn_until(lambda: bench.has_settled(50), consumer)
    bench.assert_exactly_once(events)
    assert {row["model_version"] for row in bench.rows()} == {"2"}
    report = announcer.wait_for_report(bench, consumer, offset)
    assert (report.state, report.version) == ("serving", "2")
    assert sample(consumer, "feedback_models_topic_readable") == 1


def test_nothing_announced_leaves_the_configured_bundle(bench: Bench, announcer: Announcer) -> None:
    consumer = running(bench)
    assert versions_after(bench, consumer) == {"1"}
    report = announcer.wait_for_report(bench, consumer, None)
    assert (report.state, report.version) == ("serving", "1")


def test_what_is_refused_at_the_start_gives_way_to_what_was_announced_before(
    bench: Bench, announcer: Announcer, bundles: Bundles
) -> None:
    announcer.announce(bundles.second)
    offset = announcer.announce(bundles.third, manifest_sha256="0" * 64)
    consumer = running(bench)
    assert versions_after(bench, consumer) == {"2"}
    last = announcer.wait_for_report(bench, consumer, offset)
    assert (last.state, last.version) == ("refused", "3")
    assert "tiny 2 serves" in (last.reason or "")
    assert sample(consumer, "feedback_model_refused", role="live") == 1


def test_a_withdrawn_bundle_gives_way_to_the_configured_one(
    bench: Bench, announcer: Announcer, bundles: Bundles
) -> None:
    announcer.announce(bundles.second)
    consumer = running(bench)
    assert versions_after(bench, consumer) == {"2"}
    offset = announcer.withdraw(LIVE)
    turn_until(lambda: serves(consumer, "1"), consumer)
    assert versions_after(bench, consumer) == {"1"}
    assert announcer.wait_for_report(bench, consumer, offset).version == "1"

    consumer.engine.stop()
    assert versions_after(bench, running(bench)) == {"1"}


def test_the_same_bundle_again_is_reported_and_not_loaded(
    bench: Bench, announcer: Announcer, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    announcer.announce(bundles.second)
    consumer = running(bench)
    monkeypatch.setattr(BundleLoader, "open", lambda *_: 1 / 0)
    offset = announcer.announce(bundles.second)
    assert announcer.wait_for_report(bench, consumer, offset).state == "serving"


def test_of_two_announcements_the_newest_wins(
    bench: Bench, announcer: Announcer, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = running(bench)
    is_loading, may_go_on = threading.Event(), threading.Event()
    open_bundle = BundleLoader.open

    def open_slowly(self: BundleLoader, role: Role, wanted: Announcement | None, threads: int | None) -> Classifier:
        if wanted is not None and wanted.version == "2":
            is_loading.set()
            may_go_on.wait(30)
        return open_bundle(self, role, wanted, threads)

    monkeypatch.setattr(BundleLoader, "open", open_slowly)
    announcer.announce(bundles.second)
    turn_until(is_loading.is_set, consumer)
    announcer.announce(bundles.third)
    assert versions_after(bench, consumer) == {"1"}
    may_go_on.set()
    turn_until(lambda: serves(consumer, "3"), consumer)
    assert versions_after(bench, consumer) == {"3"}
    assert sample(consumer, "feedback_model_changes_total", role="live", outcome="superseded") == 1
    assert {report.version for report in announcer.reports(bench)} == {"1", "3"}


def test_records_that_announce_nothing_are_passed_over(bench: Bench, announcer: Announcer, bundles: Bundles) -> None:
    announcer.write(b"live", b"\xff not JSON")
    announcer.announce(bundles.second)
    announcer.write(b"live", b'{"role": "live"}')
    announcer.write(b"canary", announcement(bundles.third))
    consumer = running(bench)
    announcer.write(b"queen", announcement(bundles.third))
    announcer.write(b"\xff", announcement(bundles.third))
    ignored = "feedback_announcements_ignored_total"
    turn_until(lambda: sample(consumer, ignored, reason="unknown_role") == 2, consumer)
    assert sample(consumer, ignored, reason="not_an_announcement") == 2
    assert sample(consumer, ignored, reason="key_is_another_role") == 1
    assert versions_after(bench, consumer) == {"2"}


def test_a_bundle_whose_place_was_away_is_tried_again(
    bench: Bench, announcer: Announcer, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(follower, "_FIRST_RETRY_S", 0.05)
    consumer = running(bench)
    announcer.announce(bundles.second, url="memory://bundles/second")

    def refused() -> bool:
        return sample(consumer, "feedback_model_refused", role="live") == 1

    turn_until(refused, consumer)
    assert versions_after(bench, consumer) == {"1"}
    files: Any = MemoryFileSystem()
    files.put(str(bundles.second), "/bundles/second", recursive=True)
    turn_until(lambda: serves(consumer, "2"), consumer)
    turn_until(lambda: not refused(), consumer)

    # From now on its copy serves, wherever the place went.
    files.store.clear()
    consumer.engine.stop()
    assert versions_after(bench, running(bench)) == {"2"}


def test_a_topic_that_is_missing_goes_or_comes_never_stops_the_windows(
    bench: Bench, announcer: Announcer, bundles: Bundles, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcements, "_LOOK_INTERVAL_S", 0.2)
    for topic in (announcer.topic, announcer.reports_topic):
        admin.delete_topics([topic])[topic].result(30)
    consumer = running(bench)
    assert versions_after(bench, consumer) == {"1"}
    assert sample(consumer, "feedback_models_topic_readable") == 0

    admin.create_topics([NewTopic(announcer.topic, 1, 1)])[announcer.topic].result(30)
    announcer.announce(bundles.second)
    turn_until(lambda: serves(consumer, "2"), consumer)

    admin.delete_topics([announcer.topic])[announcer.topic].result(30)
    turn_until(lambda: sample(consumer, "feedback_models_topic_readable") == 0, consumer)
    assert versions_after(bench, consumer) == {"2"}
    admin.create_topics([NewTopic(announcer.topic, 1, 1)])[announcer.topic].result(30)
    announcer.announce(bundles.third)
    turn_until(lambda: serves(consumer, "3"), consumer)
