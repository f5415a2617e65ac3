"""Bundles that somebody prepared. Each is whole by its hashes: what is wrong with it stands in the files themselves."""

import json
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from consumer.inference import limits
from consumer.inference.manifest import LABELS_FILE, MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE
from schemas.labels import HEADS
from tests.inference import onnx_graph
from tests.inference.onnx_graph import _field as field
from tests.inference.test_bundle import change_labels, change_manifest, replace
from tests.inference.tiny_bundle import OPSET

Breaking = Callable[[Path], object]
Case = tuple[Breaking, str, str]
"""How a good bundle is spoilt, the file that the refusal names, and words of its reason."""

_GRAPH, _MICROSOFT = 7, "com.microsoft"


def model(
    nodes: Sequence[bytes],
    tensors: Sequence[bytes] = (),
    *,
    in_graph: bytes = b"",
    in_model: bytes = b"",
) -> bytes:
    """A graph with the right inputs and outputs, and these nodes and tensors; `in_*` is added as it stands."""
    inputs = [onnx_graph.int64_value(name, ["batch", "length"]) for name in ("input_ids", "attention_mask")]
    outputs = [onnx_graph.float_value(f"{head}_logits", ["batch", len(labels)]) for head, labels in HEADS.items()]
    graph = onnx_graph.graph(nodes, tensors, inputs, outputs) + in_graph
    return onnx_graph.model(graph, opset=OPSET) + in_model


def heads_of(value: str) -> tuple[list[bytes], list[bytes]]:
    """Nodes and tensors that make the three outputs, right in shape, from a float value [batch]."""
    tensors = [onnx_graph.tensor("last_axis", np.array([1], np.int64))]
    nodes = [onnx_graph.node("Unsqueeze", [value, "last_axis"], ["column"])]
    for head, labels in HEADS.items():
        tensors.append(onnx_graph.tensor(f"{head}_ones", np.ones((1, len(labels)), np.float32)))
        nodes.append(onnx_graph.node("MatMul", ["column", f"{head}_ones"], [f"{head}_logits"]))
    return nodes, tensors


def sum_of_mask() -> tuple[list[bytes], list[bytes]]:
    """Nodes and tensors that end in `sum`, a float value [batch]."""
    nodes = [
        onnx_graph.node("Cast", ["attention_mask"], ["floats"], {"to": 1}),
        onnx_graph.node("ReduceSum", ["floats", "length_axis"], ["sum"], {"keepdims": 0}),
    ]
    return nodes, [onnx_graph.tensor("length_axis", np.array([1], np.int64))]


def good_model(*, nodes: Sequence[bytes] = (), tensors: Sequence[bytes] = (), **added: bytes) -> bytes:
    """A model that runs; what is added stands beside what it needs."""
    first_nodes, first_tensors = sum_of_mask()
    last_nodes, last_tensors = heads_of("sum")
    return model([*first_nodes, *nodes, *last_nodes], [*first_tensors, *tensors, *last_tensors], **added)


def tensor_fields(name: str, dims: Sequence[int], *, data_type: int = 1, data: bytes = b"") -> bytes:
    """A TensorProto whose fields need not fit each other."""
    return b"".join(field(1, size) for size in dims) + field(2, data_type) + field(8, name.encode()) + data


def attribute(name: str, value: bytes) -> bytes:
    """A NodeProto's attribute field."""
    return field(5, field(1, name.encode()) + value)


def with_graph(operator: str) -> bytes:
    """An operator with a graph inside."""
    return onnx_graph.node(operator, ["sum"], ["x"]) + attribute("body", field(6, b"") + field(20, 5))


def with_operator(operator: str) -> bytes:
    return good_model(nodes=[onnx_graph.node(operator, ["sum"], ["x"])])


def with_body(operator: str) -> bytes:
    return good_model(nodes=[with_graph(operator)])


def external(location: str) -> bytes:
    """A tensor whose numbers lie in another file."""
    entry = field(13, field(1, b"location") + field(2, location.encode()))
    return tensor_fields("far", [4], data=entry + field(14, 1))


def in_domain(domain: str) -> bytes:
    return onnx_graph.node("Relu", ["sum"], ["x"]) + field(7, domain.encode())


def many_nodes() -> bytes:
    """A million nodes; 22 MB."""
    node = field(1, onnx_graph.node("Relu", ["sum"], ["x"]))
    return good_model(in_graph=node * 1_000_000)


def deep() -> bytes:
    """Ten thousand messages in each other, where a value's type is declared."""
    value_type = b""
    for _ in range(10_000):
        value_type = field(4, field(1, value_type))  # a sequence of ...
    return good_model(in_graph=field(13, field(1, b"deep") + field(2, value_type)))


