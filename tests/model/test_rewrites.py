"""What is rewritten before quantisation computes the same, and loses less by it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch", reason="export needs the extra 'export'")
pytest.importorskip("optimum", reason="export needs the extra 'export'")

import onnx
from onnx import TensorProto, helper, numpy_helper

from consumer.inference.encoding import EncodedText
from model_export.embeddings import quantise_embeddings
from model_export.outliers import relieve_outliers
from model_export.quantise import quantise_int8

WORDS, DIM, OUT = 200, 64, 32
IDS = np.random.default_rng(1).integers(0, WORDS, (4, 20))
TEXTS = [EncodedText(row.tolist(), truncated=False) for row in IDS]


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A lookup and a product; three channels of the looked-up vectors are twenty times larger than the rest."""
    random = np.random.default_rng(0)
    table = random.normal(size=(WORDS, DIM)).astype(np.float32)
    table[:, [3, 17, 40]] *= 20
    weight = random.normal(size=(DIM, OUT)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["vectors"], name="lookup"),
        helper.make_node("MatMul", ["vectors", "weight"], ["product"], name="product"),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Unsqueeze", ["mask", "axes"], ["mask3"], name="unsqueeze"),
        helper.make_node("Mul", ["product", "mask3"], ["output"], name="masked"),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", "length", OUT])
    tensors = [
        numpy_helper.from_array(values, name)
        for values, name in ((table, "table"), (weight, "weight"), (np.array([2]), "axes"))
    ]
    path = tmp_path / "graph.onnx"
    model = helper.make_model(
        helper.make_graph(nodes, "graph", inputs, [output], tensors), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, path)
    return path


def run(path: Path) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input_ids": IDS, "attention_mask": np.ones_like(IDS)})[0])


def error(path: Path, reference: NDArray[Any]) -> float:
    return float(np.sqrt(np.square(run(path) - reference).mean() / np.square(reference).mean()))


def test_split_outliers_compute_the_same_and_cost_int8_less(graph: Path, tmp_path: Path) -> None:
    reference = run(graph)
    relieved, plain_int8, relieved_int8 = (tmp_path / name for name in ("relieved", "plain-int8", "relieved-int8"))
    relieve_outliers(graph, relieved, TEXTS)
    assert error(relieved, reference) < 1e-6
    quantise_int8(graph, plain_int8)
    quantise_int8(relieved, relieved_int8)
    assert error(relieved_int8, reference) < error(plain_int8, reference) / 3


def test_every_word_keeps_its_own_scale(graph: Path, tmp_path: Path) -> None:
    model = onnx.load(graph)
    table = numpy_helper.to_array(model.graph.initializer[0]).copy()
    table[:100] /= 1000
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(table, "table"))
    onnx.save(model, graph)
    quantise_embeddings(graph, tmp_path / "quantised")
    found, expected = run(tmp_path / "quantised"), run(graph)
    small = IDS < 100
    assert np.abs(found - expected)[small].max() < np.abs(expected[small]).max() / 50
    # The table is a quarter of what it was.
    assert (tmp_path / "quantised").stat().st_size < graph.stat().st_size / 2
