"""An inspection as a page for people: Markdown, JSON, and pictures of speed and operators. Needs `matplotlib`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

PAGE_FILE: Final = "inspection.md"
_SPEED_PICTURE: Final = "speed.png"
_OPERATORS_PICTURE: Final = "operators.png"
_SIZE_IN: Final = (10.0, 4.0)
_SHOWN_OPERATORS: Final = 14


def write_page(found: dict[str, Any], folder: Path) -> None:
    """Write `inspection.md`, `inspection.json` and its pictures into a folder, which is made if absent.

    Args:
        found: what `model_export.inspection.inspect_bundle` returned.
        folder: where to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inspection.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (folder / PAGE_FILE).write_text("\n".join(_lines(found)) + "\n", encoding="utf-8")
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        _draw_speed(found["speed"], folder / _SPEED_PICTURE)
        _draw_operators(found["graph"]["operators"], folder / _OPERATORS_PICTURE)


def _lines(found: dict[str, Any]) -> Iterable[str]:
    graph = found["graph"]
    yield from (
        f"# {found['name']} {found['version']}",
        "",
        f"Exported {found['created_at']} from `{found['source_checkpoint']}`.",
        "",
        "| | |",
        "|---|---|",
        f"| manifest sha256 | `{found['manifest_sha256']}` |",
        *(f"| `{name}` | {size / 1e6:.2f} MB |" for name, size in found["file_bytes"].items()),
        f"| longest text | {found['max_length_tokens']} tokens |",
        f"| layers with attention | {graph['attention_layers']} |",
        f"| parameters | {graph['parameters'] / 1e6:.1f} million, {graph['quantised_parameters']:.1%} of them int8 |",
        f"| products with weights | {graph['products']}, {graph['quantised_products']} of them int8 |",
        f"| multiply-adds of a token in int8 | {graph['quantised_work']:.1%} |",
        f"| opset | {graph['opset']} |",
        "",
        "## Heads",
        "",
        "| head | labels | temperature | review below | decides review |",
        "|---|---|---|---|---|",
        *(
            f"| {head} | {', '.join(each['labels'])} | {each['temperature']:g} | {each['review_threshold']:g} | "
            f"{'yes' if each['decides_review'] else 'no'} |"
            for head, each in found["heads"].items()
        ),
        "",
        "## Figures of the export",
        "",
        "| rows | head | accuracy | macro F1 | ECE |",
        "|---|---|---|---|---|",
        *(
            f"| {each['rows']} {split} | {head} | {each['accuracy']:.3f} | {each['macro_f1']:.3f} | {each['ece']:.3f} |"
            for split in ("dev", "validation")
            for head, each in found["metrics"].get(split, {}).items()
        ),
        "",
        "| gate | figure | limit |",
        "|---|---|---|",
        *(
            f"| {name} | {gate['figure']:.4g} | {gate['limit']:g} |"
            for name, gate in found["parity"].items()
            if isinstance(gate, dict)
        ),
        "",
        "## Speed on this machine",
        "",
        "One thread, medians of runs that take turns; tokenising is not part of it.",
        "",
        "| tokens | alone, ms | in batches, texts/s |",
        "|---|---|---|",
        *(f"| {each['length_tokens']} | {each['alone_ms']:g} | {each['texts_per_s']:g} |" for each in found["speed"]),
        "",
        f"![Time of a text alone, and texts a second in batches, by length]({_SPEED_PICTURE})",
        "",
        "## Graph",
        "",
        f"![How often each operator occurs]({_OPERATORS_PICTURE})",
        "",
        "| largest weights | shape | type | MB |",
        "|---|---|---|---|",
        *(
            f"| `{each['name']}` | {' x '.join(map(str, each['shape']))} | {each['type']} | {each['bytes'] / 1e6:.2f} |"
            for each in graph["largest_weights"]
        ),
    )


def _draw_speed(speed: list[dict[str, float]], path: Path) -> None:
    picture = Figure(figsize=_SIZE_IN, layout="constrained")
    lengths = [each["length_tokens"] for each in speed]
    for axes, figure, title in zip(
        picture.subplots(1, 2),
        ("alone_ms", "texts_per_s"),
        ("one text alone, milliseconds", "in batches, texts a second"),
        strict=True,
    ):
        axes.plot(lengths, [each[figure] for each in speed], marker="o")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        # People read 300, not 3 x 10^2.
        axes.yaxis.set_major_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        axes.yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.set_xlabel("tokens")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    picture.savefig(path, dpi=110)


def _draw_operators(operators: dict[str, int], path: Path) -> None:
    picture = Figure(figsize=_SIZE_IN, layout="constrained")
    axes = picture.subplots()
    shown = dict(list(operators.items())[:_SHOWN_OPERATORS])
    axes.barh(list(shown), list(shown.values()))
    axes.invert_yaxis()
    axes.set_xlabel("nodes")
    picture.savefig(path, dpi=110)