def growing() -> bytes:
    """Every operator is allowed and every size follows the batch: 256 texts would take 256^4 numbers, 16 GiB."""
    nodes, tensors = sum_of_mask()
    for number, name in enumerate(("sum", "square0")):
        rank = number + 1
        fronts = list(range(rank))
        backs = [axis + rank for axis in range(rank)]
        tensors += [
            onnx_graph.tensor(f"fronts{number}", np.array(fronts, np.int64)),
            onnx_graph.tensor(f"backs{number}", np.array(backs, np.int64)),
        ]
        nodes += [
            onnx_graph.node("Unsqueeze", [name, f"fronts{number}"], [f"front{number}"]),
            onnx_graph.node("Unsqueeze", [name, f"backs{number}"], [f"back{number}"]),
            onnx_graph.node("Mul", [f"front{number}", f"back{number}"], [f"square{number}"]),
        ]
    tensors.append(onnx_graph.tensor("all_but_one", np.array([1, 2, 3], np.int64)))
    nodes.append(onnx_graph.node("ReduceSum", ["square1", "all_but_one"], ["total"], {"keepdims": 0}))
    last_nodes, last_tensors = heads_of("total")
    return model([*nodes, *last_nodes], [*tensors, *last_tensors])


def slow() -> bytes:
    """A chain of products that would take an hour."""
    weight = onnx_graph.tensor("weight", np.zeros((1_024, 1_024), np.float32))
    lift = onnx_graph.tensor("lift", np.zeros((1, 1_024), np.float32))
    drop = onnx_graph.tensor("drop", np.zeros((1_024,), np.float32))
    axis = onnx_graph.tensor("token_axis", np.array([2], np.int64))
    nodes, tensors = sum_of_mask()
    nodes += [
        onnx_graph.node("Unsqueeze", ["floats", "token_axis"], ["wide"]),
        onnx_graph.node("MatMul", ["wide", "lift"], ["product0"]),
        *(onnx_graph.node("MatMul", [f"product{n}", "weight"], [f"product{n + 1}"]) for n in range(5_000)),
        onnx_graph.node("MatMul", ["product5000", "drop"], ["dropped"]),
        onnx_graph.node("ReduceSum", ["dropped", "length_axis"], ["total"], {"keepdims": 0}),
    ]
    last_nodes, last_tensors = heads_of("total")
    return model([*nodes, *last_nodes], [*tensors, weight, lift, drop, axis, *last_tensors])


def graph_case(content: Callable[[], bytes], reason: str) -> Case:
    return lambda folder: replace(folder, MODEL_FILE, content()), MODEL_FILE, reason


def sized_by_text() -> bytes:
    """A slice whose end stands in a text: small for every text but one."""
    nodes = [
        onnx_graph.node("ReduceSum", ["input_ids"], ["end"], {"keepdims": 0}),
        onnx_graph.node("Unsqueeze", ["end", "length_axis"], ["ends"]),
        onnx_graph.node("Slice", ["floats", "length_axis", "ends"], ["x"]),
    ]
    return good_model(nodes=nodes)


