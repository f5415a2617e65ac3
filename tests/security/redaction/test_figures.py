"""What the redaction is worth, on messages that nobody has tuned it for."""

import pytest

from consumer.redaction.redactor import KINDS, Kind
from tests.security.redaction.measure import Rate, measure
from tests.security.redaction.sample import load

# Some way below what was measured when these messages were first looked at, and above chance in any case.
LIMITS = {"email": (0.97, 0.97), "card": (0.94, 0.97), "phone": (0.94, 0.94)}


@pytest.mark.parametrize("kind", KINDS)
def test_precision_and_recall_on_messages_held_out(kind: Kind) -> None:
    figures = measure(load("held_out"), kind)

    least_precision, least_recall = LIMITS[kind]
    assert figures.recall.total >= 30
    assert figures.precision.value >= least_precision
    assert figures.recall.value >= least_recall


def test_both_halves_hold_messages_of_their_own() -> None:
    tune, held_out = ({message.text for message in load(half)} for half in ("tune", "held_out"))

    assert len(tune) > 150
    assert len(held_out) > 150
    assert not tune & held_out


def test_wilsons_interval_is_that_of_the_literature() -> None:
    # Newcombe 1998, table I: 81 of 263.
    low, high = Rate(81, 263).interval
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
