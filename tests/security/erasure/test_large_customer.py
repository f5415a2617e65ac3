"""A customer with 100,000 rows: bounded transactions, bounded memory, and a run that goes on after a kill."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.integration.harness import Bench, make_event, wait_until
from tests.operations.command import Command
from tests.security.erasure.conftest import CANARY, SLOW, assert_no_halves, audits, label, process, scalar

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

ROWS = 100_000
MAX_TRANSACTION_S = 10.0
MAX_EXTRA_MIB = 32


def multiply(bench: Bench) -> None:
    """Copy the only row, its verdict and its label, as if their records had left the topic long ago."""
    columns = {"event_id": "md5(n::text)::uuid", "source_partition": "4", "source_offset": "n"}
    with bench.engine.begin() as connection:
        for table, changed in (("feedback", columns), ("record_outcomes", columns)):
            values = ", ".join(f"'{name}', {value}" for name, value in changed.items())
            connection.execute(
                text(
                    f"INSERT INTO {table} SELECT (jsonb_populate_record(t, jsonb_build_object({values}))).* "  # noqa: S608
                    f"FROM {table} t, generate_series(1, {ROWS - 1}) n"
                )
            )
        connection.execute(
            text(
                "INSERT INTO labels (event_id, category, labelled_by) "
                "SELECT event_id, 'bug', 'x' FROM feedback WHERE source_offset % 10 = 1"
            )
        )


class Watch(threading.Thread):
    """Notes the longest transaction of operators' commands, and the most memory that one of them takes."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self._ended = threading.Event()
        self.process_id = 0
        self.longest_s = 0.0
        self.peak_mib = 0

    def run(self) -> None:
        age = (
            "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM pg_stat_activity "
            "WHERE application_name = 'feedback-consumer' AND datname = current_database()"
        )
        while not self._ended.wait(0.05):
            self.longest_s = max(self.longest_s, float(scalar(self._bench, age)))
            with suppress(OSError, ValueError):
                status = Path(f"/proc/{self.process_id}/status").read_text()
                [peak] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
                self.peak_mib = max(self.peak_mib, int(peak) // 1024)

    def stop(self) -> None:
        self._ended.set()
        self.join()


@SLOW
@pytest.mark.timeout(600)
def test_a_customer_of_a_hundred_thousand_rows(
    bench: Bench, start: Callable[..., Command], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    event = make_event("The export stops halfway since the update. " * 3, customer_id=CANARY)
    bench.publish([event], partition=4)
    process(bench, 1)
    label(bench, event["event_id"])
    ids = tmp_path / "ids"
    watch = Watch(bench)
    watch.start()

    def erase(customer: str) -> Command:
        ids.write_text(customer)
        command = start("consumer", "erase", "--json", "--yes", "--from", str(ids))
        watch.process_id = command.process.pid
        return command

    assert erase("nobody").process.wait(120) == 4
    usual_mib, watch.longest_s = watch.peak_mib, 0.0
    multiply(bench)
    done = "SELECT coalesce(sum(feedback_rows), 0) FROM erasures"
    killed = erase(CANARY)
    wait_until(lambda: scalar(bench, done) > ROWS / 5, "a fifth of it", alive=killed.process)
    killed.process.kill()
    killed.process.wait()
    assert_no_halves(bench)
    left = scalar(bench, "SELECT count(*) FROM feedback")
    assert 0 < left < ROWS
    assert ROWS - left == scalar(bench, done)

    began_s = time.monotonic()
    finished = erase(CANARY)
    assert finished.process.wait(500) == 0, finished.err
    elapsed_s = time.monotonic() - began_s
    watch.stop()

    assert finished.document["customers"][0]["erased"]["feedback_rows"] == left
    assert (scalar(bench, "SELECT count(*) FROM feedback"), scalar(bench, "SELECT count(*) FROM labels")) == (0, 0)
    assert scalar(bench, "SELECT count(*) FROM record_outcomes WHERE outcome = 'erased'") == ROWS
    assert scalar(bench, "SELECT count(*) FROM erased_events") == ROWS
    assert sum(audit["feedback_rows"] for audit in audits(bench)) == ROWS
    figures = {
        "rows": left,
        "elapsed_s": round(elapsed_s, 1),
        "longest_transaction_s": round(watch.longest_s, 2),
        "usual_mib": usual_mib,
        "peak_mib": watch.peak_mib,
    }
    record_property("figures", figures)
    assert watch.longest_s < MAX_TRANSACTION_S, figures
    assert 0 < usual_mib <= watch.peak_mib < usual_mib + MAX_EXTRA_MIB, figures
