"""Starting and stopping the consumer from outside, with stand-ins for it that behave and that do not."""

import os
from pathlib import Path

import pytest

from demo.processes import ConsumerProcess, SetupError, run_module

BEHAVES = """
import http.server, os, signal, sys
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()
def stop(*_):
    print("drained", flush=True)
    sys.exit(EXIT_STATUS)
signal.signal(signal.SIGTERM, stop)
http.server.HTTPServer(("127.0.0.1", int(os.environ["CONSUMER_HTTP_PORT"])), Ready).serve_forever()
"""
BREAKS = "raise SystemExit('model.onnx does not match its manifest')"


@pytest.fixture
def consumer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConsumerProcess:
    # `python -m` looks in the current folder first.
    monkeypatch.chdir(tmp_path)
    return ConsumerProcess(os.environ, tmp_path / "consumer.log")


def stand_in(program: str) -> None:
    Path("consumer.py").write_text(program)


def test_it_becomes_ready_and_stops_by_sigterm(consumer: ConsumerProcess, tmp_path: Path) -> None:
    stand_in(BEHAVES.replace("EXIT_STATUS", "0"))
    with consumer:
        consumer.start()
        consumer.wait_until_ready()
        consumer.stop()
    assert "drained" in (tmp_path / "consumer.log").read_text()


def test_leaving_the_context_by_an_exception_stops_it(consumer: ConsumerProcess, tmp_path: Path) -> None:
    stand_in(BEHAVES.replace("EXIT_STATUS", "0"))

    def interrupted() -> None:
        with consumer:
            consumer.start()
            consumer.wait_until_ready()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "drained" in (tmp_path / "consumer.log").read_text()
    with pytest.raises(SetupError, match="ended by itself with exit status 0"):
        consumer.check()


def test_one_that_refuses_to_start_is_reported_with_its_log(consumer: ConsumerProcess) -> None:
    stand_in(BREAKS)
    with consumer:
        consumer.start()
        with pytest.raises(SetupError, match="ended by itself with exit status 1") as refused:
            consumer.wait_until_ready()
    assert "model.onnx does not match its manifest" in refused.value.log


def test_one_that_cannot_drain_is_a_failure(consumer: ConsumerProcess) -> None:
    stand_in(BEHAVES.replace("EXIT_STATUS", "3"))
    with consumer:
        consumer.start()
        consumer.wait_until_ready()
        with pytest.raises(SetupError, match="status 3 after SIGTERM"):
            consumer.stop()


def test_a_program_that_fails_is_reported_with_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "migration.py").write_text("raise SystemExit('no such database')")
    with pytest.raises(SetupError, match="python -m migration exited with 1") as failed:
        run_module("migration", environment=os.environ)
    assert failed.value.log == "no such database"
