"""Shadow and canary: which events they see, what stays of it, and that neither holds a window up."""

import json
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, select

from consumer.decode import decode
from consumer.inference.bundle import load_bundle
from consumer.inference.classifier import Classifier, Verdict
from consumer.metrics import Metrics
from consumer.models import shadow as shadow_module
from consumer.models.shadow import Shadow
from consumer.models.shares import is_in_share
from consumer.records import SourceRecord
from consumer.sinks.database import create_database
from consumer.sinks.shadow_comparisons import ShadowComparisons
from schemas.announcement import CANARY, LIVE, SHADOW
from schemas.connection import DatabaseConnection
from schemas.labels import HEADS
from schemas.tables import shadow_comparisons
from tests.integration.harness import Bench, make_event, turn_until, wait_until
from tests.models.announcing import Announcer, running, sample
from tests.models.conftest import Bundles

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


def test_a_shadow_compares_its_share_and_changes_nothing(
    bench: Bench, announcer: Announcer, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "_FLUSH_INTERVAL_S", 0.2)
    announcer.announce(bundles.second, SHADOW, share=0.5)
    consumer = running(bench)
    turn_until(lambda: SHADOW in consumer.models.info(), consumer)
    events = [make_event(f"message number {n}") for n in range(200)]
    bench.publish(events)
    turn_until(lambda: bench.has_settled(200), consumer)
    bench.assert_exactly_once(events)
    assert {row["model_version"] for row in bench.rows()} == {"1"}

    share = [row for row in bench.rows() if is_in_share(row["event_id"].bytes, 0.5, purpose=b"shadow")]
    assert 50 < len(share) < 150
    compared = "feedback_shadow_events_total"
    turn_until(lambda: sample(consumer, compared, outcome="compared") == len(share), consumer)

    offset = announcer.withdraw(SHADOW)
    assert announcer.wait_for_report(bench, consumer, offset).state == "withdrawn"
    assert SHADOW not in consumer.models.info()

    def stored() -> list[dict[str, object]]:
        with bench.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(shadow_comparisons)).mappings()]

    wait_until(lambda: sum(int(str(row["events"])) for row in stored()) == 3 * len(share), "all comparisons as rows")
    for row in stored():
        # Bundles of neighbouring seeds give every text another label.
        assert row["live_label"] != row["shadow_label"]
        assert (row["live_version"], row["shadow_version"]) == ("1", "2")
        # What went out had the highest probability there, and has a lower one here.
        assert float(str(row["score_difference_sum"])) < 0
        counted = sample(
            consumer,
            "feedback_shadow_comparisons_total",
            head=str(row["head"]),
            live_label=str(row["live_label"]),
            shadow_label=str(row["shadow_label"]),
        )
        assert counted == row["events"]
    per_head = {head: sum(int(str(row["events"])) for row in stored() if row["head"] == head) for head in HEADS}
    assert set(per_head.values()) == {len(share)}


class _Stuck(Classifier):
    def __init__(self, bundle: Path) -> None:
        super().__init__(load_bundle(bundle), threads=1)
        self.may_go_on = threading.Event()

    def classify(self, texts: Sequence[str]) -> list[Verdict]:
        self.may_go_on.wait(30)
        return super().classify(texts)


def test_a_shadow_that_is_behind_drops_events_and_never_waits(bundles: Bundles, database: DatabaseConnection) -> None:
    metrics = Metrics("topic")
    stuck = _Stuck(bundles.second)
    live = Classifier(load_bundle(bundles.first), threads=1)
    engine = create_database(database, statement_timeout_ms=1_000, lock_timeout_ms=1_000)
    shadow = Shadow(stuck, 1.0, ShadowComparisons(engine, "group"), metrics)
    shadow.start()
    records = [SourceRecord(0, n, 0, None, json.dumps(make_event(f"{n}")).encode(), (), 1) for n in range(3_000)]
    events = [decode(record, uuid.uuid4()) for record in records]
    verdicts = live.classify(["It works."]) * len(events)
    began_s = time.monotonic()
    shadow.offer(events, verdicts)
    assert time.monotonic() - began_s < 1.0
    dropped = metrics.registry.get_sample_value("feedback_shadow_events_total", {"outcome": "dropped"})
    assert dropped is not None
    assert dropped >= 3_000 - 1_024 - 32
    stuck.may_go_on.set()

    def count() -> float:
        return metrics.registry.get_sample_value("feedback_shadow_events_total", {"outcome": "compared"}) or 0.0

    wait_until(lambda: count() == 3_000 - dropped, "what found room to be compared")
    shadow.close()
    with engine.connect() as connection:
        stored = connection.scalar(select(func.sum(shadow_comparisons.c.events)))
    assert stored == 3 * (3_000 - dropped)
    live.close()
    engine.dispose()


def test_a_canary_decides_for_its_keys_also_after_a_restart(
    bench: Bench, announcer: Announcer, bundles: Bundles
) -> None:
    announcer.announce(bundles.second, CANARY, share=0.3)
    keys = [f"customer-{n}".encode() for n in range(40)]
    its_keys = {key for key in keys if is_in_share(key, 0.3, purpose=b"canary")}
    assert 4 < len(its_keys) < 25
    events = []
    for _ in range(2):
        for key in keys:
            event = make_event("the same text for all", metadata={"key": key.decode()})
            bench.publish([event], key=key)
            events.append(event)
        consumer = running(bench)
        turn_until(lambda: bench.has_settled(len(events)), consumer)
        consumer.engine.stop()
    bench.assert_exactly_once(events)
    for row in bench.rows():
        assert row["model_version"] == ("2" if row["record_key"] in its_keys else "1")


def test_a_canary_that_fails_is_taken_out_and_no_event_with_it(
    bench: Bench, announcer: Announcer, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = announcer.announce(bundles.second, CANARY, share=1.0)
    consumer = running(bench)
    assert consumer.models.info()[CANARY]["version"] == "2"
    classify = Classifier.classify

    def fail(self: Classifier, texts: Sequence[str]) -> list[Verdict]:
        if self.bundle.manifest.version == "2":
            raise RuntimeError("the graph fails on everything")
        return classify(self, texts)

    monkeypatch.setattr(Classifier, "classify", fail)
    events = [make_event(f"{n}") for n in range(30)]
    bench.publish(events)
    turn_until(lambda: bench.has_settled(30), consumer)
    bench.assert_exactly_once(events)
    assert bench.dead_letters() == []
    assert {row["model_version"] for row in bench.rows()} == {"1"}
    turn_until(lambda: CANARY not in consumer.models.info(), consumer)
    wait_until(lambda: announcer.reports(bench)[-1].state == "refused", "the report")
    last = announcer.reports(bench)[-1]
    assert (last.role, last.announcement_offset) == (CANARY, offset)
    assert "known-good text" in (last.reason or "")
    assert sample(consumer, "feedback_model_refused", role="canary") == 1
    assert consumer.models.info()[LIVE]["version"] == "1"
