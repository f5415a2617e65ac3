import subprocess
import sys
import threading
import time
from collections.abc import Sequence

import pytest

from consumer.errors import FatalError, PoisonEvent, TransientError
from consumer.inference.classifier import Classifier, Verdict
from consumer.inference.isolation import classify_isolating
from consumer.inference.workers import InferenceTimeout, Workers
from tests.inference.conftest import DEADLINE_S
from tests.inference.faults import FaultySession


class CountingClassifier:
    """Counts the calls on their way to a classifier."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self.calls = 0

    def classify(self, texts: Sequence[str]) -> list[Verdict]:
        self.calls += 1
        return self._classifier.classify(texts)

    def probe(self) -> bool:
        return self._classifier.probe()


@pytest.mark.parametrize(
    ("word", "error_class"), [("poison", "RuntimeError"), ("nan", "NonFiniteScores"), ("hang", "InferenceTimeout")]
)
def test_only_the_culprit_becomes_poison(fragile: Classifier, word: str, error_class: str) -> None:
    texts = ["fine", "good", f"secret {word} text", "nice"]
    outcomes = classify_isolating(fragile, texts)

    poison = outcomes.pop(2)
    assert isinstance(poison, PoisonEvent)
    assert (poison.stage, poison.error_class) == ("classify", error_class)
    assert "secret" not in f"{poison} {poison.message} {poison.__cause__}"
    texts.pop(2)
    assert outcomes == fragile.classify(texts)


def test_several_culprits_and_a_lone_surrogate_are_told_apart(fragile: Classifier) -> None:
    texts = [f"text {number}" for number in range(33)]
    texts[0] = texts[17] = "poison"
    texts[32] = "\ud800"
    outcomes = classify_isolating(fragile, texts)

    assert [index for index, outcome in enumerate(outcomes) if isinstance(outcome, PoisonEvent)] == [0, 17, 32]


def test_one_culprit_costs_a_logarithm_of_calls(fragile: Classifier) -> None:
    counting = CountingClassifier(fragile)
    classify_isolating(counting, [*["fine"] * 63, "poison"])
    assert counting.calls == 1 + 2 * 6


def test_no_text_is_blamed_when_a_known_good_one_fails_too(fragile: Classifier, session: FaultySession) -> None:
    session.broken_by = RuntimeError("the graph is gone")
    with pytest.raises(FatalError, match="known-good text"):
        classify_isolating(fragile, ["one", "two"])


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(12, "Cannot allocate memory"), RuntimeError("Failed to allocate memory for buffer")],
)
def test_exhausted_memory_is_transient(fragile: Classifier, session: FaultySession, error: Exception) -> None:
    session.broken_by = error
    with pytest.raises(TransientError):
        classify_isolating(fragile, ["one", "two"])
    session.broken_by = None
    assert len(classify_isolating(fragile, ["one", "two"])) == 2


def test_a_hanging_batch_is_stopped_at_its_deadline(fragile: Classifier) -> None:
    started = time.monotonic()
    with pytest.raises(InferenceTimeout):
        fragile.classify(["fine", "hang"])
    assert DEADLINE_S <= time.monotonic() - started < DEADLINE_S + 5
    assert fragile.probe()


def test_a_call_that_does_not_stop_is_fatal_for_good(fragile: Classifier) -> None:
    with pytest.raises(FatalError, match="did not stop within"):
        classify_isolating(fragile, ["fine", "stuck"])
    assert not fragile.probe()
    with pytest.raises(FatalError, match="never returned"):
        classify_isolating(fragile, ["fine"])


def test_a_call_that_never_returns_does_not_keep_the_process_alive() -> None:
    code = """
import threading
from consumer.errors import FatalError
from consumer.inference.workers import Workers
try:
    Workers(1, deadline_s=0.05, grace_s=0.05).run([lambda options: threading.Event().wait()])
except FatalError:
    raise SystemExit(3)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 3


def test_a_failing_call_drops_those_that_have_not_started_and_waits_for_the_rest() -> None:
    workers = Workers(1, deadline_s=30, grace_s=1)
    started: list[str] = []
    finished: list[str] = []

    def fail(_: object) -> None:
        raise ValueError("broken")

    def take_a_moment(_: object) -> None:
        started.append("call")
        time.sleep(0.05)
        finished.append("call")

    with pytest.raises(ValueError, match="broken"):
        workers.run([fail, *[take_a_moment] * 20])
    assert len(finished) == len(started) < 20
    assert workers.run([lambda _: 1, lambda _: 2]) == [1, 2]
    assert len(finished) == len(started) < 20
    workers.close()


def test_both_threads_run_at_the_same_time() -> None:
    workers = Workers(2, deadline_s=30, grace_s=1)
    meeting = threading.Barrier(2, timeout=10)
    assert sorted(workers.run([lambda _: meeting.wait()] * 2)) == [0, 1]
    workers.close()
