"""How figures of several contestants are taken and compared."""

from collections.abc import Callable, Mapping

import pytest

from benchmarks.rounds import ContestError, Outcome, Spread, run_rounds


def _turns(
    contestants: Mapping[str, Callable[[], float]], rounds: int
) -> tuple[list[tuple[int, str, float | None]], Outcome[str]]:
    turns: list[tuple[int, str, float | None]] = []
    outcome = run_rounds(contestants, rounds, lambda number, name, value: turns.append((number, name, value)))
    return turns, outcome


def test_every_round_has_every_contestant_and_begins_with_another() -> None:
    turns, outcome = _turns({name: lambda: 1.0 for name in "abc"}, 3)

    by_round = [[name for number, name, _ in turns if number == each] for each in range(3)]
    assert [sorted(names) for names in by_round] == [list("abc")] * 3
    assert len({names[0] for names in by_round}) == 3
    assert list(outcome.spreads) == list("abc")


def test_a_slow_minute_of_the_machine_does_not_change_the_ratio() -> None:
    speed = iter([1.0, 1.0, 0.1, 0.1, 1.0, 1.0])
    contestants = {"fast": lambda: 400 * next(speed), "slow": lambda: 100 * next(speed)}

    outcome = run_rounds(contestants, 3, lambda *_: None)

    ratio = outcome.spreads["fast"].over(outcome.spreads["slow"])
    assert list(ratio.values) == pytest.approx([4.0, 4.0, 4.0])
    assert outcome.spreads["fast"].median == 400


def test_who_fails_once_is_left_out_and_named() -> None:
    tries = []

    def failing() -> float:
        tries.append(1)
        if len(tries) == 2:
            raise ContestError("it ended with 1")
        return 1.0

    turns, outcome = _turns({"fails": failing, "works": lambda: 2.0}, 4)

    assert outcome.failed == {"fails": "it ended with 1"}
    assert list(outcome.spreads) == ["works"]
    assert len(outcome.spreads["works"].values) == 4
    assert len(tries) == 2
    assert (1, "fails", None) in turns


def test_a_spread_says_how_far_its_values_lie_apart() -> None:
    spread = Spread([1.0, 2.0, 3.0, 4.0, 100.0])

    assert spread.median == 3.0
    assert spread.quartiles == (2.0, 4.0)
    assert Spread([5.0]).quartiles == (5.0, 5.0)
