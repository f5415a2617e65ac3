import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from consumer.inference.bundle import load_bundle, require_feedback_heads
from consumer.inference.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, BundleError
from schemas.labels import HEADS
from tests.inference import onnx_graph
from tests.inference.tiny_bundle import OPSET, write_manifest


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and make its hashes right again."""
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    change(manifest)
    write_manifest(folder, manifest)


def replace(folder: Path, name: str, content: bytes) -> None:
    """Replace a file by another whose hash the manifest knows."""
    (folder / name).write_bytes(content)
    change_manifest(folder, lambda _: None)


def change_labels(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    heads = json.loads((folder / LABELS_FILE).read_text())["heads"]
    change(heads)
    replace(folder, LABELS_FILE, json.dumps({"heads": heads}).encode())


def fixed_length_graph() -> bytes:
    inputs = [onnx_graph.int64_value(name, ["batch", 8]) for name in ("input_ids", "attention_mask")]
    node = onnx_graph.node("Cast", ["input_ids"], ["sentiment_logits"], {"to": 1})
    output = onnx_graph.float_value("sentiment_logits", ["batch", 8])
    return onnx_graph.model(onnx_graph.graph([node], [], inputs, [output]), opset=OPSET)


def tokenizer_without_special_tokens(folder: Path) -> bytes:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.save(str(folder / "other.json"))
    return (folder / "other.json").read_bytes()


def head(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["heads"]["category"]
    return spec


def drop_a_category(folder: Path) -> None:
    """Seven categories, said alike by labels and probes, for a graph that has eight."""
    change_manifest(folder, lambda manifest: [probe["probabilities"]["category"].pop() for probe in manifest["probes"]])
    change_labels(folder, lambda heads: heads["category"].pop())


BREAKINGS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no manifest": (lambda f: (f / MANIFEST_FILE).unlink(), MANIFEST_FILE, "cannot be read"),
    "manifest is no JSON": (lambda f: (f / MANIFEST_FILE).write_text("{"), MANIFEST_FILE, "Invalid JSON"),
    "unknown format": (lambda f: change_manifest(f, lambda m: m.update(format_version=2)), MANIFEST_FILE, "format_ver"),
    "path in files": (
        lambda f: (f / MANIFEST_FILE).write_text(
            (f / MANIFEST_FILE).read_text().replace('"model.onnx"', '"../model.onnx"')
        ),
        MANIFEST_FILE,
        "files",
    ),
    "model missing": (lambda f: (f / MODEL_FILE).unlink(), MODEL_FILE, "copy the whole bundle"),
    "model damaged": (lambda f: (f / MODEL_FILE).write_bytes(b"x"), MODEL_FILE, "sha256"),
    "tokenizer damaged": (lambda f: (f / TOKENIZER_FILE).write_bytes(b"x"), TOKENIZER_FILE, "sha256"),
    "labels damaged": (lambda f: (f / LABELS_FILE).write_bytes(b"x"), LABELS_FILE, "sha256"),
    "no model": (lambda f: replace(f, MODEL_FILE, b"x"), MODEL_FILE, "not a graph that"),
    "no tokenizer": (lambda f: replace(f, TOKENIZER_FILE, b"{}"), TOKENIZER_FILE, "not a tokenizer that"),
    "no special tokens": (
        lambda f: replace(f, TOKENIZER_FILE, tokenizer_without_special_tokens(f)),
        TOKENIZER_FILE,
        "post-processor",
    ),
    "head without labels": (lambda f: change_labels(f, lambda h: h.update(category=[])), LABELS_FILE, "head category"),
    "label twice": (lambda f: change_labels(f, lambda h: h.update(category=["a", "a"])), LABELS_FILE, "twice"),
    "other heads": (lambda f: change_labels(f, lambda h: h.pop("category")), LABELS_FILE, "the heads are"),
    "probe without a label": (
        lambda f: change_labels(f, lambda h: h["category"].pop()),
        MANIFEST_FILE,
        "one probability for each label",
    ),
    "fewer labels than columns": (drop_a_category, MODEL_FILE, "7 labels"),
    "unknown output": (
        lambda f: change_manifest(f, lambda m: head(m).update(output="elsewhere")),
        MODEL_FILE,
        "elsewhere",
    ),
    "other inputs": (
        lambda f: change_manifest(f, lambda m: m["inputs"].append("token_type_ids")),
        MODEL_FILE,
        "the graph's inputs",
    ),
    "fixed length": (lambda f: replace(f, MODEL_FILE, fixed_length_graph()), MODEL_FILE, "dynamic axes"),
}


@pytest.mark.parametrize(("breaking", "name", "reason"), BREAKINGS.values(), ids=BREAKINGS.keys())
def test_a_broken_bundle_is_refused_with_the_file_and_the_reason(
    folder: Path, breaking: Callable[[Path], object], name: str, reason: str
) -> None:
    breaking(folder)

    with pytest.raises(BundleError) as refused:
        load_bundle(folder)

    assert str(folder / name) in str(refused.value)
    assert reason in str(refused.value)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        load_bundle(tmp_path / "nowhere")


def test_only_the_three_feedback_heads_in_their_order_may_run(folder: Path) -> None:
    require_feedback_heads(load_bundle(folder))

    change_labels(folder, lambda heads: heads["sentiment"].reverse())
    with pytest.raises(BundleError, match="sentiment"):
        require_feedback_heads(load_bundle(folder))


def test_a_bundle_with_fewer_heads_loads_but_may_not_run(folder: Path) -> None:
    def drop_category(manifest: dict[str, Any]) -> None:
        manifest["heads"].pop("category")
        for probe in manifest["probes"]:
            probe["probabilities"].pop("category")

    change_labels(folder, lambda heads: heads.pop("category"))
    change_manifest(folder, drop_category)

    with pytest.raises(BundleError, match="the heads are sentiment, constructive"):
        require_feedback_heads(load_bundle(folder))


def test_the_graph_is_run_so_a_declared_shape_alone_does_not_pass(folder: Path) -> None:
    """A graph whose outputs forget the batch: declared right, wrong when run."""
    tables = [onnx_graph.tensor(str(head), np.zeros((1, len(labels)), np.float32)) for head, labels in HEADS.items()]
    nodes = [onnx_graph.node("Identity", [str(head)], [f"{head}_logits"]) for head in HEADS]
    inputs = [onnx_graph.int64_value(name, ["batch", "length"]) for name in ("input_ids", "attention_mask")]
    outputs = [onnx_graph.float_value(f"{head}_logits", ["batch", len(labels)]) for head, labels in HEADS.items()]
    graph = onnx_graph.model(onnx_graph.graph(nodes, tables, inputs, outputs), opset=OPSET)
    replace(folder, MODEL_FILE, graph)

    with pytest.raises(BundleError, match=r"sentiment_logits has the shape \[1, 3\] for 2 texts"):
        load_bundle(folder)
