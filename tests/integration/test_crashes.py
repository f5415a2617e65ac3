"""Killed at any point, by anything: the next process ends where an undisturbed one would have."""

import signal
from functools import partial
from pathlib import Path

import pytest

from tests.integration.dying_consumer import STEPS
from tests.integration.harness import Bench, make_event, turn_until, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

HOSTILE = (b"no event", None, b'{"text": "no id, no time"}')


@pytest.mark.parametrize("step", STEPS)
def test_killed_before_a_step_of_the_checkpoint(bench: Bench, step: str, other_tiny_bundle: Path) -> None:
    events = [make_event(f"message {n}") for n in range(60)]
    bench.publish([*events[:30], *HOSTILE, *events[30:]])
    dying = bench.process(module="tests.integration.dying_consumer", arguments=(step, "2"), max_window_records=16)
    assert dying.process.wait(60) == -signal.SIGKILL
    written = {str(row["event_id"]): row["model_version"] for row in bench.rows()}

    # The model is another one now: what was decided before must not be decided again.
    successor = bench.consumer(bundle_url=str(other_tiny_bundle))
    turn_until(lambda: bench.has_settled(63), successor)
    bench.assert_exactly_once(events)
    assert sorted(letter.value or b"" for letter in bench.dead_letters()) == sorted(value or b"" for value in HOSTILE)
    assert set(written.values()) <= {"1"}
    assert {str(row["event_id"]): row["model_version"] for row in bench.rows()}.items() >= written.items()
    if step not in {"persist", "committed"}:
        # Rows were there, their results were not: the stored verdicts went out, not second opinions.
        versions = {result.document["model"]["version"] for result in bench.results()}
        assert versions == {"1", "2"}


def test_killed_four_times_in_the_middle_of_a_burst(bench: Bench) -> None:
    events = [make_event(f"message {n}", customer_id=f"c{n % 50}") for n in range(5_000)]
    bench.publish(events)
    for reached in (200, 1_200, 2_400, 3_600):
        running = bench.process(max_window_records=64)
        wait_until(partial(bench.has_recorded, reached), "some progress", alive=running.process)
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
    final = bench.process()
    bench.wait_for_outcomes(5_000, final)
    bench.assert_exactly_once(events)
    assert bench.dead_letters() == []
    assert final.end(signal.SIGTERM) == 0


def test_sigterm_commits_what_was_begun_and_exits_0(bench: Bench) -> None:
    events = [make_event(f"message {n}") for n in range(1_000)]
    bench.publish(events)
    first = bench.process(max_window_records=32)
    wait_until(bench.recorded, "some progress", alive=first.process)
    assert first.end(signal.SIGTERM) == 0
    done = bench.recorded()
    # What was recorded is visible already: nothing is left for the next process to clear up.
    assert len(bench.results()) == done
    second = bench.process()
    bench.wait_for_outcomes(1_000, second)
    bench.assert_exactly_once(events)


def test_a_record_that_kills_the_process_is_found_and_given_up(bench: Bench) -> None:
    events = [make_event(f"message {n}") for n in range(20)]
    killer = make_event("deadly")
    bench.publish([*events[:10], killer, *events[10:]], partition=0)
    for _ in range(6):
        running = bench.process(module="tests.integration.deadly_text", arguments=("deadly",))
        wait_until(partial(bench.has_ended_or_recorded, running, 21), "the process to die or to finish")
        if bench.recorded() == 21:
            break
    bench.wait_for_outcomes(21)
    bench.assert_exactly_once(events)
    [letter] = bench.dead_letters()
    assert letter.document == killer
    assert letter.headers["dlq-error-class"] == b"repeated_crash"
    assert letter.headers["dlq-attempt"] == b"3"
