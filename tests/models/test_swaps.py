"""Exchanging the live bundle under load, in the process that production runs."""

import json
import threading
import time
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise

import pytest

from schemas.announcement import LIVE
from tests.integration.harness import Bench, ConsumerProcess, make_event, wait_until
from tests.models.announcing import Announcer
from tests.models.conftest import Bundles
from tests.models.measure_swaps import live_swaps, rss_mb

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

EVENTS = 1_500
SWAPS = 20


def _swap(announcer: Announcer, bundles: Bundles, consumer: ConsumerProcess, number: int) -> None:
    announcer.announce(bundles.second if number % 2 else bundles.third)
    wait_until(lambda: live_swaps(consumer) == number, f"exchange {number}", alive=consumer.process)


def test_twenty_swaps_under_load_lose_nothing_and_mix_no_window(
    bench: Bench, announcer: Announcer, bundles: Bundles
) -> None:
    consumer = bench.process(max_window_records=64)
    consumer.wait_ready()
    events = [make_event(f"message number {n}") for n in range(EVENTS)]
    early, late = events[:-100], events[-100:]

    def publish() -> None:
        for start in range(0, len(early), 50):
            bench.publish(early[start : start + 50])
            time.sleep(0.02)

    publishing = threading.Thread(target=publish)
    publishing.start()
    wait_until(lambda: bench.has_recorded(200), "the first results", alive=consumer.process)
    _swap(announcer, bundles, consumer, 1)
    before_mb = rss_mb(consumer.process.pid)
    for number in range(2, SWAPS + 1):
        _swap(announcer, bundles, consumer, number)
    after_mb = rss_mb(consumer.process.pid)
    publishing.join()
    bench.publish(late)
    bench.wait_for_outcomes(EVENTS, consumer)
    bench.assert_exactly_once(events)
    assert bench.dead_letters() == []
    # Its weights are kilobytes: what a tokenizer or a session left behind would add up to more.
    assert after_mb < before_mb + 25

    rows = bench.rows()
    windows: dict[object, set[str]] = defaultdict(set)
    for row in rows:
        windows[row["classified_at"]].add(row["model_version"])
    assert all(len(versions) == 1 for versions in windows.values()), "two bundles in one window"
    by_offset = sorted(rows, key=lambda row: (row["source_partition"], row["source_offset"]))
    for before, after in pairwise(by_offset):
        if before["source_partition"] == after["source_partition"]:
            assert before["classified_at"] <= after["classified_at"]
    newest = max(rows, key=lambda row: row["classified_at"])
    assert {row["model_version"] for row in rows} == {"1", "2", "3"}
    assert newest["model_version"] == "3"
    ids = {event["event_id"] for event in early}
    moments = sorted({row["classified_at"] for row in rows if str(row["event_id"]) in ids})
    # What it really is, on a machine that is not busy with other tests, is measure_swaps' to tell.
    assert max(after - before for before, after in pairwise(moments)) < timedelta(seconds=10)
    assert json.loads(consumer.get("/info")[1])["models"][LIVE]["version"] == "3"
