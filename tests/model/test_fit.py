"""Fine-tuning: what it learns, what it keeps out, how it resumes, and what it says of bad input."""

import json
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


@pytest.fixture
def killed_after_two_epochs(tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that died in its third epoch."""
    out = tmp_path / "resumed"
    epoch = training_fit._Trainer._epoch

    def dying(self: Any, number: int, *rest: Any) -> float:
        if number == 2:
            raise KeyboardInterrupt
        return epoch(self, number, *rest)

    monkeypatch.setattr(training_fit._Trainer, "_epoch", dying)
    with pytest.raises(KeyboardInterrupt):
        training_fit.fit(tiny_run.data, out, read_config(tiny_run.config), Console(quiet=True))
    monkeypatch.undo()
    return out


def test_a_resumed_run_ends_like_the_uninterrupted_one(tiny_run: TinyRun, killed_after_two_epochs: Path) -> None:
    report = training_fit.fit(tiny_run.data, killed_after_two_epochs, read_config(tiny_run.config), Console(quiet=True))
    uninterrupted = json.loads((tiny_run.checkpoint / "report.json").read_text())
    assert report["history"] == uninterrupted["history"]
    assert report["dev"] == uninterrupted["dev"]


def test_another_configuration_does_not_resume(tiny_run: TinyRun, killed_after_two_epochs: Path) -> None:
    with pytest.raises(training_fit.FitError, match="another configuration"):
        training_fit.fit(
            tiny_run.data, killed_after_two_epochs, read_config(tiny_run.config, seed=99), Console(quiet=True)
        )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x", "split": "train", "category": "bugs"}', "line 3: category"),
        ('{"split": "train"}', "line 3: text"),
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
