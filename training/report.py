"""An evaluation as a folder for people: Markdown, JSON, and pictures of confusion and coverage."""

import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schemas.labels import HEADS
from training.display import review_sentence

_PICTURES: Final = {
    "confusion.png": "Right label (rows) against the model's (columns)",
    "coverage.png": "Accuracy of the surest share",
}
_WIDTH_IN: Final = 15.0
_HEIGHT_IN: Final = 5.2


def write_report(figures: dict[str, Any], title: str, folder: Path) -> None:
    """Write `report.md`, `report.json`, `confusion.png` and `coverage.png` into a folder, which is made if absent.

    Args:
        figures: as `training.evaluate.evaluate_model` gives them.
        title: what was measured on what.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    by_head: dict[str, Any] = {head: figures[head] for head in HEADS}
    (folder / "report.md").write_text(_markdown(by_head, title, figures.get("review")), "utf-8")
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        _draw(by_head, folder / "confusion.png", _draw_confusion)
        _draw(by_head, folder / "coverage.png", _draw_coverage)


def _markdown(figures: dict[str, Any], title: str, review: dict[str, Any] | None) -> str:
    lines = [
        f"# {title}",
        "",
        "Intervals cover 95 % (bootstrap). The debiased calibration error is the root mean square over ten bins of",
        "equal mass, less what chance adds.",
        "",
        "| head | rows | accuracy | on confident rows | macro F1 | debiased calibration error |",
        "|---|---|---|---|---|---|",
    ]
    for head, values in figures.items():
        sure = f"{values['confident_accuracy']:.3f} ({values['confident_rows']} rows)"
        accuracy, macro_f1, ece = (_with_span(values, name) for name in ("accuracy", "macro_f1", "debiased_ece"))
        lines.append(f"| {head} | {values['rows']} | {accuracy} | {sure} | {macro_f1} | {ece} |")
    if review is not None:
        lines += ["", f"By the bundle's thresholds, {review_sentence(review)}."]
    lines += ["", "| head | label | rows | precision | recall | F1 |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {head} | {label} | {each['rows']} | {each['precision']:.3f} | {each['recall']:.3f} | {each['f1']:.3f} |"
        for head, values in figures.items()
        for label, each in values["per_label"].items()
    ]
    lines += ["", f"| source | rows | {' | '.join(figures)} |", f"|---|---|{'---|' * len(figures)}"]
    for source in sorted({source for values in figures.values() for source in values["per_source"]}):
        found = [values["per_source"].get(source) for values in figures.values()]
        shown = " | ".join(f"{each['accuracy']:.3f}" if each else "-" for each in found)
        lines.append(f"| {source} | {max(each['rows'] for each in found if each)} | {shown} |")
    for name, caption in _PICTURES.items():
        lines += ["", f"![{caption}]({name})"]
    return "\n".join(lines) + "\n"


def _with_span(values: dict[str, Any], figure: str) -> str:
    low, high = values[f"{figure}_interval"]
    return f"{values[figure]:.3f} ({low:.3f} to {high:.3f})"


def _draw(figures: dict[str, Any], path: Path, draw: Any) -> None:  # noqa: ANN401 (a function of axes, head, values)
    picture = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), layout="constrained")
    for axes, (head, values) in zip(picture.subplots(1, len(figures)), figures.items(), strict=True):
        draw(axes, head, values)
    picture.suptitle(_PICTURES[path.name])
    picture.savefig(path, dpi=110)


def _draw_confusion(axes: Axes, head: str, values: dict[str, Any]) -> None:
    labels = list(values["confusion"])
    counts = np.array([[values["confusion"][right][said] for said in labels] for right in labels])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_title(head)
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            colour = "white" if shares[row, column] > 0.5 else "black"  # noqa: PLR2004 (half of the scale)
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour)


def _draw_coverage(axes: Axes, head: str, values: dict[str, Any]) -> None:
    curve = values["coverage"]
    axes.plot([point["coverage"] for point in curve], [point["accuracy"] for point in curve], marker="o", markersize=3)
    axes.set_xlabel("share that is not sent to review")
    axes.set_ylabel("accuracy")
    axes.set_xlim(0, 1)
    axes.grid(alpha=0.3)
    axes.set_title(head)
