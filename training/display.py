"""Figures as tables on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(figures: dict[str, Any], console: Console) -> None:
    """Print the heads, the labels of each, and the sources, as tables."""
    heads = Table("head", "rows", "accuracy (95 %)", "confident rows", "macro F1 (95 %)", "debiased ECE (95 %)")
    labels = Table("head", "label", "rows", "precision", "recall", "F1")
    sources = Table("source", "rows", *figures)
    for head, values in figures.items():
        heads.add_row(
            head,
            str(values["rows"]),
            _with_span(values, "accuracy"),
            f"{values['confident_accuracy']:.3f}",
            _with_span(values, "macro_f1"),
            _with_span(values, "debiased_ece"),
        )
        for label, each in values["per_label"].items():
            shown = [each[column] for column in ("precision", "recall", "f1")]
            labels.add_row(head, label, str(each["rows"]), *(f"{value:.3f}" for value in shown))
    for source in sorted({source for values in figures.values() for source in values["per_source"]}):
        found = [values["per_source"].get(source) for values in figures.values()]
        rows = max(each["rows"] for each in found if each)
        sources.add_row(source, str(rows), *(f"{each['accuracy']:.3f}" if each else "-" for each in found))
    console.print(heads, labels, sources)


def print_dataset(report: dict[str, Any], console: Console) -> None:
    """Print what a training file was made of, and what stayed out."""
    table = Table("", "rows")
    for name, count in report["read"].items():
        table.add_row(f"read from {name}", str(count))
    for reason, count in report["dropped"].items():
        table.add_row(f"dropped: {reason}", str(count))
    for split, count in report["rows"].items():
        if count:
            table.add_row(f"written as {split}", str(count))
    console.print(table)


def _span(interval: list[float]) -> str:
    return f"{interval[0]:.3f}-{interval[1]:.3f}"


def print_comparison(comparison: dict[str, Any], console: Console) -> None:
    """Print both models' accuracy per head, the labels that changed, and the verdict."""
    heads = Table("head", "rows", "old", "new", "difference", "95 %", "only new right", "only old right", "McNemar p")
    labels = Table("head", "label", "rows", "old F1", "new F1", "difference", "99 %")
    for head, values in comparison["heads"].items():
        heads.add_row(
            head,
            str(values["rows"]),
            f"{values['old_accuracy']:.3f}",
            f"{values['new_accuracy']:.3f}",
            f"{values['difference']:+.3f}",
            _span(values["difference_interval"]),
            str(values["only_new_right"]),
            str(values["only_old_right"]),
            f"{values['mcnemar_p']:.3f}",
        )
        for label, each in values["per_label"].items():
            labels.add_row(
                head,
                label,
                str(each["rows"]),
                f"{each['old_f1']:.3f}",
                f"{each['new_f1']:.3f}",
                f"{each['difference']:+.3f}",
                _span(each["difference_interval"]),
            )
    console.print(heads, labels)
    console.print(f"rule: {comparison['rule']}", markup=False, highlight=False)
    if comparison["may_replace"]:
        console.print("the new model may replace the old one", style="green")
    for reason in comparison["reasons"]:
        console.print(f"refused: {reason}", style="red", markup=False, highlight=False)


def print_baselines(figures: dict[str, dict[str, Any]], console: Console) -> None:
    """Print each model's accuracy and macro F1 per head."""
    heads = list(next(iter(figures.values())))
    table = Table("model", *(f"{head} accuracy" for head in heads), *(f"{head} macro F1" for head in heads))
    for name, values in figures.items():
        cells = [f"{values[head][figure]:.3f}" for figure in ("accuracy", "macro_f1") for head in heads]
        table.add_row(name, *cells)
    console.print(table)


def _with_span(values: dict[str, Any], figure: str) -> str:
    return f"{values[figure]:.3f} ({_span(values[f'{figure}_interval'])})"
