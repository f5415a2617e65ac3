"""Who runs in the transport contest, and how each is started."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.transport.null_consumer import ROWS_VARIABLE
from schemas.labels import HEADS

RIVALS_PYTHON: Final = Path(".venv-rivals/bin/python")
REFERENCE: Final = "feedback-stream, rows"
# It makes a folder of its own, even where it keeps no tables.
_FAUST: Final = ("--datadir=.devstack/benchmarks-logs/faust", "worker", "--loglevel=error")
RECORDS_PER_TRANSACTION: Final = (10, 100, 500, 2_000)

# As much as our results carry on top of the event.
VERDICT: Final = {
    "classification": {
        head: {"label": labels[0], "score": 1.0, "scores": {label: float(label == labels[0]) for label in labels}}
        for head, labels in HEADS.items()
    },
    "model": {"name": "null", "version": "1", "sha256": "0" * 64},
    "needs_review": False,
}


@dataclass(frozen=True, slots=True)
class Contestant:
    """One program and its guarantee.

    Attributes:
        command: interpreter and arguments.
        is_ours: takes the consumer's variables rather than those of `benchmarks.transport.rivals`.
        exactly_once: offsets and results are committed together.
        variables: on top of those that every contestant gets.
    """

    command: tuple[str, ...]
    is_ours: bool
    exactly_once: bool
    variables: Mapping[str, str]


def _rival(script: str, *arguments: str, exactly_once: bool, **variables: str) -> Contestant:
    path = Path(__file__).parent / "rivals" / script
    return Contestant((str(RIVALS_PYTHON), str(path), *arguments), False, exactly_once, variables)


def _ours(rows: str) -> Contestant:
    command = (sys.executable, "-m", "benchmarks.transport.null_consumer")
    return Contestant(command, True, True, {ROWS_VARIABLE: rows})


CONTESTANTS: Final[Mapping[str, Contestant]] = {
    REFERENCE: _ours("on"),
    "feedback-stream, no rows": _ours("off"),
    "confluent-kafka loop, exactly once": _rival("bare_loop.py", exactly_once=True),
    "Quix Streams, exactly once": _rival("quix.py", exactly_once=True, BENCH_GUARANTEE="exactly-once"),
    "Quix Streams, at least once": _rival("quix.py", exactly_once=False, BENCH_GUARANTEE="at-least-once"),
    "Faust, exactly once": _rival("faust_app.py", *_FAUST, exactly_once=True, BENCH_GUARANTEE="exactly_once"),
    "Faust, at least once": _rival("faust_app.py", *_FAUST, exactly_once=False, BENCH_GUARANTEE="at_least_once"),
    "FastStream, at least once": _rival("faststream_app.py", exactly_once=False),
}


def variables_of(
    contestant: Contestant, *, brokers: str, database_url: str, topics: tuple[str, str, str], group: str, records: int
) -> dict[str, str]:
    """The environment that a contestant needs; topics are those of events, results and dead letters."""
    events, results, dead_letters = topics
    if contestant.is_ours:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": brokers,
            "DATABASE_URL": database_url,
            "CONSUMER_GROUP_ID": group,
            "CONSUMER_EVENTS_TOPIC": events,
            "CONSUMER_RESULTS_TOPIC": results,
            "CONSUMER_DEAD_LETTER_TOPIC": dead_letters,
            "CONSUMER_MAX_WINDOW_RECORDS": str(records),
            "CONSUMER_HTTP_PORT": "0",
            "CONSUMER_LOG_LEVEL": "warning",
            **contestant.variables,
        }
    return {
        "BENCH_BROKERS": brokers,
        "BENCH_INPUT": events,
        "BENCH_OUTPUT": results,
        "BENCH_GROUP": group,
        "BENCH_RECORDS": str(records),
        "BENCH_VERDICT": json.dumps(VERDICT),
        **contestant.variables,
    }
