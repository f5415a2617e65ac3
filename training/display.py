"""Figures as tables on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from schemas.labels import HEADS


def print_report(figures: dict[str, Any], console: Console) -> None:
    """Print the heads, the labels of each, and the sources, as tables."""
    heads = Table("head", "rows", "accuracy (95 %)", "confident rows", "macro F1 (95 %)", "debiased ECE (95 %)")
    labels = Table("head", "label", "rows", "precision", "recall", "F1")
    sources = Table("source", "rows", *HEADS)
    by_head = {head: figures[head] for head in HEADS}
    for head, values in by_head.items():
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
    for source in sorted({source for values in by_head.values() for source in values["per_source"]}):
        found = [values["per_source"].get(source) for values in by_head.values()]
        rows = max(each["rows"] for each in found if each)
        sources.add_row(source, str(rows), *(f"{each['accuracy']:.3f}" if each else "-" for each in found))
    console.print(heads, labels, sources)
    if "review" in figures:
        console.print(review_sentence(figures["review"]), highlight=False)


def review_sentence(review: dict[str, Any]) -> str:
    """What a bundle's thresholds leave without review, and how right that is, in words."""
    share = f"{review['coverage']:.3f} ({_span(review['coverage_interval'])})"
    accuracies = ", ".join(
        f"{head} is right in {values['accuracy']:.3f} ({_span(values['accuracy_interval'])})"
        for head, values in review["accuracy"].items()
    )
    return f"without review goes {share} of the rows; of it, {accuracies or 'no head decides'}"


def print_dataset(report: dict[str, Any], console: Console) -> None:
    """Print what a training file was made of, and what stayed out."""
    table = Table("", "rows")
    for name, count in report["read"].items():
        table.add_row(f"read from {name}", str(count))
    for reason, count in report["dropped"].items():
        table.add_row(f"dropped: {reason}", str(count))
    for name, sources in report["labels_without_text"].items():
        for source, count in sources.items():
            table.add_row(f"{name}: no text found, {source}", str(count))
    for split, count in report["rows"].items():
        if count:
            table.add_row(f"written as {split}", str(count))
    if report["unlabelled"]:
        table.add_row("of them without label", str(report["unlabelled"]))
    console.print(table)


def _span(interval: list[float]) -> str:
    return f"{interval[0]:.3f}-{interval[1]:.3f}"


def print_baselines(figures: dict[str, dict[str, Any]], console: Console) -> None:
    """Print each model's accuracy and macro F1 per head."""
    heads = list(next(iter(figures.values())))
    table = Table("model", *(f"{head} accuracy" for head in heads), *(f"{head} macro F1" for head in heads))
    for name, values in figures.items():
        cells = [f"{values[head][figure]:.3f}" for figure in ("accuracy", "macro_f1") for head in heads]
        table.add_row(name, *cells)
    console.print(table)


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print what a recipe's bundle is worth beside the baselines, and what each stage took."""
    table = Table("on dev", *HEADS)
    for name, accuracies in summary["baselines"].items():
        table.add_row(name, *(f"{accuracies[head]:.3f}" for head in HEADS))
    table.add_row("the bundle", *(_with_span(summary["dev"][head], "accuracy") for head in HEADS), style="bold")
    stages = Table("stage", "minutes")
    for name, seconds in summary["seconds"].items():
        stages.add_row(name, f"{seconds / 60:.1f}")
    console.print(table, stages)
    console.print(review_sentence(summary["review"]), highlight=False)
    for reason in (*summary["not_beaten"], *summary["worse_than_before"]):
        console.print(f"must not ship: {reason}", style="red", markup=False, highlight=False)


def print_robustness(figures: dict[str, Any], console: Console) -> None:
    """Print what each disturbance costs each head, and how the messages in other languages fare."""
    table = Table("disturbance", *(f"{head} ({figure})" for head in HEADS for figure in ("accuracy", "drop")))
    plain = [f"{figures['undisturbed'][head]:.3f}" for head in HEADS]
    table.add_row("none", *(cell for accuracy in plain for cell in (accuracy, "")))
    for name, heads in figures["disturbed"].items():
        table.add_row(name, *(f"{heads[head][figure]:.3f}" for head in HEADS for figure in ("accuracy", "drop")))
    console.print(table)
    foreign = figures["other_languages"]
    accuracies = ", ".join(f"{head} {foreign['accuracy'][head]:.3f}" for head in HEADS)
    console.print(
        f"{foreign['rows']} messages in other languages: {accuracies}; {foreign['below_review_threshold']:.2f} of them "
        f"score below the review threshold, {foreign['other_script']} are in another script than Latin",
        highlight=False,
    )


def print_leakage(figures: dict[str, Any], console: Console) -> None:
    """Print how much of a test file stands in its train file, and the accuracies with and without that help."""
    table = Table("", "")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)


def _with_span(values: dict[str, Any], figure: str) -> str:
    return f"{values[figure]:.3f} ({_span(values[f'{figure}_interval'])})"
