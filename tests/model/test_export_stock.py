"""Checkpoints that others trained: a bundle with one head of its own, or a refusal that names file and mend."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs the extra 'export'")
pytest.importorskip("optimum", reason="export needs the extra 'export'")

import fsspec
import onnx
from onnx import numpy_helper
from typer.testing import CliRunner

from consumer.classify import classify_lines
from consumer.inference.bundle import load_bundle, require_feedback_heads
from consumer.inference.manifest import BundleError
from model_export import quantise
from model_export.checkpoint import CheckpointError, load_checkpoint
from model_export.commands import app
from model_export.metrics import softmax
from model_export.scoring import onnx_forward, score_texts, torch_forward
from schemas.labels import SENTIMENTS
from tests.model.stock_checkpoint import LABELS, texts, write_stock_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
SURE_MARGIN = 0.2


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stock_checkpoint(tmp_path_factory.mktemp("stock") / "checkpoint")


@pytest.fixture(scope="module")
def data(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose right label is what the checkpoint says of them, as far as it is sure: it was never trained."""
    checkpoint = load_checkpoint(stock)
    candidates = texts(600)
    scores = softmax(score_texts(torch_forward(checkpoint.model), checkpoint.encoder, candidates)["label"])
    ranked = np.sort(scores, axis=1)
    sure = np.flatnonzero(ranked[:, -1] - ranked[:, -2] > SURE_MARGIN)
    assert len(set(scores[sure].argmax(axis=1).tolist())) > 1
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text(
        "".join(
            json.dumps({"text": candidates[row], "label": LABELS[scores[row].argmax()], "split": split}) + "\n"
            for number, row in enumerate(sure)
            for split in [("validation", "dev")[number % 4 == 0]]
        )
    )
    return path