GRAPHS: Final[dict[str, Case]] = {
    "external data elsewhere": graph_case(lambda: good_model(tensors=[external("../../etc/passwd")]), "outside the fi"),
    "external data beside it": graph_case(lambda: good_model(tensors=[external("weights.bin")]), "outside the file"),
    "external data beside the numbers": graph_case(
        lambda: good_model(tensors=[tensor_fields("far", [1], data=field(9, b"\0" * 4) + field(13, b""))]), "outside"
    ),
    "external data, only said": graph_case(
        lambda: good_model(tensors=[tensor_fields("far", [1], data=field(9, b"\0" * 4) + field(14, 1))]), "outside"
    ),
    "external data in a node": graph_case(
        lambda: good_model(
            nodes=[onnx_graph.node("Relu", ["sum"], ["x"]) + attribute("value", field(5, external("/etc/passwd")))]
        ),
        "outside the file",
    ),
    "custom domain": graph_case(lambda: good_model(nodes=[in_domain("evil.ops")]), "'Relu' of 'evil.ops'"),
    "operator of Microsoft's": graph_case(lambda: good_model(nodes=[in_domain(_MICROSOFT)]), "'Relu' of 'com.micro"),
    **{
        name: graph_case(partial(with_operator, name), f"'{name}'")
        for name in ("Tile", "Expand", "ConstantOfShape", "Range", "Resize", "Pad", "RandomNormal", "StringConcat")
    },
    **{name: graph_case(partial(with_body, name), f"'{name}'") for name in ("If", "Loop", "Scan")},
    "a graph in an allowed node": graph_case(lambda: good_model(nodes=[with_graph("Relu")]), "field 6 has no place"),
    "functions": graph_case(lambda: good_model(in_model=field(25, field(1, b"Relu"))), "field 25 has no place"),
    "training": graph_case(lambda: good_model(in_model=field(20, b"")), "field 20 has no place"),
    "sparse tensor": graph_case(lambda: good_model(in_graph=field(15, b"")), "field 15 has no place"),
    "two graphs": graph_case(lambda: good_model(in_model=field(_GRAPH, b"")), "field 7 stands twice"),
    "a name for a terminal": graph_case(
        lambda: good_model(nodes=[onnx_graph.node("\x1b[2J\x1b]0;owned\x07", ["sum"], ["x"])]), r"'\x1b[2J"
    ),
    "10^12 numbers in 100 bytes": graph_case(
        lambda: good_model(tensors=[tensor_fields("huge", [1_000_000, 1_000_000])]), "1,000,000,000,000 numbers"
    ),
    "more numbers than any file": graph_case(
        lambda: good_model(tensors=[tensor_fields("huge", [2**62])]), "larger than any file"
    ),
    "a negative dimension": graph_case(
        lambda: good_model(tensors=[tensor_fields("less", [2**64 - 1])]), "larger than any file"
    ),
    "thousands of dimensions": graph_case(
        lambda: good_model(tensors=[tensor_fields("deep", [1] * 5_000)]), "more than 8 dimensions"
    ),
    "fewer numbers than declared": graph_case(
        lambda: good_model(tensors=[tensor_fields("short", [4], data=field(9, b"\0" * 12))]), "declares 4 numbers"
    ),
    "more numbers than declared": graph_case(
        lambda: good_model(tensors=[tensor_fields("long", [4], data=field(9, b"\0" * 20))]), "declares 4 numbers"
    ),
    "numbers twice": graph_case(
        lambda: good_model(tensors=[tensor_fields("twice", [1], data=field(9, b"\0" * 4) + field(4, b"\0" * 4))]),
        "in two ways",
    ),
    "a tensor of texts": graph_case(
        lambda: good_model(tensors=[tensor_fields("texts", [1], data_type=8, data=b"")]), "type 8"
    ),
    "a value made twice": graph_case(
        lambda: good_model(nodes=[onnx_graph.node("Relu", ["sum"], ["floats"])]), "'floats' is made twice"
    ),
    "sized by a text": graph_case(sized_by_text, "Slice takes a size from what stands in a text"),
    "a million nodes": graph_case(many_nodes, "more than 10,000 nodes"),
    "a million tensors": graph_case(
        lambda: good_model(in_graph=field(5, tensor_fields("t", [0])) * 200_000), "'t' is made twice"
    ),
    "a million values": graph_case(lambda: good_model(in_graph=field(13, b"") * 1_000_000), "30,000 declared values"),
    "cut off": graph_case(lambda: good_model()[:-3], "ends after"),
    "a number without end": graph_case(lambda: good_model(in_model=b"\x28" + b"\xff" * 12), "a number is cut off"),
    "onnxruntime's own format": graph_case(lambda: b"\x18\x00\x00\x00ORTM" + b"\0" * 64, "is not written as"),
    "nothing": graph_case(lambda: b"", "holds no graph"),
}


def change_tokenizer(change: Callable[[dict[str, Any]], object], reason: str) -> Case:
    def spoil(folder: Path) -> None:
        tokenizer = json.loads((folder / TOKENIZER_FILE).read_text())
        change(tokenizer)
        replace(folder, TOKENIZER_FILE, json.dumps(tokenizer).encode())

    return spoil, TOKENIZER_FILE, reason


def tokenizer_bytes(content: Callable[[], bytes], reason: str) -> Case:
    return lambda folder: replace(folder, TOKENIZER_FILE, content()), TOKENIZER_FILE, reason


_BACKTRACKING: Final = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b"}
_GROWTH: Final = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1_000_000}


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "NFC"}
    for _ in range(depth):
        found = {"type": "Sequence", "normalizers": [found]}
    return found


