"""A bundle in figures: size, graph, heads, speed by length. Needs `onnx`."""

import dataclasses
import statistics
import time
from typing import Any, Final

import numpy as np

from consumer.inference.batching import DEFAULT_MAX_BATCH_TOKENS
from consumer.inference.bundle import Bundle
from consumer.inference.encoding import TextEncoder
from consumer.inference.manifest import MODEL_FILE, TOKENIZER_FILE
from consumer.inference.session import ATTENTION_MASK, INPUT_IDS, Feed, open_session
from model_export.graph import summarise_graph

_LENGTHS: Final = (8, 16, 32, 64, 128, 256, 512)
_REPEATS: Final = 9


def inspect_bundle(bundle: Bundle) -> dict[str, Any]:
    """Everything that a person wants to know of a bundle, as JSON holds it."""
    manifest = bundle.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "created_at": manifest.created_at.isoformat(),
        "source_checkpoint": manifest.source_checkpoint,
        "manifest_sha256": bundle.manifest_sha256,
        "quantisation": manifest.quantisation,
        "max_length_tokens": manifest.max_length,
        "file_bytes": {name: (bundle.folder / name).stat().st_size for name in manifest.files},
        "graph": dataclasses.asdict(summarise_graph(bundle.folder / MODEL_FILE)),
        "heads": {
            head: {"labels": list(bundle.labels.heads[head])} | spec.model_dump(exclude={"output"})
            for head, spec in manifest.heads.items()
        },
        "speed": measure_speed(bundle),
        "metrics": manifest.metrics,
        "parity": manifest.parity,
        "measurements": manifest.measurements,
        "tools": manifest.tools,
    }


def measure_speed(bundle: Bundle, repeats: int = _REPEATS) -> list[dict[str, float]]:
    """How fast one thread classifies texts of each length: medians of runs that take turns.

    Returns:
        By length in tokens: `alone_ms`, the time of one text by itself, and `texts_per_s` in batches as the consumer
        makes them. Tokenising is not part of it.
    """
    encoder = TextEncoder(bundle.folder / TOKENIZER_FILE, max_length_tokens=bundle.manifest.max_length)
    session = open_session(bundle.folder / MODEL_FILE)
    outputs = [output.name for output in session.get_outputs()]
    random = np.random.default_rng(0)

    def feed(batch: int, length: int) -> Feed:
        ids = random.integers(0, encoder.largest_id + 1, (batch, length))
        return {INPUT_IDS: ids, ATTENTION_MASK: np.ones_like(ids)}

    lengths = [length for length in _LENGTHS if length <= bundle.manifest.max_length]
    batches = {length: max(1, DEFAULT_MAX_BATCH_TOKENS // length) for length in lengths}
    work = {(length, batch): feed(batch, length) for length in lengths for batch in {1, batches[length]}}
    times: dict[tuple[int, int], list[float]] = {shape: [] for shape in work}
    for repeat in range(repeats + 1):
        for shape, each in work.items():
            started = time.perf_counter()
            session.run(outputs, each)
            if repeat:  # the first turn warms the caches
                times[shape].append(time.perf_counter() - started)
    return [
        {
            "length_tokens": length,
            "alone_ms": round(1000 * statistics.median(times[length, 1]), 3),
            "texts_per_s": round(batches[length] / statistics.median(times[length, batches[length]]), 1),
        }
        for length in lengths
    ]
