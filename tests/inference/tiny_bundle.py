"""A bundle of a few kilobytes with the three feedback heads: random, deterministic, and quick to build and to run.

Its graph is the smallest that looks like the real one from outside: embeddings, their mean over the attention mask,
one matrix for each head. Its words are single characters, so that any two texts get different scores.
"""

import hashlib
import json
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from consumer.inference.manifest import HASHED_FILES, LABELS_FILE, MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE
from schemas.labels import HEADS
from tests.inference import onnx_graph

OPSET: Final = 17
MAX_LENGTH_TOKENS: Final = 64
TEMPERATURE: Final = 1.5
WORDS: Final = ("poison", "hang", "stuck", "nan")  # whole words, for sessions that fail on one of them
PROBE_TEXTS: Final = ("The app is great!", "It crashes when I open a photo.", "How do I change my password?")

_SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORD_IDS: Final = {word: number for number, word in enumerate(WORDS, start=len(_SPECIAL))}
_CHARACTERS: Final = string.ascii_lowercase + string.digits + string.punctuation
_WIDTH: Final = 8
_SCALE: Final = 6.0  # large enough that the labels differ from text to text


def build_tiny_bundle(folder: Path, *, version: str = "1", seed: int = 0) -> Path:
    """Write a bundle into a folder, which is made.

    Bundles of seeds 0 and 1 give any text different labels in every head: a seed turns the label columns round.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = [*_SPECIAL, *WORDS, *_CHARACTERS, *(f"##{character}" for character in _CHARACTERS)]
    random = np.random.default_rng(7)
    embedding = random.normal(size=(len(vocabulary), _WIDTH)).astype(np.float32)
    heads = {
        str(head): np.roll((_SCALE * random.normal(size=(_WIDTH, len(labels)))).astype(np.float32), seed, axis=1)
        for head, labels in HEADS.items()
    }
    tokenizer = _tokenizer(vocabulary)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    (folder / MODEL_FILE).write_bytes(_model(embedding, heads))
    (folder / LABELS_FILE).write_text(json.dumps({"heads": HEADS}))
    probes = [
        {"text": text, "probabilities": _probabilities(text, tokenizer, embedding, heads)} for text in PROBE_TEXTS
    ]
    write_manifest(
        folder,
        {
            "name": "tiny",
            "version": version,
            "created_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
            "source_checkpoint": f"random, seed {seed}",
            "opset": OPSET,
            "quantisation": "none",
            "max_length": MAX_LENGTH_TOKENS,
            "inputs": ["input_ids", "attention_mask"],
            "heads": {
                head: {
                    "output": f"{head}_logits",
                    "temperature": TEMPERATURE,
                    "review_threshold": 0.6,
                    "decides_review": head == "category",
                }
                for head in HEADS
            },
            "probes": probes,
            "probe_tolerance": 0.001,
        },
    )
    return folder


def write_manifest(folder: Path, manifest: dict[str, object]) -> None:
    """Write `manifest.json` with the hashes that the folder's files have now."""
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in HASHED_FILES}
    (folder / MANIFEST_FILE).write_text(json.dumps({**manifest, "files": hashes}, indent=1))


def _tokenizer(vocabulary: list[str]) -> Tokenizer:
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _model(embedding: NDArray[np.float32], heads: dict[str, NDArray[np.float32]]) -> bytes:
    """Mean of the embeddings where the mask is 1, times each head's matrix."""
    node = onnx_graph.node
    nodes = [
        node("Gather", ["embedding", "input_ids"], ["tokens"]),
        node("Cast", ["attention_mask"], ["mask"], {"to": 1}),
        node("Unsqueeze", ["mask", "last_axis"], ["wide_mask"]),
        node("Mul", ["tokens", "wide_mask"], ["kept"]),
        node("ReduceSum", ["kept", "length_axis"], ["sum"], {"keepdims": 0}),
        node("ReduceSum", ["wide_mask", "length_axis"], ["count"], {"keepdims": 0}),
        node("Div", ["sum", "count"], ["mean"]),
        *(node("MatMul", ["mean", f"{head}_weight"], [f"{head}_logits"]) for head in heads),
    ]
    tensors = [
        onnx_graph.tensor("embedding", embedding),
        onnx_graph.tensor("length_axis", np.array([1], np.int64)),
        onnx_graph.tensor("last_axis", np.array([2], np.int64)),
        *(onnx_graph.tensor(f"{head}_weight", weight) for head, weight in heads.items()),
    ]
    inputs = [onnx_graph.int64_value(name, ["batch", "length"]) for name in ("input_ids", "attention_mask")]
    outputs = [onnx_graph.float_value(f"{head}_logits", ["batch", weight.shape[1]]) for head, weight in heads.items()]
    return onnx_graph.model(onnx_graph.graph(nodes, tensors, inputs, outputs), opset=OPSET)


def _probabilities(
    text: str, tokenizer: Tokenizer, embedding: NDArray[np.float32], heads: dict[str, NDArray[np.float32]]
) -> dict[str, list[float]]:
    mean = embedding[tokenizer.encode(text).ids].mean(axis=0)
    exponentials = {head: np.exp(mean @ weight / TEMPERATURE) for head, weight in heads.items()}
    return {head: (values / values.sum()).tolist() for head, values in exponentials.items()}
