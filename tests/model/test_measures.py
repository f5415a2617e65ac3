"""Figures with their uncertainty: what they say of models whose worth is known beforehand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_export.rows import Row, RowError
from schemas.labels import HEADS
from training.evaluate import EvaluationError, rows_of_split
from training.measures import debiased_calibration_error, measure_head

GENERATOR = np.random.default_rng(3)


def sentiment_rows(labels: list[str], source: str = "reviews") -> list[Row]:
    return [
        Row.model_validate({"text": f"text {number}", "sentiment": label, "split": "dev", "source": source})
        for number, label in enumerate(labels)
    ]


def scores(columns: Any, top: float) -> Any:
    """Probabilities that put `top` on each row's column and share the rest."""
    found = np.full((len(columns), 3), (1 - top) / 2)
    found[np.arange(len(columns)), columns] = top
    return found


def test_intervals_hold_the_figure_and_shrink_with_more_rows() -> None:
    def width(rows: int) -> float:
        labels = ["neutral"] * rows
        said = np.where(GENERATOR.random(rows) < 0.8, 1, 0)
        figures = measure_head(scores(said, 0.9), sentiment_rows(labels), "sentiment")
        low, high = figures["accuracy_interval"]
        assert low <= figures["accuracy"] <= high
        return float(high - low)

    assert width(100) > 2 * width(2_000)


def test_a_model_that_knows_how_often_it_is_right_has_no_debiased_error() -> None:
    columns = np.zeros(3_000, dtype=np.int64)
    said = np.where(GENERATOR.random(3_000) < 0.8, 0, 1)

    assert debiased_calibration_error(scores(said, 0.8), columns) < 0.03
    assert debiased_calibration_error(scores(said, 0.99), columns) > 0.15


def test_confusion_coverage_and_sources_tell_where_it_fails() -> None:
    rows = sentiment_rows(["negative"] * 6, "tweets") + sentiment_rows(["positive"] * 4, "forum")
    probabilities = np.vstack([scores(np.zeros(6, dtype=int), 0.9), scores(np.ones(4, dtype=int), 0.5)])

    figures = measure_head(probabilities, rows, "sentiment")

    assert figures["confusion"]["positive"] == {"negative": 0, "neutral": 4, "positive": 0}
    assert figures["per_source"] == {"forum": {"rows": 4, "accuracy": 0.0}, "tweets": {"rows": 6, "accuracy": 1.0}}
    at = {point["coverage"]: point for point in figures["coverage"]}
    assert at[0.6] == {"coverage": 0.6, "threshold": 0.9, "accuracy": 1.0}
    assert at[1.0]["accuracy"] == 0.6


def test_unlabelled_rows_do_not_count() -> None:
    rows = [*sentiment_rows(["neutral"] * 30), Row.model_validate({"text": "no label", "split": "dev"})]

    assert measure_head(scores(np.ones(31, dtype=int), 0.9), rows, "sentiment")["rows"] == 30


def test_a_split_that_nothing_has_and_a_bad_line_are_named(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"text": "a", "split": "train"}) + "\n")
    with pytest.raises(EvaluationError, match="no row has split 'dev'"):
        rows_of_split(data, "dev")
    data.write_text(
        json.dumps({"text": "a", "split": "dev"}) + "\n" + json.dumps({"text": "b", "split": "dev", "category": "spam"})
    )
    with pytest.raises(RowError, match="line 2: category"):
        rows_of_split(data, "dev")


def test_a_replacement_must_not_lose_what_the_old_model_knew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("scipy", reason="comparison needs the extra 'training'")
    from training import compare  # noqa: PLC0415

    data = tmp_path / "rows.jsonl"
    right = {head: GENERATOR.integers(0, len(labels), 600) for head, labels in HEADS.items()}
    data.write_text(
        "\n".join(
            json.dumps(
                {"text": f"text {row}", "split": "dev", **{head: HEADS[head][right[head][row]] for head in HEADS}}
            )
            for row in range(600)
        )
    )

    def model(wrong: Any) -> dict[str, Any]:
        """Right everywhere but in the category of some rows."""
        said = {head: columns.copy() for head, columns in right.items()}
        said["category"][wrong] = (said["category"][wrong] + 1) % 8
        return {head: np.eye(len(HEADS[head]))[columns] for head, columns in said.items()}

    of_praise = np.flatnonzero(right["category"] == HEADS["category"].index("praise"))
    models = {
        "old": model(np.arange(60)),
        "better": model(np.arange(30)),
        "worse": model(np.arange(90)),
        # As good on the whole, and blind to one label.
        "blind": model(of_praise[:55]),
    }
    monkeypatch.setattr(compare, "predict", lambda path, _texts: models[path.name])

    def compared(new: str) -> dict[str, Any]:
        return compare.compare_models(Path("old"), Path(new), data, "dev")

    better = compared("better")
    assert better["may_replace"] is True
    assert better["heads"]["category"]["difference"] == 0.05
    assert better["heads"]["category"]["only_new_right"] == 30
    worse = compared("worse")
    assert worse["may_replace"] is False
    assert worse["reasons"][0] == "category: accuracy falls from 0.9 to 0.85"
    assert worse["heads"]["category"]["mcnemar_p"] < 0.001
    lost = [figures["lost"] for figures in worse["heads"]["category"]["per_label"].values()]
    assert sum(each["rows"] for each in lost) == 30
    assert any(each["examples"] for each in lost)
    blind = compared("blind")
    assert blind["may_replace"] is False
    assert ["F1 of praise" in reason for reason in blind["reasons"]].count(True) == 1
    assert compared("old")["may_replace"] is True
