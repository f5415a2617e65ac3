"""The whole way from a checkpoint to a bundle folder. The folder appears once every gate has passed."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from consumer.inference.classifier import DEFAULT_MAX_BATCH_TOKENS
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
)
from model_export.calibration import calibrate, uncalibrated
from model_export.card import model_card
from model_export.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_tokenizer
from model_export.clean_run import clean_run
from model_export.embeddings import quantise_embeddings
from model_export.export import INPUTS, export_fp32, optimise
from model_export.gates import Gate, GateError, finite_scores, label_agreement, same_accuracy, same_labels, same_logits
from model_export.metrics import evaluate_rows, softmax
from model_export.outliers import relieve_outliers
from model_export.quantise import quantise_int8, quantise_within_limits
from model_export.rows import Row, read_rows, validation_rows
from model_export.scoring import Forward, Logits, onnx_forward, score_texts
from model_export.texts import PROBES
from schemas.labels import HEADS

Quantisation = Literal["int8", "none"]
Report = Callable[[str], None]

_TOOLS: Final = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "tokenizers")
_RANKING_ROWS: Final = 200
_OUTLIER_ROWS: Final = 256
_TOLERANCE_FACTOR: Final = 3.0
_TOLERANCE_RANGE: Final = (0.05, 0.25)


@dataclass(frozen=True)
class Request:
    """What to export and how. Without `data` the bundle is marked as unverified."""

    checkpoint: Path
    out: Path
    name: str
    version: str
    quantisation: Quantisation
    opset: int
    data: Path | None


@dataclass(frozen=True)
class _Evidence:
    """The rows that may decide and those that only report, with the fp32 logits of the first."""

    validation: list[Row]
    dev: list[Row]
    fp32: Logits


def build_bundle(request: Request, report: Report) -> tuple[Manifest, list[Gate]]:
    """Export a checkpoint, prove the result and put it in place of whatever bundle stood at `out`.

    Args:
        request: what to export.
        report: called with the name of each step as it begins.

    Returns:
        The manifest and the gates, all passed.

    Raises:
        GateError: a gate failed; nothing was written.
        CheckpointError, ExportError, CleanRunError, RowError: the input cannot be used, or its graph does not run.
        FileExistsError: `out` holds something that is no bundle.
    """
    _assert_replaceable(request.out)
    report("load")
    checkpoint = load_checkpoint(request.checkpoint)
    _assert_our_heads(checkpoint)
    request.out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the rename stays on one file system.
    with tempfile.TemporaryDirectory(dir=request.out.parent, prefix=".export-") as scratch:
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        manifest, gates = _Export(request, checkpoint, Path(scratch), folder, report).run()
        _replace(folder, request.out)
    return manifest, gates


class _Export:
    def __init__(self, request: Request, checkpoint: Checkpoint, scratch: Path, folder: Path, report: Report) -> None:
        self._request = request
        self._checkpoint = checkpoint
        self._scratch = scratch
        self._folder = folder
        self._report = report
        self._gates: list[Gate] = []
        self._kept_fp32: list[str] = []

    def run(self) -> tuple[Manifest, list[Gate]]:
        traced, optimised = self._scratch / "traced.onnx", self._scratch / "optimised.onnx"
        self._report("export")
        export_fp32(self._checkpoint, traced, self._request.opset)
        self._report("optimise")
        optimise(traced, optimised, self._checkpoint)
        fp32 = onnx_forward(optimised)
        self._report("compare with PyTorch")
        self._gates.append(same_logits(self._checkpoint, fp32))
        evidence = self._read_evidence(fp32)
        shipped = self._folder / MODEL_FILE
        if self._request.quantisation == "int8":
            self._report("quantise")
            self._quantise(optimised, shipped, evidence)
        else:
            shutil.copyfile(optimised, shipped)
        self._report("calibrate and measure")
        forward = onnx_forward(shipped)
        self._gates.append(finite_scores(self._checkpoint, forward))
        self._require_gates()
        heads, metrics = self._measure(fp32, forward, evidence)
        manifest = self._write(heads, metrics, *self._probe(fp32, forward, heads))
        self._report("run without torch")
        self._gates.append(self._alone(manifest))
        self._require_gates()
        manifest = manifest.model_copy(update={"parity": self._parity()})
        self._write_manifest(manifest)
        return manifest, self._gates

    def _read_evidence(self, fp32: Forward) -> _Evidence | None:
        if self._request.data is None:
            return None
        self._report("score with fp32")
        rows = read_rows(self._request.data)
        validation = validation_rows(rows, self._request.checkpoint)
        dev = [row for row in rows if row.split == "dev"]
        return _Evidence(validation, dev, self._score(fp32, validation))

    def _quantise(self, optimised: Path, shipped: Path, evidence: _Evidence | None) -> None:
        relieved, prepared = self._scratch / "relieved.onnx", self._scratch / "prepared.onnx"
        texts = PROBES if evidence is None else tuple(row.text for row in evidence.validation[:_OUTLIER_ROWS])
        relieve_outliers(optimised, relieved, self._checkpoint.encoder.encode(texts))
        quantise_embeddings(relieved, prepared)
        if evidence is None:
            quantise_int8(prepared, shipped)
            return
        sample = evidence.validation[:_RANKING_ROWS]

        def passes(model: Path) -> bool:
            return all(gate.passed for gate in self._int8_gates(model, evidence))

        def distance(model: Path) -> float:
            logits = self._score(onnx_forward(model), sample)
            return float(sum(np.square(logits[head] - evidence.fp32[head][: len(sample)]).mean() for head in HEADS))

        self._kept_fp32 = quantise_within_limits(prepared, shipped, passes=passes, distance=distance)
        self._gates.extend(self._int8_gates(shipped, evidence))

    def _int8_gates(self, shipped: Path, evidence: _Evidence) -> list[Gate]:
        logits = self._score(onnx_forward(shipped), evidence.validation)
        return same_labels(evidence.fp32, logits) + same_accuracy(evidence.fp32, logits, evidence.validation)

    def _measure(
        self, fp32: Forward, forward: Forward, evidence: _Evidence | None
    ) -> tuple[dict[str, HeadSpec], dict[str, Any]]:
        if evidence is None:
            return uncalibrated(), {"unverified": True}
        logits = self._score(forward, evidence.validation)
        heads = calibrate(logits, evidence.validation)
        metrics: dict[str, Any] = {"validation": evaluate_rows(_probabilities(logits, heads), evidence.validation)}
        if evidence.dev:
            dev = self._score(forward, evidence.dev)
            metrics["dev"] = evaluate_rows(_probabilities(dev, heads), evidence.dev)
            metrics["dev_label_agreement"] = label_agreement(self._score(fp32, evidence.dev), dev)
        return heads, metrics

    def _probe(self, fp32: Forward, shipped: Forward, heads: dict[str, HeadSpec]) -> tuple[list[Probe], float]:
        expected = _probabilities(score_texts(fp32, self._checkpoint.encoder, PROBES), heads)
        # int8 scales activations over the whole batch, so a text alone and in company differ a little.
        differences = [
            np.abs(expected[head] - found[head]).max()
            for max_batch_tokens in (1, DEFAULT_MAX_BATCH_TOKENS)
            for logits in [score_texts(shipped, self._checkpoint.encoder, PROBES, max_batch_tokens)]
            for found in [_probabilities(logits, heads)]
            for head in heads
        ]
        low, high = _TOLERANCE_RANGE
        tolerance = min(max(_TOLERANCE_FACTOR * float(max(differences)), low), high)
        probes = [
            Probe(text=text, probabilities={head: tuple(np.round(expected[head][row], 6).tolist()) for head in heads})
            for row, text in enumerate(PROBES)
        ]
        return probes, round(tolerance, 4)

    def _write(
        self, heads: dict[str, HeadSpec], metrics: dict[str, Any], probes: list[Probe], tolerance: float
    ) -> Manifest:
        save_tokenizer(self._checkpoint.path / TOKENIZER_FILE, self._folder / TOKENIZER_FILE)
        labels = Labels(heads=dict(HEADS))
        (self._folder / LABELS_FILE).write_text(labels.model_dump_json(indent=2) + "\n", encoding="utf-8")
        manifest = Manifest(
            name=self._request.name,
            version=self._request.version,
            created_at=datetime.now(UTC).replace(microsecond=0),
            source_checkpoint=self._request.checkpoint.resolve().name,
            opset=self._request.opset,
            quantisation=self._request.quantisation,
            max_length=self._checkpoint.max_length_tokens,
            inputs=INPUTS,
            heads=heads,
            files={name: hashlib.sha256((self._folder / name).read_bytes()).hexdigest() for name in HASHED_FILES},
            probes=tuple(probes),
            probe_tolerance=tolerance,
            metrics=metrics,
            parity=self._parity(),
            tools={name: version(name) for name in _TOOLS},
        )
        self._write_manifest(manifest)
        return manifest

    def _write_manifest(self, manifest: Manifest) -> None:
        (self._folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        training = self._request.checkpoint / "report.json"
        report = json.loads(training.read_text(encoding="utf-8")) if training.is_file() else None
        size_bytes = (self._folder / MODEL_FILE).stat().st_size
        (self._folder / MODEL_CARD_FILE).write_text(model_card(manifest, report, size_bytes), encoding="utf-8")

    def _require_gates(self) -> None:
        if not all(gate.passed for gate in self._gates):
            raise GateError(self._gates)

    def _alone(self, manifest: Manifest) -> Gate:
        deviation, limit = clean_run(self._folder), manifest.probe_tolerance
        return Gate("probe_deviation_without_torch", round(deviation, 6), limit, deviation <= limit)

    def _parity(self) -> dict[str, Any]:
        return {gate.name: gate.as_parity() for gate in self._gates} | {"nodes_kept_fp32": self._kept_fp32}

    def _score(self, forward: Forward, rows: list[Row]) -> Logits:
        return score_texts(forward, self._checkpoint.encoder, [row.text for row in rows])


def _probabilities(logits: Logits, heads: dict[str, HeadSpec]) -> dict[str, Any]:
    return {head: softmax(logits[head], spec.temperature) for head, spec in heads.items()}


def _assert_our_heads(checkpoint: Checkpoint) -> None:
    if checkpoint.heads != dict(HEADS):
        wrong = sorted(
            head
            for head in {*HEADS, *checkpoint.heads}
            if checkpoint.heads.get(head) != HEADS.get(head)  # type: ignore[call-overload]
        )
        raise CheckpointError(
            f"{checkpoint.path / 'config.json'}: the labels of {', '.join(wrong)} are not those of schemas/labels.py, "
            "in its order; train with this version's labels"
        )


def _assert_replaceable(out: Path) -> None:
    if out.exists() and not (out / MANIFEST_FILE).exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out}: exists and is no bundle; give another --out or remove it")


def _replace(folder: Path, out: Path) -> None:
    old = folder.with_name("replaced")
    if out.exists():
        out.rename(old)
    folder.chmod(0o755)
    folder.rename(out)