def crowd(tokenizer: dict[str, Any]) -> None:
    tokenizer["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [2] * 100_000
    tokenizer["post_processor"]["special_tokens"]["[CLS]"]["tokens"] = ["[CLS]"] * 100_000


def repeat_text(tokenizer: dict[str, Any]) -> None:
    tokenizer["post_processor"]["single"] = [{"Sequence": {"id": "A", "type_id": 0}}] * 100_000


TOKENIZERS: Final[dict[str, Case]] = {
    "catastrophic backtracking": change_tokenizer(lambda t: t.update(normalizer=_BACKTRACKING), "normalizer 'Replace'"),
    "the same in a sequence": change_tokenizer(
        lambda t: t.update(normalizer={"type": "Sequence", "normalizers": [_BACKTRACKING]}), "normalizer 'Replace'"
    ),
    "a text a million times as long": change_tokenizer(lambda t: t.update(normalizer=_GROWTH), "normalizer 'Replace'"),
    "something before each text": change_tokenizer(
        lambda t: t.update(normalizer={"type": "Prepend", "prepend": "a" * 1_000_000}), "normalizer 'Prepend'"
    ),
    "a character map": change_tokenizer(
        lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "'Precompiled'"
    ),
    "nested normalizers": change_tokenizer(lambda t: t.update(normalizer=nested(50)), "normalizer 'Sequence'"),
    "a thousand normalizers": change_tokenizer(
        lambda t: t.update(normalizer={"type": "Sequence", "normalizers": [{"type": "NFKD"}] * 1_000}), "8 normalizers"
    ),
    "splitting by its own expression": change_tokenizer(
        lambda t: t.update(
            pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a|a)*b"}, "behavior": "Removed", "invert": False}
        ),
        "pre_tokenizer 'Split'",
    ),
    "a decoder with an expression": change_tokenizer(lambda t: t.update(decoder=_BACKTRACKING), "decoder 'Replace'"),
    "another kind of model": change_tokenizer(
        lambda t: t.update(model={"type": "Unigram", "vocab": [], "unk_id": None}), "model 'Unigram'"
    ),
    "no kind at all": change_tokenizer(lambda t: t["model"].pop("type"), "model 'None'"),
    "a kind that is a list": change_tokenizer(lambda t: t["model"].update(type=["WordPiece"]), "the model"),
    "words of a million characters": change_tokenizer(
        lambda t: t["model"].update(max_input_chars_per_word=1_000_000), "100 characters in a word"
    ),
    "a long word": change_tokenizer(lambda t: t["model"]["vocab"].update({"a" * 1_000: 5}), "100 characters"),
    "a word without a number": change_tokenizer(lambda t: t["model"]["vocab"].update(a=2**40), "no number"),
    "10^5 tokens around a text": change_tokenizer(crowd, "8 tokens around"),
    "a text 10^5 times": change_tokenizer(repeat_text, "100,000 times"),
    "ten thousand added words": change_tokenizer(
        lambda t: t.update(added_tokens=[{"id": n, "content": f"w{n}"} for n in range(10_000)]), "1,000 added words"
    ),
    "a part of its own": change_tokenizer(lambda t: t.update(plugin="os.system"), "'plugin' is unknown"),
    "300,000 words": tokenizer_bytes(
        lambda: b'{"model":{"type":"WordPiece","vocab":{' + b",".join(b'"%07x":1' % n for n in range(300_000)) + b"}}}",
        "more than 250,000 words",
    ),
    "depth": tokenizer_bytes(lambda: b'{"normalizer":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deep"),
    "keys twice": tokenizer_bytes(lambda: b'{"normalizer": null, "normalizer": {"type": "Replace"}}', "twice"),
    "no text": tokenizer_bytes(lambda: b"\xff\xfe{}", "Invalid JSON"),
    "more than 16 MiB": tokenizer_bytes(lambda: b" " * (limits.MAX_TOKENIZER_BYTES + 1), "more than the 16,777,216"),
}


def rewrite_manifest(change: Callable[[str], str]) -> Breaking:
    def spoil(folder: Path) -> None:
        (folder / MANIFEST_FILE).write_text(change((folder / MANIFEST_FILE).read_text()))

    return spoil


def file_named(name: str, reason: str = "files") -> Case:
    def spoil(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST_FILE).read_text())
        manifest["files"][name] = "0" * 64
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest))

    return spoil, MANIFEST_FILE, reason


