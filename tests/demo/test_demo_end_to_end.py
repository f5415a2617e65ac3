"""The whole demonstration, as `make demo ARGS=--json` runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.labels import CATEGORIES, SENTIMENTS

PROMISED_KEYS = {
    *("published", "rows", "results", "dead_letters", "duplicate_inputs", "duplicate_outputs", "lost"),
    *("events_per_s", "latency_p50_ms", "latency_p99_ms", "by_category", "by_sentiment"),
}


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.timeout(240)
def test_every_record_is_accounted_for_and_nothing_is_left_behind(tmp_path: Path) -> None:
    outside = ("KAFKA_", "CONSUMER_", "DATABASE_URL")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    done = subprocess.run(
        [sys.executable, "-m", "demo", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary.keys() >= PROMISED_KEYS
    assert summary["published"] > 1_200
    assert summary["rows"] == summary["results"]
    assert summary["results"] + summary["dead_letters"] + summary["duplicate_inputs"] == summary["published"]
    assert (summary["lost"], summary["duplicate_outputs"], summary["unexpected_dead_letters"]) == (0, 0, 0)
    assert summary["faults"] == []
    assert tuple(summary["by_category"]) == CATEGORIES
    assert tuple(summary["by_sentiment"]) == SENTIMENTS
    assert sum(summary["by_category"].values()) == sum(summary["by_sentiment"].values()) == summary["rows"]
    assert 0 < summary["latency_p50_ms"] <= summary["latency_p99_ms"]
    assert {path.name for path in (tmp_path / ".devstack").iterdir()} == {"demo.lock", "demo-consumer.log"}
