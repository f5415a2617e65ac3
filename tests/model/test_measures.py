"""Figures with their uncertainty: what they say of models whose worth is known beforehand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.inference.manifest import HeadSpec
from model_export.metrics import debiased_calibration_error
from model_export.rows import Row, RowError
from schemas.labels import HEADS
from training import compare
from training.evaluate import EvaluationError, rows_of_split
from training.measures import measure_head, measure_review

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


def known_scores(rows: int) -> tuple[Any, Any]:
    """Scores of three labels that are right as often as they say."""
    top = 1.0 - 0.5 * GENERATOR.uniform(0.0, 1.0, rows) ** 3
    right = np.zeros(rows, dtype=np.int64)
    said = np.where(GENERATOR.random(rows) < top, 0, 1)
    found = np.full((rows, 3), 0.0)
    found[np.arange(rows), said] = top
    found[np.arange(rows), 2] = 1 - top
    return found, right


def test_what_goes_without_review_is_right_on_rows_that_chose_nothing() -> None:
    pytest.importorskip("torch", reason="calibration belongs to the extra 'export'")
    from model_export.calibration import fit_review_threshold  # noqa: PLC0415

    kept_accuracies, coverages = [], []
    for _ in range(30):
        threshold = fit_review_threshold(*known_scores(1_500))
        probabilities, right = known_scores(20_000)
        alone = probabilities.max(axis=1) >= threshold
        kept_accuracies.append(float((probabilities.argmax(axis=1) == right)[alone].mean()))
        coverages.append(float(alone.mean()))
    assert np.mean(np.array(kept_accuracies) >= 0.95) >= 0.8
    # The best possible threshold keeps 0.74 of the rows: of the surest q, 0.125 q^3 are wrong.
    assert 0.55 < np.mean(coverages) <= 0.74

    hopeless = scores(np.ones(200, dtype=int), 0.9)
    assert fit_review_threshold(hopeless, np.zeros(200, dtype=np.int64)) == 1.0
    assert fit_review_threshold(hopeless, np.ones(200, dtype=np.int64)) <= 0.9
    assert fit_review_threshold(hopeless, np.full(200, -1)) == 0.0


def test_the_share_that_goes_without_review_is_measured_by_the_thresholds_of_the_bundle() -> None:
    rows = sentiment_rows(["negative"] * 60 + ["positive"] * 40)
    probabilities = {
        "sentiment": np.vstack([scores(np.zeros(60, dtype=int), 0.9), scores(np.zeros(40, dtype=int), 0.5)]),
        "category": np.full((100, 8), 0.125),
    }
    heads = {
        "sentiment": HeadSpec(output="s", review_threshold=0.8, decides_review=True),
        "category": HeadSpec(output="c", review_threshold=0.9),
    }

    review = measure_review(probabilities, rows, heads)

    assert review["decided_by"] == {"sentiment": 0.8}
    assert review["coverage"] == 0.6
    low, high = review["coverage_interval"]
    assert low < 0.6 < high
    assert review["accuracy"] == {"sentiment": {"rows": 60, "accuracy": 1.0, "accuracy_interval": [1.0, 1.0]}}
