"""`make up` and its siblings, as a person runs them: one command after the other in an empty folder."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from demo.local import DIRECTORY
from devstack.stack import Stack

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(240)]

DEADLINE_S = 60


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = ("KAFKA_", "CONSUMER_", "DATABASE_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**kept, **variables}, capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (our own address)
        return str(answer.read().decode())


def test_the_stack_starts_classifies_stops_with_its_data_and_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / DIRECTORY
    try:
        started = run(tmp_path, "demo.local", "up")
        assert started.returncode == 0, started.stderr
        [metrics] = re.findall(r"Consumer\s+(http://\S+/metrics)", started.stdout)
        assert "postgres:" not in started.stdout, "the password is not printed"
        stack = Stack(folder).environment()
        assert f"Kafka       {stack['KAFKA_BOOTSTRAP_SERVERS']}" in started.stdout

        sent = run(tmp_path, "producer", "send", "Where is my invoice?", **stack)
        assert sent.returncode == 0, sent.stderr
        deadline_s = time.monotonic() + DEADLINE_S
        while 'feedback_records_total{outcome="classified"} 1.0' not in get(metrics):
            assert time.monotonic() < deadline_s, (folder / "consumer.log").read_text()
            time.sleep(0.1)

        pid = json.loads((folder / "consumer.json").read_text())["pid"]
        again = run(tmp_path, "demo.local", "up")
        assert (again.returncode, again.stdout) == (0, started.stdout)
        assert json.loads((folder / "consumer.json").read_text())["pid"] == pid
        running = run(tmp_path, "demo.local", "status")
        assert (running.returncode, running.stdout.count("running")) == (0, 3)

        assert run(tmp_path, "demo.local", "down").returncode == 0
        log = (folder / "consumer.log").read_text()
        assert '"event": "stopped"' in log.splitlines()[-1], "it drained, it was not killed"
        stopped = run(tmp_path, "demo.local", "status")
        assert (stopped.returncode, stopped.stdout.count("stopped")) == (3, 3)

        refused = run(tmp_path, "demo.local", "up", CONSUMER_BUNDLE_URL=str(tmp_path / "nowhere"))
        assert refused.returncode == 1
        assert "nowhere: no such folder" in refused.stderr
        assert run(tmp_path, "demo.local", "status").stdout.count("stopped") == 3
    finally:
        removed = run(tmp_path, "demo.local", "clean")
    assert removed.returncode == 0, removed.stderr
    assert not folder.exists()
    assert run(tmp_path, "demo.local", "status").returncode == 3
