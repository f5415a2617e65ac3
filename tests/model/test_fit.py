"""Fine-tuning: what it learns, what it keeps out, how it resumes, and what it says of bad input."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'training'")
pytest.importorskip("transformers", reason="training needs the extra 'training'")

from rich.console import Console  # noqa: E402
from transformers import BertConfig, BertModel  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from model_export.checkpoint import DistilBertForFeedback  # noqa: E402
from model_export.rows import RowError, read_rows, validation_rows  # noqa: E402
from tests.model.conftest import TinyRun  # noqa: E402
from training import base as training_base  # noqa: E402
from training import fit as training_fit  # noqa: E402
from training.commands import app  # noqa: E402
from training.config import read_config  # noqa: E402
from training.data import split_rows  # noqa: E402
from training.run_state import FitError  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_it_learns_and_writes_a_checkpoint_that_transformers_loads(tiny_run: TinyRun) -> None:
    report = json.loads((tiny_run.checkpoint / "report.json").read_text())
    assert report["dev"]["category"]["accuracy"] == 1.0
    assert report["validation"]["sentiment"]["macro_f1"] > 0.8
    model = DistilBertForFeedback.from_pretrained(tiny_run.checkpoint)
    assert model.config.heads["sentiment"] == ["negative", "neutral", "positive"]
    assert not (tiny_run.checkpoint / "unfinished.pt").exists()


def test_validation_is_kept_aside_and_named_in_the_checkpoint(tiny_run: TinyRun) -> None:
    rows = read_rows(tiny_run.data)
    split = split_rows(rows, 0.25)
    train, validation, dev = ({row.key for row in part} for part in (split.train, split.validation, split.dev))
    assert not train & validation
    assert not (train | validation) & dev
    assert {row.key for row in validation_rows(rows, tiny_run.checkpoint)} == validation


def test_rows_that_must_not_ship_are_not_trained_on_and_texts_of_dev_are_refused(
    tiny_run: TinyRun, tmp_path: Path
) -> None:
    lines = tiny_run.data.read_text().splitlines()
    barred = json.loads(lines[0]) | {"shippable": False, "text": "barred words"}
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join([*lines, json.dumps(barred)]))
    split = split_rows(read_rows(data), 0.25)
    assert split.dropped == {"not shippable": 1}
    assert "barred words" not in {row.text for row in split.train + split.validation}

    leaked = json.loads(next(line for line in lines if '"dev"' in line)) | {"split": "train"}
    leaked["text"] = leaked["text"].upper() + "!"
    data.write_text("\n".join([*lines, json.dumps(leaked)]))
    with pytest.raises(RowError, match="1 rows to train on repeat rows of dev"):
        split_rows(read_rows(data), 0.25)


@pytest.fixture(scope="module")
def killed(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose process was killed in the middle of its first epoch."""
    out = tmp_path_factory.mktemp("killed") / "checkpoint"
    command = [sys.executable, "-m", "training", "fit", "--data", str(tiny_run.data), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--config", str(tiny_run.config)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (out / "unfinished.pt").exists():
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < deadline, "the run saved nothing"
        time.sleep(0.002)
    process.kill()
    process.wait()
    return out


def test_a_killed_run_ends_like_the_uninterrupted_one(tiny_run: TinyRun, killed: Path, tmp_path: Path) -> None:
    out = tmp_path / "resumed"
    shutil.copytree(killed, out)
    progress = torch.load(out / "unfinished.pt", weights_only=True)["progress"]
    assert progress["step"] > 0, "it was killed between two epochs"

    said = Console(record=True, quiet=False, file=io.StringIO())
    report = training_fit.fit(tiny_run.data, out, read_config(tiny_run.config), said)

    assert "going on after epoch" in said.export_text()
    uninterrupted = json.loads((tiny_run.checkpoint / "report.json").read_text())
    assert report["history"] == uninterrupted["history"]
    assert report["dev"] == uninterrupted["dev"]


def test_another_configuration_does_not_resume(tiny_run: TinyRun, killed: Path) -> None:
    with pytest.raises(FitError, match="another configuration"):
        training_fit.fit(tiny_run.data, killed, read_config(tiny_run.config, seed=99), Console(quiet=True))


def test_the_figures_of_each_epoch_are_in_mlflow(tiny_run: TinyRun, metrics_store: str) -> None:
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    client = MlflowClient(metrics_store)
    [experiment] = [each for each in client.search_experiments() if each.name == "feedback-stream"]
    runs = client.search_runs([experiment.experiment_id], f"attributes.run_name = '{tiny_run.checkpoint.name}'")
    run = next(each for each in runs if each.info.status == "FINISHED")
    report = json.loads((tiny_run.checkpoint / "report.json").read_text())
    scores = [metric.value for metric in sorted(client.get_metric_history(run.info.run_id, "score"), key=_step)]
    assert scores == pytest.approx([entry["score"] for entry in report["history"]])
    assert run.data.metrics["dev_category_accuracy"] == 1.0
    assert run.data.params["learning_rate"] == "0.003"


def test_a_store_of_metrics_that_cannot_be_used_is_named_before_anything_is_trained(
    tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(FitError, match="MLFLOW_TRACKING_URI"):
        training_fit.fit(tiny_run.data, tmp_path / "out", read_config(tiny_run.config), Console(quiet=True))


def _step(metric: Any) -> int:
    return int(metric.step)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x", "split": "train", "category": "bugs"}', "line 3: category"),
        ('{"split": "train"}', "line 3: text"),
        ('{"text": "x", "split": "train", "category": ["bug"]}', "line 3: category"),
        ('["x", "bug"]', "line 3: "),
        ("{not json", "line 3"),
        ('{"text": "   ", "split": "train"}', "line 3: text"),
    ],
)
def test_bad_rows_are_named_by_line_and_nothing_is_written(
    tiny_run: TinyRun, tmp_path: Path, line: str, message: str
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join([*tiny_run.data.read_text().splitlines()[:2], line]))
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["fit", "--data", str(data), "--out", str(out), "--config", str(tiny_run.config)])
    assert result.exit_code == 1
    assert message in result.stderr.replace("\n", "")
    assert "bugs" not in result.stderr
    assert not out.exists()


def test_evaluate_gives_the_figures_of_the_report(tiny_run: TinyRun) -> None:
    checkpoint = str(tiny_run.checkpoint)
    result = CliRunner().invoke(app, ["evaluate", "--checkpoint", checkpoint, "--data", str(tiny_run.data), "--json"])
    assert json.loads(result.stdout) == json.loads((tiny_run.checkpoint / "report.json").read_text())["dev"]


def test_a_bert_becomes_the_distilbert_that_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    bert = BertModel(
        BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    )
    assert training_base.largest_difference(bert, training_base.distilbert_from_bert(bert)) < 1e-4
    swapped = training_base._LAYER_PARTS | {
        "attention.self.query": "attention.k_lin",
        "attention.self.key": "attention.v_lin",
        "attention.self.value": "attention.q_lin",
    }
    monkeypatch.setattr(training_base, "_LAYER_PARTS", swapped)
    with pytest.raises(training_base.BaseError, match="differs"):
        training_base.distilbert_from_bert(bert)
