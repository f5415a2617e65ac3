"""The whole way from a checkpoint to a bundle folder. The folder appears once every gate has passed."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from consumer.inference.batching import DEFAULT_MAX_BATCH_TOKENS
from consumer.inference.manifest import MANIFEST_FILE, MODEL_FILE, HeadSpec, Manifest, Probe
from model_export.calibration import calibrate, uncalibrated
from model_export.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from model_export.checkpoint_source import local_checkpoint
from model_export.clean_run import clean_run
from model_export.embeddings import quantise_embeddings
from model_export.export import export_fp32, optimise
from model_export.gate import Gate, GateError
from model_export.gates import (
    calibrated,
    finite_scores,
    label_agreement,
    runs_alone,
    same_accuracy,
    same_labels,
    same_logits,
)
from model_export.hardware import has_vnni
from model_export.metrics import evaluate_rows, softmax
from model_export.outliers import relieve_outliers
from model_export.quantise import SCHEME, Sensitivity, quantise_int8, quantise_within_limits
from model_export.request import Request
from model_export.rows import Row, label_columns, read_rows, require_known_labels, require_labels, validation_rows
from model_export.scoring import Forward, Logits, onnx_forward, score_texts
from model_export.speed import SpeedRatio, classifying, compare_speed
from model_export.texts import PROBES
from model_export.writing import Contents, write_bundle, write_card
from schemas.labels import HEADS

Report = Callable[[str], None]

_RANKING_ROWS: Final = 200
_OUTLIER_ROWS: Final = 256
_SPEED_TEXTS: Final = 128
_TOLERANCE_FACTOR: Final = 3.0
_TOLERANCE_RANGE: Final = (0.05, 0.25)


@dataclass(frozen=True)
class _Evidence:
    """The rows that may decide and those that only report; of the first, the right columns and the fp32 logits."""

    validation: list[Row]
    dev: list[Row]
    columns: dict[str, NDArray[np.int64]]
    fp32: Logits


def build_bundle(request: Request, report: Report) -> tuple[Manifest, list[Gate]]:
    """Export a checkpoint, prove the result and put it in place of whatever bundle stood at `out`.

    Args:
        request: what to export.
        report: called with each of `request.STEPS` as it begins.

    Returns:
        The manifest and the gates, all passed.

    Raises:
        GateError: a gate failed; nothing was written.
        CheckpointError, ExportError, CleanRunError, RowError: the input cannot be used, or its graph does not run.
        FileExistsError: `out` holds something that is no bundle.
    """
    _assert_replaceable(request.out)
    report("load")
    with local_checkpoint(request.checkpoint) as folder:
        checkpoint = load_checkpoint(folder)
        _assert_our_heads(checkpoint)
        request.out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the rename stays on one file system.
        with tempfile.TemporaryDirectory(dir=request.out.parent, prefix=".export-") as scratch:
            bundle = Path(scratch) / "bundle"
            bundle.mkdir()
            manifest, gates = _Export(request, checkpoint, Path(scratch), bundle, report).run()
            _replace(bundle, request.out)
    return manifest, gates


@dataclass
class _Export:
    request: Request
    checkpoint: Checkpoint
    scratch: Path
    folder: Path
    report: Report
    gates: list[Gate] = field(default_factory=list)
    sensitivity: Sensitivity = field(default_factory=Sensitivity)

    def run(self) -> tuple[Manifest, list[Gate]]:
        traced, optimised = self.scratch / "traced.onnx", self.scratch / "optimised.onnx"
        self.report("export")
        export_fp32(self.checkpoint, traced, self.request.opset)
        self.report("optimise")
        optimise(traced, optimised, self.checkpoint)
        fp32 = onnx_forward(optimised)
        self.report("compare with PyTorch")
        self.gates.append(same_logits(self.checkpoint, fp32))
        evidence = self._read_evidence(fp32)
        shipped = self.folder / MODEL_FILE
        if self.request.quantisation == "int8":
            self.report("quantise")
            self._quantise(optimised, shipped, evidence)
        else:
            shutil.copyfile(optimised, shipped)
        self.report("calibrate and measure")
        forward = onnx_forward(shipped)
        self.gates.append(finite_scores(self.checkpoint, forward))
        heads, metrics = self._measure(fp32, forward, evidence)
        self._require_gates()
        speed = None
        if self.request.quantisation == "int8":
            self.report("compare speed")
            speed = self._compare_speed(optimised, shipped, evidence)
        probes, tolerance = self._probe(fp32, forward, heads)
        contents = Contents(heads, probes, tolerance, metrics, self._measurements(speed))
        manifest = write_bundle(self.folder, self.request, self.checkpoint, contents)
        self.report("run without torch")
        self.gates += runs_alone(clean_run(self.folder), tolerance, shipped.stat().st_size)
        self._require_gates()
        parity = {gate.name: gate.as_parity() for gate in self.gates}
        manifest = manifest.model_copy(update={"parity": parity | {"nodes_kept_fp32": self.sensitivity.kept_fp32}})
        return write_card(self.folder, manifest, self.checkpoint), self.gates

    def _read_evidence(self, fp32: Forward) -> _Evidence | None:
        if self.request.data is None:
            return None
        self.report("score with fp32")
        rows = read_rows(self.request.data)
        validation = validation_rows(rows, self.checkpoint.path, self.request.checkpoint)
        dev = [row for row in rows if row.split == "dev"]
        heads = self.checkpoint.heads
        require_known_labels(validation + dev, heads, self.request.data)
        require_labels(validation, heads, self.request.data)
        columns = {head: label_columns(validation, head, labels) for head, labels in heads.items()}
        return _Evidence(validation, dev, columns, self._score(fp32, validation))

    def _quantise(self, optimised: Path, shipped: Path, evidence: _Evidence | None) -> None:
        relieved, prepared = self.scratch / "relieved.onnx", self.scratch / "prepared.onnx"
        texts = PROBES if evidence is None else tuple(row.text for row in evidence.validation[:_OUTLIER_ROWS])
        relieve_outliers(optimised, relieved, self.checkpoint.encoder.encode(texts))
        quantise_embeddings(relieved, prepared)
        if evidence is None:
            quantise_int8(prepared, shipped)
            return
        sample = evidence.validation[:_RANKING_ROWS]

        def passes(model: Path) -> bool:
            return all(gate.passed for gate in self._int8_gates(model, evidence))

        def distance(model: Path) -> float:
            logits = self._score(onnx_forward(model), sample)
            return float(sum(np.square(logits[head] - evidence.fp32[head][: len(sample)]).mean() for head in logits))

        self.sensitivity = quantise_within_limits(prepared, shipped, passes=passes, distance=distance)
        self.gates.extend(self._int8_gates(shipped, evidence))

    def _int8_gates(self, shipped: Path, evidence: _Evidence) -> list[Gate]:
        logits = self._score(onnx_forward(shipped), evidence.validation)
        return same_labels(evidence.fp32, logits) + same_accuracy(evidence.fp32, logits, evidence.columns)

    def _measure(
        self, fp32: Forward, forward: Forward, evidence: _Evidence | None
    ) -> tuple[dict[str, HeadSpec], dict[str, Any]]:
        labels = self.checkpoint.heads
        if evidence is None:
            return uncalibrated(labels), {"unverified": True}
        logits = self._score(forward, evidence.validation)
        heads = calibrate(logits, evidence.columns)
        self.gates.extend(calibrated(evidence.fp32, logits, heads, evidence.columns))
        metrics: dict[str, Any] = {
            "validation": evaluate_rows(_probabilities(logits, heads), evidence.validation, labels)
        }
        if evidence.dev:
            dev = self._score(forward, evidence.dev)
            metrics["dev"] = evaluate_rows(_probabilities(dev, heads), evidence.dev, labels)
            metrics["dev_label_agreement"] = label_agreement(self._score(fp32, evidence.dev), dev)
        return heads, metrics

    def _compare_speed(self, optimised: Path, shipped: Path, evidence: _Evidence | None) -> SpeedRatio:
        texts = PROBES if evidence is None else tuple(row.text for row in evidence.validation[:_SPEED_TEXTS])
        encoder = self.checkpoint.encoder
        return compare_speed(classifying(optimised, encoder, texts), classifying(shipped, encoder, texts), len(texts))

    def _measurements(self, speed: SpeedRatio | None) -> dict[str, Any]:
        if speed is None:
            return {}
        return {
            "quantisation": SCHEME | {"exported_with_vnni": has_vnni()},
            "sensitivity": {
                "kept_fp32": self.sensitivity.kept_fp32,
                "logit_mse_when_quantised_alone": {
                    node: float(f"{distance:.3g}") for node, distance in self.sensitivity.distances.items()
                },
            },
            "int8_speed_over_fp32": {
                "median": speed.median,
                "quartiles": [speed.low, speed.high],
                "fp32_texts_per_cpu_s": speed.first_texts_per_s,
                "int8_texts_per_cpu_s": speed.second_texts_per_s,
            },
        }

    def _probe(self, fp32: Forward, shipped: Forward, heads: dict[str, HeadSpec]) -> tuple[list[Probe], float]:
        expected = _probabilities(score_texts(fp32, self.checkpoint.encoder, PROBES), heads)
        # int8 scales activations over the whole batch, so a text alone and in company differ a little.
        differences = [
            np.abs(expected[head] - found[head]).max()
            for max_batch_tokens in (1, DEFAULT_MAX_BATCH_TOKENS)
            for logits in [score_texts(shipped, self.checkpoint.encoder, PROBES, max_batch_tokens)]
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

    def _require_gates(self) -> None:
        if not all(gate.passed for gate in self.gates):
            raise GateError(self.gates)

    def _score(self, forward: Forward, rows: list[Row]) -> Logits:
        logits = score_texts(forward, self.checkpoint.encoder, [row.text for row in rows])
        return {head: logits[head] for head in self.checkpoint.heads}


def _probabilities(logits: Logits, heads: dict[str, HeadSpec]) -> dict[str, Any]:
    return {head: softmax(logits[head], spec.temperature) for head, spec in heads.items()}


def _assert_our_heads(checkpoint: Checkpoint) -> None:
    """Results hold our three heads; a checkpoint with one head of its own can still classify."""
    if len(checkpoint.heads) == 1:
        return
    wanted = {str(head): labels for head, labels in HEADS.items()}
    if checkpoint.heads != wanted:
        wrong = next(head for head in (*wanted, *checkpoint.heads) if checkpoint.heads.get(head) != wanted.get(head))
        found = ", ".join(checkpoint.heads.get(wrong, ())) or "none"
        raise CheckpointError(
            f"{checkpoint.path / 'config.json'}: the labels of head {wrong} are {found}; schemas/labels.py has "
            f"{', '.join(wanted.get(wrong, ())) or 'no such head'}, in this order: train with this version's labels"
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
