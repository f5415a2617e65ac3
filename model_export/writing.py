"""The files of a bundle beside its graph: tokenizer, labels, model card, and the manifest that names them all."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Final

from consumer.inference.manifest import (
    HASHED_FILES,
    LABELS_FILE,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    HeadSpec,
    Labels,
    Manifest,
    Probe,
    file_sha256,
)
from consumer.inference.places import shown
from model_export.card import model_card
from model_export.checkpoint import Checkpoint, DistilBertForFeedback, save_tokenizer
from model_export.checkpoint_source import REPORT_FILE
from model_export.export import INPUTS
from model_export.request import Request

_TOOLS: Final = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "tokenizers")


@dataclass(frozen=True)
class Contents:
    """What was found out about the graph that ships."""

    heads: dict[str, HeadSpec]
    probes: list[Probe]
    probe_tolerance: float
    metrics: dict[str, Any]
    measurements: dict[str, Any]


def write_bundle(folder: Path, request: Request, checkpoint: Checkpoint, contents: Contents) -> Manifest:
    """Write tokenizer, labels and manifest beside the graph: what a consumer needs to load the bundle."""
    save_tokenizer(checkpoint.tokenizer, folder / TOKENIZER_FILE)
    labels = Labels(heads=checkpoint.heads)
    (folder / LABELS_FILE).write_text(labels.model_dump_json(indent=2) + "\n", encoding="utf-8")
    manifest = Manifest(
        name=request.name,
        version=request.version,
        created_at=datetime.now(UTC).replace(microsecond=0),
        source_checkpoint=PurePosixPath(shown(request.checkpoint)).name or checkpoint.path.resolve().name,
        opset=request.opset,
        quantisation=request.quantisation,
        max_length=checkpoint.max_length_tokens,
        inputs=INPUTS,
        heads=contents.heads,
        files={name: file_sha256(folder / name) for name in HASHED_FILES},
        probes=tuple(contents.probes),
        probe_tolerance=contents.probe_tolerance,
        metrics=contents.metrics,
        measurements=contents.measurements,
        tools={name: version(name) for name in _TOOLS},
    )
    _write_manifest(folder, manifest)
    return manifest


def write_card(folder: Path, manifest: Manifest, checkpoint: Checkpoint) -> Manifest:
    """Write the model card, and the manifest anew with the card's hash in it.

    Args:
        folder: of the bundle.
        manifest: with all figures.
        checkpoint: what was exported; `training fit` may have left its report there.
    """
    training = checkpoint.path / REPORT_FILE
    trained_here = isinstance(checkpoint.model, DistilBertForFeedback) and training.is_file()
    report = json.loads(training.read_text(encoding="utf-8")) if trained_here else None
    card = model_card(manifest, checkpoint.heads, report, (folder / MODEL_FILE).stat().st_size)
    (folder / MODEL_CARD_FILE).write_text(card, encoding="utf-8")
    files = manifest.files | {MODEL_CARD_FILE: file_sha256(folder / MODEL_CARD_FILE)}
    manifest = manifest.model_copy(update={"files": files})
    _write_manifest(folder, manifest)
    return manifest


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
