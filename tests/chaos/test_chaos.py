"""Two minutes of faults in the consumer processes, on the servers of the test session."""

import json
from pathlib import Path

import pytest

from schemas.connection import DatabaseConnection, KafkaConnection
from tests.chaos.process_faults import process_faults
from tests.chaos.report import as_json
from tests.chaos.run import Plan, run
from tests.chaos.stage import make_stage
from tests.conftest import TopicNames

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

SEED = 1
MINUTES = 2.0
# Each is over within seconds; those that take a minute belong to the long runs.
SHORT = (
    "kill -9 at random",
    "kill -9 after classify",
    "kill -9 between INSERT and COMMIT",
    "kill -9 after the rows",
    "kill -9 in the transaction before the offsets",
    "kill -9 in the transaction after the offsets",
    "kill -9 after commit",
    "SIGTERM between INSERT and COMMIT",
    "frozen between INSERT and COMMIT",
    "polls too late: blocked after the rows",
    "rebalance 1 to 3 to 1",
    "inference raises",
    "bundle replaced under a running consumer",
)


@pytest.mark.timeout(480)
def test_nothing_is_lost_and_nothing_comes_twice(
    kafka: KafkaConnection, database: DatabaseConnection, topics: TopicNames, tmp_path: Path
) -> None:
    stage = make_stage(kafka, database, (topics.events, topics.results, topics.dead_letters), tmp_path)
    faults = [fault for fault in process_faults() if fault.name in SHORT]
    outcome = run(stage, Plan(faults=faults, seed=SEED, minutes=MINUTES))
    report = as_json(outcome)
    (tmp_path / "report.json").write_text(json.dumps(report, indent=1), "utf-8")
    assert report["findings"] == []
    assert report["violations"] == []
    injected = {name for wave in outcome.waves for name in wave.injected}
    assert len(injected) >= 3, report["schedule"]
    # Not for want of trying: hostile records, copies and conflicts went through as well.
    assert report["results"] > 0
    assert {"classified", "dead_letter", "duplicate"} <= report["outcomes"].keys()
