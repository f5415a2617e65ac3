"""A comparison of two models as tables on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table


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


def _span(interval: list[float]) -> str:
    return f"{interval[0]:.3f}-{interval[1]:.3f}"
