"""What the trial of a bundle checks: labels, tokenizer and graph, in their bytes first and then by using them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnxruntime import InferenceSession
from tokenizers import Tokenizer

from consumer.inference.batching import DEFAULT_MAX_BATCH_TOKENS
from consumer.inference.bundle_files import parse, read_file, read_labels, require_manifest_hash
from consumer.inference.encoding import TextEncoder
from consumer.inference.graph_check import check_graph_file
from consumer.inference.manifest import (
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    BundleError,
    Labels,
    Manifest,
)
from consumer.inference.session import ATTENTION_MASK, INPUT_IDS, open_session
from consumer.inference.tokenizer_check import check_tokenizer_file

_INPUTS: Final = (INPUT_IDS, ATTENTION_MASK)
_LONG: Final = 20_000
# What tokenizers of words are slowest at: one endless word, no letters, marks upon marks, ideographs, nothing.
_HARD_TEXTS: Final = ("a" * _LONG, "!" * _LONG, "e" + "\u0301" * _LONG, "\u4e00" * _LONG, "\ufdfa" * _LONG, "")


def try_bundle(folder: Path, manifest_sha256: str) -> None:
    """Check all of a bundle that is not hashes alone.

    Raises:
        BundleError: the message names the file and says what to do.
    """
    path = folder / MANIFEST_FILE
    content = read_file(folder, MANIFEST_FILE)
    require_manifest_hash(content, manifest_sha256, str(path))
    manifest = parse(content, Manifest, str(path))
    labels = read_labels(folder, manifest)
    _check_labels(folder, manifest, labels)
    tokenizer = read_file(folder, TOKENIZER_FILE, manifest.files[TOKENIZER_FILE])
    _check_tokenizer(tokenizer, folder / TOKENIZER_FILE, manifest.max_length)
    graph = read_file(folder, MODEL_FILE, manifest.files[MODEL_FILE])
    _check_graph(graph, folder / MODEL_FILE, manifest, labels)


def _check_labels(folder: Path, manifest: Manifest, labels: Labels) -> None:
    path = folder / LABELS_FILE
    if labels.heads.keys() != manifest.heads.keys():
        raise BundleError(
            f"{path}: the heads are {_listed(labels.heads)}, {MANIFEST_FILE} says {_listed(manifest.heads)}; "
            "export the bundle again"
        )
    for head, names in labels.heads.items():
        if not names or len(set(names)) != len(names):
            raise BundleError(f"{path}: head {head} has no labels or one of them twice; export the bundle again")
    sizes = {head: len(names) for head, names in labels.heads.items()}
    for probe in manifest.probes:
        if {head: len(probabilities) for head, probabilities in probe.probabilities.items()} != sizes:
            raise BundleError(
                f"{folder / MANIFEST_FILE}: a probe does not have one probability for each label of each head of "
                f"{LABELS_FILE}; export the bundle again"
            )


def _check_tokenizer(content: bytes, path: Path, max_length: int) -> None:
    check_tokenizer_file(content, path)
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as error:  # tokenizers raises nothing more specific
        raise BundleError(f"{path}: tokenizers cannot load it ({error}); export the bundle again") from error
    if tokenizer.num_special_tokens_to_add(is_pair=False) == 0:
        raise BundleError(
            f"{path}: it adds no special tokens, so an empty text would have no token at all; export it with its "
            "post-processor"
        )
    if tokenizer.num_special_tokens_to_add(is_pair=False) >= max_length:
        raise BundleError(f"{path}: what it puts around a text fills all {max_length} tokens that the graph may see")
    TextEncoder(content, max_length_tokens=max_length).encode(_HARD_TEXTS)


def _check_graph(content: bytes, path: Path, manifest: Manifest, labels: Labels) -> None:
    check_graph_file(content, path)
    session = open_session(content, path)
    inputs = {entry.name: entry for entry in session.get_inputs()}
    if inputs.keys() != set(manifest.inputs):
        raise BundleError(
            f"{path}: the graph's inputs are {_listed(inputs)}, {MANIFEST_FILE} says {_listed(manifest.inputs)}; "
            "export the bundle again"
        )
    if inputs.keys() != set(_INPUTS):
        raise BundleError(f"{path}: the graph's inputs are {_listed(inputs)}, this version feeds {_listed(_INPUTS)}")
    for entry in inputs.values():
        if entry.type != "tensor(int64)" or len(entry.shape) != 2 or any(isinstance(size, int) for size in entry.shape):  # noqa: PLR2004 - batch and length
            raise BundleError(
                f"{path}: input {entry.name} is {entry.type} {entry.shape}, it must be int64 [batch, length] with both "
                "sizes free; export it with dynamic axes"
            )
    outputs = {entry.name for entry in session.get_outputs()}
    for head, spec in manifest.heads.items():
        if spec.output not in outputs:
            raise BundleError(
                f"{path}: the graph has no output {spec.output}, which {MANIFEST_FILE} names for head {head}; its "
                f"outputs are {_listed(outputs)}"
            )
    columns = [(spec.output, len(labels.heads[head])) for head, spec in manifest.heads.items()]
    for shape in _trial_shapes(manifest.max_length):
        _check_outputs(path, session, columns, shape)


def _trial_shapes(max_length: int) -> Iterator[tuple[int, int]]:
    """Batches, texts x tokens, smallest first.

    The rules of `graph_check` leave a graph only sizes that are polynomials of these two: between the corners of what
    a batch may be, nothing is much larger than at both ends.
    """
    yield from ((1, 2), (2, 3))  # an export that fixed a dimension by mistake fits at most one of them
    length = 1
    while length < max_length:
        yield max(1, DEFAULT_MAX_BATCH_TOKENS // length), length
        length *= 2
    yield max(1, DEFAULT_MAX_BATCH_TOKENS // max_length), max_length


def _check_outputs(
    path: Path, session: InferenceSession, columns: Sequence[tuple[str, int]], shape: tuple[int, int]
) -> None:
    feed: dict[str, Any] = {INPUT_IDS: np.zeros(shape, np.int64), ATTENTION_MASK: np.ones(shape, np.int64)}
    outputs = list(dict.fromkeys(output for output, _ in columns))
    try:
        found = dict(zip(outputs, session.run(outputs, feed), strict=True))
    except Exception as error:  # onnxruntime's errors share no base class
        raise BundleError(
            f"{path}: the graph does not run on {shape[0]} x {shape[1]} tokens ({type(error).__name__}: {error}); "
            "export it again"
        ) from error
    for output, labels in columns:
        if found[output].shape != (shape[0], labels):
            raise BundleError(
                f"{path}: output {output} has the shape {list(found[output].shape)} for {shape[0]} texts, "
                f"{LABELS_FILE} names {labels} labels; export the bundle again"
            )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
