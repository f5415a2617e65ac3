"""`python -m training`: the commands that measure, compare and run baselines, as a person calls them."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the extra 'training'")
pytest.importorskip("sklearn", reason="baselines need the extra 'training'")

from typer.testing import CliRunner

from tests.model.conftest import TinyRun
from training.commands import app
from training.terminal import REFUSED_EXIT_CODE

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_an_evaluation_leaves_a_report_that_people_can_read(tiny_run: TinyRun, tmp_path: Path) -> None:
    checkpoint, data, report = str(tiny_run.checkpoint), str(tiny_run.data), str(tmp_path / "report")
    done = CliRunner().invoke(
        app, ["evaluate", "--checkpoint", checkpoint, "--data", data, "--report", report, "--json"]
    )

    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    low, high = figures["category"]["accuracy_interval"]
    assert low <= figures["category"]["accuracy"] <= high
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.md",
        "report.json",
        "confusion.png",
        "coverage.png",
    }
    assert f"| category | {figures['category']['rows']} |" in (tmp_path / "report" / "report.md").read_text()


def test_a_model_may_replace_itself(tiny_run: TinyRun) -> None:
    model = str(tiny_run.checkpoint)
    done = CliRunner().invoke(app, ["compare", model, model, "--data", str(tiny_run.data), "--json"])

    assert done.exit_code == 0, done.output
    comparison = json.loads(done.stdout)
    assert comparison["may_replace"] is True
    assert comparison["heads"]["category"]["difference_interval"] == [0.0, 0.0]


def test_a_model_that_beats_no_baseline_is_refused(tiny_run: TinyRun) -> None:
    done = CliRunner().invoke(
        app,
        ["baselines", "--checkpoint", str(tiny_run.checkpoint), "--data", str(tiny_run.data), "--json"],
    )

    # The tiny rows are so plain that word counts are right everywhere: equal is not better.
    assert done.exit_code == REFUSED_EXIT_CODE, done.output
    found = json.loads(done.stdout)
    assert set(found["baselines"]) == {"naive Bayes", "logistic regression", "neural network"}
    assert any("naive Bayes reaches" in reason for reason in found["unbeaten"])


def test_one_model_must_be_named(tiny_run: TinyRun) -> None:
    done = CliRunner().invoke(app, ["evaluate", "--data", str(tiny_run.data)])

    assert done.exit_code == 2
    assert "--checkpoint and --bundle" in done.output
