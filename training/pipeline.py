"""A recipe carried out: data, teachers, what they say, students, their average, the bundle, and what it is worth."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from consumer.inference.manifest import MANIFEST_FILE
from model_export.bundle import build_bundle
from model_export.checkpoint_source import REPORT_FILE
from model_export.gate import GateError
from model_export.request import DEFAULT_OPSET, Request
from schemas.labels import HEADS
from training.average import average_checkpoints
from training.baselines import run_baselines, unbeaten
from training.compare import compare_models
from training.config import TrainingConfig
from training.evaluate import evaluate_model
from training.fit import fit
from training.inputs import TrainingInputs, make_dataset
from training.recipe import RecipeFile
from training.report import write_report
from training.run_state import FitError
from training.soft_labels import make_soft_labels
from training.stages import Stages
from training.teacher import train_teacher
from training.texts import read_texts

SUMMARY_FILE = "summary.json"
_ROWS_FILE = "rows.jsonl"
_SHOWN = ("accuracy", "accuracy_interval", "confident_accuracy", "macro_f1", "debiased_ece", "debiased_ece_interval")


def run_recipe(file: RecipeFile, out: Path, console: Console) -> dict[str, Any]:
    """Carry out all stages of a recipe that do not stand already, and measure the bundle.

    Args:
        file: the recipe.
        out: folder of everything that is made; a run that was interrupted goes on in it.
        console: for progress.

    Returns:
        The summary, as `NAME-report/summary.json` holds it: figures on `dev` beside those of the baselines and of the
        bundle before, reasons against shipping, seconds of each stage.

    Raises:
        ConfigError: the recipe cannot be used; found before anything is made.
        BaseError, CheckpointError, FitError, RowError, SoftTargetError, ExportError: a stage cannot be done.
    """
    return _Pipeline(file, Stages(out, console), console).run()


class _Pipeline:
    def __init__(self, file: RecipeFile, stages: Stages, console: Console) -> None:
        recipe = file.recipe
        self._name = recipe.name
        self._bundle = recipe.bundle
        self._stages = stages
        self._console = console
        # Resolved before the first stage: a recipe with a mistake costs no hours.
        part = recipe.data
        self._inputs = TrainingInputs(
            files=[file.resolve(path) for path in part.files],
            labels=[file.resolve(path) for path in part.labels],
            texts=[file.resolve(path) for path in part.texts],
            keep_unlabelled=part.keep_unlabelled,
            min_samples=part.min_samples,
        )
        self._teachers = {teacher.name: file.teacher_config(teacher) for teacher in recipe.teachers}
        self._students = {seed: file.student_config(seed) for seed in recipe.students.seeds}
        self._before = file.resolve(recipe.bundle.compare_with) if recipe.bundle.compare_with else None

    def run(self) -> dict[str, Any]:
        rows = self._data()
        soft = [self._soft(name, config, rows) for name, config in self._teachers.items()]
        students = [self._student(seed, config, rows, soft) for seed, config in self._students.items()]
        chosen = self._average(students, rows) if len(students) > 1 else students[0]
        bundle = self._export(chosen, rows)
        return self._measure(chosen, bundle, rows)

    def _data(self) -> Path:
        inputs = self._inputs
        spec = {"keep_unlabelled": inputs.keep_unlabelled, "min_samples": inputs.min_samples}

        def make(out: Path) -> None:
            report = make_dataset(inputs, out)
            counts = {key: report[key] for key in ("rows", "unlabelled", "dropped", "labels_without_text")}
            out.with_suffix(".report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            self._console.print_json(json.dumps(counts))

        return self._stages.run(_ROWS_FILE, spec, (*inputs.files, *inputs.labels, *inputs.texts), make)

    def _soft(self, name: str, config: TrainingConfig, rows: Path) -> Path:
        teacher = self._stages.run(
            f"teacher-{name}",
            config.model_dump(mode="json"),
            [rows],
            _unless_finished(lambda out: train_teacher(rows, out, config, self._console)),
        )

        def ask(out: Path) -> None:
            if not out.exists():
                make_soft_labels([teacher], read_texts([rows]), out, self._console)

        return self._stages.run(f"soft-{name}.npz", None, [rows, teacher / REPORT_FILE], ask)

    def _student(self, seed: int, config: TrainingConfig, rows: Path, soft: list[Path]) -> Path:
        return self._stages.run(
            f"{self._name}-{seed}",
            config.model_dump(mode="json"),
            [rows, *soft],
            _unless_finished(lambda out: fit(rows, out, config, self._console, soft)),
        )

    def _average(self, students: list[Path], rows: Path) -> Path:
        return self._stages.run(
            f"{self._name}-average",
            None,
            [rows, *(student / REPORT_FILE for student in students)],
            _unless_finished(lambda out: average_checkpoints(students, rows, out, self._console)),
        )

    def _export(self, checkpoint: Path, rows: Path) -> Path:
        part = self._bundle

        def make(out: Path) -> None:
            request = Request(str(checkpoint), out, part.name, part.version, part.quantise, DEFAULT_OPSET, rows)
            try:
                build_bundle(request, lambda step: self._console.print(f"[dim]·[/] {step}"))
            except GateError as error:
                failed = [
                    f"{gate.name} {gate.figure:.4g} (limit {gate.limit:g})" for gate in error.gates if not gate.passed
                ]
                raise FitError(f"{checkpoint}: {error}: {', '.join(failed)}") from error

        spec = part.model_dump(exclude={"compare_with"})
        return self._stages.run(f"{self._name}-bundle", spec, [rows, checkpoint / REPORT_FILE], make)

    def _measure(self, checkpoint: Path, bundle: Path, rows: Path) -> dict[str, Any]:
        before = self._before
        share = next(iter(self._students.values())).validation_share

        def make(out: Path) -> None:
            figures = evaluate_model(bundle, rows, "dev")
            baselines = run_baselines(rows, share, lambda name: self._console.print(f"[dim]·[/] {name}"))
            comparison = compare_models(before, bundle, rows, "dev") if before else None
            write_report(figures, f"{self._bundle.name} {self._bundle.version} on the dev rows", out)
            report = json.loads((checkpoint / REPORT_FILE).read_text(encoding="utf-8"))
            summary = {
                "dev": {head: {name: figures[head][name] for name in _SHOWN} for head in HEADS},
                "review": figures["review"],
                "baselines": {
                    name: {head: each[head]["accuracy"] for head in HEADS} for name, each in baselines.items()
                },
                "data": report["data"],
                "kept": report["kept"],
                "not_beaten": unbeaten(figures, baselines),
                "worse_than_before": comparison["reasons"] if comparison else [],
                "seconds": self._stages.seconds,
            }
            (out / SUMMARY_FILE).write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")

        inputs = [rows, bundle / MANIFEST_FILE, *([before / MANIFEST_FILE] if before else [])]
        folder = self._stages.run(f"{self._name}-report", None, inputs, make)
        summary: dict[str, Any] = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
        return summary


def _unless_finished(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Passes over a checkpoint that was finished when its mark was not yet."""

    def guarded(out: Path) -> None:
        if not (out / REPORT_FILE).exists():
            make(out)

    return guarded
