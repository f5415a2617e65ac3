"""From a checkpoint to a bundle, and the gates that stand between."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="export needs the extra 'export'")
pytest.importorskip("optimum", reason="export needs the extra 'export'")

import onnx
from onnx import numpy_helper
from typer.testing import CliRunner

from consumer.inference.bundle import load_bundle, require_feedback_heads
from model_export import quantise
from model_export.calibration import fit_temperature
from model_export.commands import app
from model_export.export import ExportError, assert_open_shapes
from model_export.metrics import softmax
from tests.model.conftest import TinyRun
from training.evaluate import evaluate_model

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


def export(tiny_run: TinyRun, out: Path, *options: str, checkpoint: Path | None = None) -> tuple[int, str]:
    arguments = [str(checkpoint or tiny_run.checkpoint), "--out", str(out), *options]
    if "--unverified" not in options:
        arguments += ["--data", str(tiny_run.data)]
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stderr


@pytest.fixture(scope="module")
def exported(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "tiny"
    code, said = export(tiny_run, out, "--name", "tiny", "--version", "7")
    assert code == 0, said
    return out


def test_the_bundle_is_what_the_consumer_loads(exported: Path, tiny_run: TinyRun) -> None:
    bundle = load_bundle(exported)
    require_feedback_heads(bundle)
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.quantisation, manifest.max_length) == ("tiny", "7", "int8", 24)
    assert manifest.parity["category_label_agreement"]["figure"] >= 0.99
    assert {"authored", "MIT"} <= set((exported / "README.md").read_text().replace("|", " ").split())
    assert evaluate_model(exported, tiny_run.data, "dev")["category"]["accuracy"] == 1.0


def test_the_same_checkpoint_gives_the_same_graph(exported: Path, tiny_run: TinyRun, tmp_path: Path) -> None:
    code, said = export(tiny_run, tmp_path / "again", "--name", "tiny", "--version", "7")
    assert code == 0, said
    assert load_bundle(tmp_path / "again").manifest.sha256 == load_bundle(exported).manifest.sha256


def test_a_damaged_quantisation_fails_its_gates_and_leaves_the_old_bundle(
    exported: Path, tiny_run: TinyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = quantise.quantise_int8

    def damaging(source: Path, target: Path, keep_fp32: tuple[str, ...] = ()) -> None:
        sound(source, target, keep_fp32)
        model = onnx.load(target)
        for initializer in model.graph.initializer:
            values = numpy_helper.to_array(initializer)
            if values.dtype in (np.int8, np.uint8) and values.ndim == 2:
                initializer.CopyFrom(numpy_helper.from_array(np.flip(values).copy(), initializer.name))
        onnx.save(model, target)

    out = tmp_path / "live"
    shutil.copytree(exported, out)
    monkeypatch.setattr(quantise, "quantise_int8", damaging)
    code, said = export(tiny_run, out)
    assert code == 1
    assert "category_label_agreement" in said
    assert load_bundle(out).manifest == load_bundle(exported).manifest
    assert list(tmp_path.iterdir()) == [out]


def test_a_mislabelled_checkpoint_is_refused(tiny_run: TinyRun, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(tiny_run.checkpoint, checkpoint)
    config = json.loads((checkpoint / "config.json").read_text())
    config["heads"]["sentiment"].reverse()
    (checkpoint / "config.json").write_text(json.dumps(config))
    code, said = export(tiny_run, tmp_path / "bundle", checkpoint=checkpoint)
    assert code == 1
    assert "sentiment" in said
    assert not (tmp_path / "bundle").exists()


def test_rows_that_were_trained_on_are_no_evidence(tiny_run: TinyRun, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(tiny_run.checkpoint, checkpoint)
    (checkpoint / "validation.txt").unlink()
    code, said = export(tiny_run, tmp_path / "bundle", checkpoint=checkpoint)
    assert code == 1
    assert "kept aside" in said


def test_without_data_only_when_told_so(tiny_run: TinyRun, tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, [str(tiny_run.checkpoint), "--out", str(tmp_path / "bundle")])
    assert refused.exit_code == 2
    assert not (tmp_path / "bundle").exists()
    code, said = export(tiny_run, tmp_path / "bundle", "--unverified", "--quantise", "none")
    assert code == 0, said
    assert load_bundle(tmp_path / "bundle").manifest.metrics == {"unverified": True}


def test_a_folder_that_is_no_bundle_is_not_replaced(tiny_run: TinyRun, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    code, said = export(tiny_run, tmp_path, "--unverified")
    assert code == 1
    assert "no bundle" in said
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_frozen_axis_is_named() -> None:
    frozen = onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT64, ["batch", 16])
    mask = onnx.helper.make_tensor_value_info("attention_mask", onnx.TensorProto.INT64, ["batch", "length"])
    output = onnx.helper.make_tensor_value_info("sentiment_logits", onnx.TensorProto.FLOAT, ["batch", 3])
    graph = onnx.helper.make_graph([], "graph", [frozen, mask], [output])
    with pytest.raises(ExportError, match="input_ids"):
        assert_open_shapes(onnx.helper.make_model(graph), ("sentiment",))


def test_the_temperature_undoes_overconfidence() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 3))
    columns = np.array([random.choice(3, p=row) for row in softmax(logits)])
    assert fit_temperature(logits * 2.5, columns) == pytest.approx(2.5, rel=0.1)