def export(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def exported(stock: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("bundles") / "stock"
    done = export(stock, "--out", out, "--data", data, "--name", "support", "--json")
    assert done.exit_code == 0, done.stderr
    return out, json.loads(done.stdout)


def test_it_classifies_with_its_own_labels(exported: tuple[Path, dict[str, Any]]) -> None:
    answers = io.StringIO()

    assert classify_lines(io.BytesIO(b"my parcel again\n\xf0\x9f\x98\x80\n"), answers, str(exported[0])) == 0

    for line in answers.getvalue().splitlines():
        answer = json.loads(line)
        assert answer["label"]["label"] in LABELS
        assert list(answer["label"]["scores"]) == list(LABELS)
        assert answer["category"] is None
        assert answer["routing"] is None


def test_the_stream_processor_refuses_it_with_the_reason(exported: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(BundleError, match=r"heads are label, results need sentiment, category, constructive; use"):
        require_feedback_heads(load_bundle(exported[0]))


def test_every_gate_stands_in_manifest_and_json(exported: tuple[Path, dict[str, Any]]) -> None:
    folder, printed = exported
    parity = load_bundle(folder).manifest.parity
    gates = {gate["name"]: gate for gate in printed["gates"]}
    assert gates.keys() == parity.keys() - {"nodes_kept_fp32"}
    assert gates.keys() == {
        "torch_fp32_logit_difference",
        "label_label_agreement",
        "label_accuracy_loss",
        "hostile_texts_without_finite_scores",
        "label_calibration_error",
        "label_calibration_loss",
        "probe_deviation_without_torch",
        "peak_memory_mb",
    }
    assert all(gate["passed"] and np.isfinite(gate["figure"]) for gate in gates.values())
    assert 20 < gates["peak_memory_mb"]["figure"] < 350
    assert printed["measurements"]["int8_speed_over_fp32"]["median"] > 0
    assert printed["measurements"]["quantisation"]["reduce_range"] is True


def test_the_bundle_verifies_and_lists_its_model_card(exported: tuple[Path, dict[str, Any]]) -> None:
    done = export("verify", exported[0], "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["manifest_sha256"] == exported[1]["manifest_sha256"]
    assert found["run_refuses"].endswith("use a bundle that was trained on all three")
    assert set(found["files"]) == {path.name for path in exported[0].iterdir()}
    card = (exported[0] / "README.md").read_text()
    assert "`label`: billing, shipping, returns" in card
    assert "customer feedback" not in card


def test_any_batch_and_length_gives_what_pytorch_gives(stock: Path, tmp_path: Path) -> None:
    done = export(stock, "--out", tmp_path / "bundle", "--quantise", "none", "--unverified")
    assert done.exit_code == 0, done.stderr
    ours, theirs = onnx_forward(tmp_path / "bundle" / "model.onnx"), torch_forward(load_checkpoint(stock).model)
    for batch, length in ((1, 2), (2, 1), (5, 13), (3, 29), (11, 7), (1, 48)):
        ids = np.random.default_rng(batch).integers(0, 20, (batch, length))
        mask = np.ones_like(ids)
        mask[-1, length // 2 + 1 :] = 0
        assert ours(ids, mask)["label"] == pytest.approx(theirs(ids, mask)["label"], abs=1e-4), (batch, length)


def test_a_url_gives_the_same_graph_as_the_folder(stock: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(stock), "/models/support", recursive=True)
    for number, source in enumerate((str(stock), "memory://models/support")):
        done = export(source, "--out", tmp_path / str(number), "--unverified")
        assert done.exit_code == 0, done.stderr
    folder, url = (load_bundle(tmp_path / str(number)).manifest for number in range(2))
    assert url.sha256 == folder.sha256
    assert url.source_checkpoint == "support"


def test_a_damaged_quantisation_fails_its_gate_and_leaves_no_bundle(
    stock: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = quantise.quantise_int8

    def damaging(source: Path, target: Path, keep_fp32: tuple[str, ...] = ()) -> None:
        sound(source, target, keep_fp32)
        model = onnx.load(target)
        lookup = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("/int8"))
        lookup.CopyFrom(numpy_helper.from_array(np.flip(numpy_helper.to_array(lookup)).copy(), lookup.name))
        onnx.save(model, target)

    monkeypatch.setattr(quantise, "quantise_int8", damaging)
    done = export(stock, "--out", tmp_path / "bundle", "--data", data, "--json")
    assert done.exit_code == 1
    failed = {gate["name"] for gate in json.loads(done.stdout)["gates"] if not gate["passed"]}
    assert {"label_label_agreement", "label_accuracy_loss"} <= failed
    assert "label_label_agreement" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_ours_make_it_our_head(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(write_stock_checkpoint(tmp_path / "sentiment", SENTIMENTS))
    assert checkpoint.heads == {"sentiment": SENTIMENTS}


def test_a_vocabulary_is_tokenizer_enough(stock: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(stock, old)
    (old / "tokenizer.json").unlink()
    found, expected = (load_checkpoint(folder).encoder.encode(["my parcel is late"])[0].ids for folder in (old, stock))
    assert found == expected


def of_config(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (of_config(lambda config: config.pop("id2label")), r"config.json: id2label is missing; write"),
        (
            of_config(lambda config: config.update(id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})),
            r"config.json: .*placeholder LABEL_0; write",
        ),
        (
            of_config(lambda config: config.update(id2label=dict(zip("012", reversed(LABELS), strict=True)))),
            r"config.json: label2id contradicts id2label; find out",
        ),
        (
            of_config(lambda config: (config["id2label"].update({"3": "other"}), config["label2id"].update(other=3))),
            r"model.safetensors: classifier.bias is not \[4\], as config.json asks; .* another checkpoint",
        ),
        (of_config(lambda config: config.update(architectures=["DistilBertForMaskedLM"])), r"config.json: .*give a"),
        (
            of_config(lambda config: config.update(problem_type="multi_label_classification")),
            r"config.json: problem_type is multi_label",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), r"config.json: no JSON"),
        (lambda folder: (folder / "config.json").unlink(), r"config.json: cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model.safetensors: missing; copy"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no weights"), r"model.safetensors: cannot be"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), r"tokenizer.json: .*copy it again"),
    ],
)
def test_a_checkpoint_that_does_not_hold_together_is_refused(
    stock: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(stock, spoiled)
    spoil(spoiled)
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(spoiled)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("memory://nowhere/at/all", "memory://nowhere/at/all/: cannot be fetched (no such folder); check"),
        ("no/such/folder", "no/such/folder: no such folder; give"),
        ("gopher://host/model", "gopher://host/model: "),
    ],
)
def test_a_checkpoint_that_is_not_there_is_one_line(source: str, said: str, tmp_path: Path) -> None:
    done = export(source, "--out", tmp_path / "bundle", "--unverified")
    assert done.exit_code == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "bundle").exists()


def test_rows_with_other_labels_are_no_evidence(stock: Path, tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "my order", "label": "praise", "split": "validation"}\n')
    done = export(stock, "--out", tmp_path / "bundle", "--data", data)
    assert done.exit_code == 1
    assert f"{data}: the label 'praise' of head label is none of the model's" in done.stderr
    data.write_text('{"text": "my order", "sentiment": "positive", "split": "validation"}\n')
    done = export(stock, "--out", tmp_path / "bundle", "--data", data)
    assert done.exit_code == 1
    assert "has a label of head label" in done.stderr