def sparse(name: str, size: int) -> Breaking:
    """A file of so many zeros, which takes no room on the disk."""

    def spoil(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return spoil


def link(name: str, target: str) -> Breaking:
    def spoil(folder: Path) -> None:
        (folder.parent / "neighbour.json").write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return spoil


def other_kind(name: str, make: Callable[[Path], object]) -> Breaking:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the address of a socket is short
        server.bind(path.name)
        os.chdir(here)


FILES: Final[dict[str, Case]] = {
    **{
        f"a file named {name!r}": file_named(name)
        for name in (
            "../x",
            "..",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "C:\\x",
            "a\0b",
            ".hidden",
            "model.onnx\n",
            "",
            "ü",
            "a" * 101,
        )
    },
    **{f"a file named {name!r}": file_named(name, "a device") for name in ("NUL", "con.json", "Com1", "lpt9.tar.gz")},
    "a thousand files": (
        lambda f: change_manifest_files(f, {f"f{n}": "0" * 64 for n in range(1_000)}),
        MANIFEST_FILE,
        "files",
    ),
    "a link to /etc/passwd": (link(TOKENIZER_FILE, "/etc/passwd"), TOKENIZER_FILE, "leads out of the bundle"),
    "a link to the folder above": (link(LABELS_FILE, "../neighbour.json"), LABELS_FILE, "leads out of the bundle"),
    "a link in a circle": (link(MODEL_FILE, MODEL_FILE), MODEL_FILE, "cannot be read"),
    "a linked manifest": (link(MANIFEST_FILE, "/etc/hostname"), MANIFEST_FILE, "leads out of the bundle"),
    "a pipe": (other_kind(MODEL_FILE, os.mkfifo), MODEL_FILE, "no regular file"),
    "a pipe as manifest": (other_kind(MANIFEST_FILE, os.mkfifo), MANIFEST_FILE, "no regular file"),
    "a device": (link(MODEL_FILE, "/dev/zero"), MODEL_FILE, "leads out of the bundle"),
    "a folder": (other_kind(TOKENIZER_FILE, Path.mkdir), TOKENIZER_FILE, "no regular file"),
    "a socket": (other_kind(LABELS_FILE, listen), LABELS_FILE, "no regular file"),
    "a manifest of 1 GB": (sparse(MANIFEST_FILE, 10**9), MANIFEST_FILE, "1,000,000,000 bytes, more than"),
    "labels of 1 GB": (sparse(LABELS_FILE, 10**9), LABELS_FILE, "1,000,000,000 bytes, more than"),
    "a tokenizer of 1 GB": (sparse(TOKENIZER_FILE, 10**9), TOKENIZER_FILE, "1,000,000,000 bytes, more than"),
    "a graph of 2 GB": (sparse(MODEL_FILE, 2 * 10**9), MODEL_FILE, "2,000,000,000 bytes, more than"),
    "a deep manifest": (
        lambda f: (f / MANIFEST_FILE).write_bytes(b'{"metrics":' * 50_000 + b"1" + b"}" * 50_000),
        MANIFEST_FILE,
        "too deep",
    ),
    "deep labels": (lambda f: replace(f, LABELS_FILE, b"[" * 30_000 + b"]" * 30_000), LABELS_FILE, "too deep"),
    "a key twice in the manifest": (
        rewrite_manifest(lambda text: text.replace('"name":', '"name": "good", "name":', 1)),
        MANIFEST_FILE,
        "twice",
    ),
    "a key twice in the labels": (
        lambda f: replace(f, LABELS_FILE, b'{"heads": {"sentiment": ["a"], "sentiment": ["b"]}}'),
        LABELS_FILE,
        "twice",
    ),
    "NaN in the manifest": (
        rewrite_manifest(lambda text: text.replace('"probe_tolerance": 0.001', '"probe_tolerance": NaN')),
        MANIFEST_FILE,
        "Invalid JSON",
    ),
    "a number of 5,000 digits": (
        rewrite_manifest(lambda text: text.replace('"opset": 17', f'"opset": {"9" * 5_000}')),
        MANIFEST_FILE,
        "Invalid JSON",
    ),
    "a label for a terminal": (
        lambda f: change_labels(f, lambda heads: heads.update({"sentiment": ["\x1b]52;c;!\x07", "b", "c"]})),
        LABELS_FILE,
        "heads",
    ),
    "a label of 1,000 characters": (
        lambda f: change_labels(f, lambda heads: heads.update({"sentiment": ["a" * 1_000, "b", "c"]})),
        LABELS_FILE,
        "heads",
    ),
    "a thousand probes": (
        lambda f: change_manifest(f, lambda m: m.update(probes=m["probes"] * 400)),
        MANIFEST_FILE,
        "probes",
    ),
}


def change_manifest_files(folder: Path, files: dict[str, str]) -> None:
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    manifest["files"] |= files
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))


# What no rule of bytes can tell: it is run, where little can come of it.
BOMBS: Final[dict[str, Case]] = {
    "memory": graph_case(growing, "model.onnx"),
    "depth": graph_case(deep, "model.onnx"),
}
SLOW: Final[dict[str, Case]] = {"time": graph_case(slow, "its trial was ended by")}
