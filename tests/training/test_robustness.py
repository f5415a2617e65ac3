"""What disturbs the shipped bundle, on a few open rows: bounds that a broken model or clean-up would cross."""

import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the extra 'training'")
pytest.importorskip("datasketch", reason="training needs the extra 'training'")

from tests.deploy.deployed_settings import ROOT
from training.disturbances import DISTURBANCES, head_and_tail, typos
from training.robustness import measure_robustness

SAMPLE = Path(__file__).with_name("sample.jsonl")
LARGEST_DROP = {
    # Lower-casing, addresses, users and broken lines are undone by the clean-up and the tokenizer.
    "lower case": 0.0,
    "upper case": 0.0,
    "broken lines": 0.0,
    "typos": 0.25,
    "an emoji after it": 0.15,
    "a web address after it": 0.15,
    "a user named before it": 0.15,
    "repeated punctuation": 0.15,
    "no punctuation": 0.2,
    "first eight words": 0.45,
    "long, the message first": 0.7,
}


def test_what_keeps_the_meaning_keeps_the_verdict() -> None:
    figures = measure_robustness(ROOT / "models" / "default", SAMPLE, "dev", seed=0)

    assert figures["undisturbed"]["category"] > 0.75
    drops = {name: heads["category"]["drop"] for name, heads in figures["disturbed"].items()}
    assert {name: drop for name, drop in drops.items() if drop > LARGEST_DROP.get(name, 1.0)} == {}
    # What stands behind the cut cannot be seen.
    cut = figures["disturbed"]["long, the message last"]["category"]["accuracy"]
    assert figures["disturbed"]["long, the message last, head and tail kept"]["category"]["accuracy"] >= cut
    assert figures["other_languages"]["other_script"] == 12


def test_the_same_seed_disturbs_alike() -> None:
    text = "Something about shipping happened while ordering another keyboard yesterday evening"
    assert typos(text, random.Random(1)) == typos(text, random.Random(1))
    assert any(typos(text, random.Random(seed)) != text for seed in range(5))
    assert set(typos("a an the", random.Random(3)).split()) == {"a", "an", "the"}, "short words stay"
    assert head_and_tail("one two", random.Random(0)) == "one two"
    assert all(disturb("Fine.", random.Random(0)) for disturb in DISTURBANCES.values())
