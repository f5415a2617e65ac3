"""`python -m model_export verify|inspect|diff`: bundles looked at. None of them needs PyTorch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.markup import escape
from rich.table import Table

from consumer.inference.bundle import load_bundle
from consumer.inference.manifest import BundleError
from model_export.difference import BUILT_IN_TEXTS, diff_bundles
from model_export.rows import Row, RowError, read_rows, require_known_labels
from model_export.terminal import JsonOption, console, fail, print_json, require_extra
from model_export.verification import verify_bundle

_EXIT_CODES: Final = "Exits 0 when done, 1 when a bundle or a file is bad, 2 on bad arguments."
BundleArgument = Annotated[str, typer.Argument(help="A bundle's folder or URL.", metavar="BUNDLE")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(epilog="Exits 0 when the bundle is whole, 1 when it is not, 2 on bad arguments.")(verify)
    app.command(epilog=_EXIT_CODES)(inspect)
    app.command(epilog=_EXIT_CODES)(diff)


def verify(bundle: BundleArgument, *, as_json: JsonOption = False) -> None:
    """Check a bundle as a consumer would: hashes, labels, tokenizer, graph, and the stored predictions on this CPU."""
    try:
        found = verify_bundle(bundle)
    except BundleError as error:
        if as_json:
            print_json({"whole": False, "reason": str(error)})
        fail(str(error))
    if as_json:
        print_json({"whole": True, **found})
        return
    table = Table("checked", "found", box=None)
    for name, size in found["files"].items():
        table.add_row(name, f"{size:,} bytes")
    for head, labels in found["heads"].items():
        table.add_row(f"head {escape(head)}", escape(", ".join(labels)))
    table.add_row(
        "predictions",
        f"{found['probes']} texts, at most {found['probe_deviation']:.4f} from the exporter's "
        f"(allowed {found['probe_tolerance']:g})",
    )
    console.print(table)
    if found["run_refuses"]:
        console.print(f"`consumer run` refuses it: {found['run_refuses']}", markup=False, highlight=False)
    console.print(f"whole: {found['name']} {found['version']}, manifest {found['manifest_sha256'][:12]}", style="green")


def inspect(
    bundle: BundleArgument,
    *,
    out: Annotated[Path | None, typer.Option(help="Write a page with pictures into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a bundle is made of: size, operators, layers, quantised share, heads, figures, speed by length."""
    with require_extra("export"):
        from model_export.inspection import inspect_bundle  # noqa: PLC0415 (it needs onnx)
    write_page = None if out is None else _page_writer(out)
    with _refusals(), console.status("measuring speed"):
        found = inspect_bundle(load_bundle(bundle))
    if write_page is not None:
        write_page(found)
    if as_json:
        print_json(found)
        return
    _print_inspection(found)
    if out is not None:
        console.print(f"page: {out / 'inspection.md'}", soft_wrap=True)


def diff(
    before: Annotated[str, typer.Argument(help="The old bundle's folder or URL.", metavar="A")],
    after: Annotated[str, typer.Argument(help="The new bundle's folder or URL.", metavar="B")],
    *,
    data: Annotated[
        Path | None, typer.Option(help="Labelled rows, JSONL; those of split dev and validation are answered.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Show so many texts whose label changes, per head.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare two bundles: labels, figures, size, speed, and how many answers change. Shows no text unless told so."""
    with _refusals(), console.status("classifying with both"):
        rows = None if data is None else _evaluation_rows(data)
        bundles = (load_bundle(before), load_bundle(after))
        if rows is not None and data is not None:
            for bundle in bundles:
                require_known_labels(rows, bundle.labels.heads, data)
        found = diff_bundles(*bundles, rows)
    texts = BUILT_IN_TEXTS if rows is None else tuple(row.text for row in rows)
    shown = {
        head: [texts[index] for index in indexes[:examples]] for head, indexes in found.pop("changed_texts").items()
    }
    if examples:
        found["examples"] = shown
    if as_json:
        print_json(found)
    else:
        _print_difference(found)


def _page_writer(out: Path) -> Callable[[dict[str, Any]], None]:
    with require_extra("training"):
        from model_export.inspection_page import write_page  # noqa: PLC0415 (it needs matplotlib)

    def write(found: dict[str, Any]) -> None:
        try:
            write_page(found, out)
        except OSError as error:
            fail(f"{out}: cannot be written ({error.strerror}); give another --out")

    return write


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except (BundleError, RowError) as error:
        fail(str(error))


def _evaluation_rows(data: Path) -> list[Row]:
    rows = [row for row in read_rows(data) if row.split != "train"]
    if not rows:
        raise RowError(f"{data}: every row was trained on; give rows whose split is dev or validation")
    return rows


def _print_inspection(found: dict[str, Any]) -> None:
    graph = found["graph"]
    facts = Table(box=None, show_header=False)
    for name, value in (
        ("bundle", f"{found['name']} {found['version']}, manifest {found['manifest_sha256'][:12]}"),
        ("size", ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in found["file_bytes"].items())),
        ("graph", f"{graph['attention_layers']} attention layers, {graph['parameters'] / 1e6:.1f} million parameters"),
        (
            "in int8",
            (
                f"{graph['quantised_parameters']:.1%} of the parameters, {graph['quantised_products']} of "
                f"{graph['products']} products, {graph['quantised_work']:.1%} of a token's multiply-adds"
            ),
        ),
        ("operators", ", ".join(f"{name} {count}" for name, count in graph["operators"].items())),
    ):
        facts.add_row(name, value)
    heads = Table("head", "labels", "temperature", "review below", "accuracy")
    figures = found["metrics"].get("dev") or found["metrics"].get("validation") or {}
    for head, each in found["heads"].items():
        measured = figures.get(head)
        heads.add_row(
            escape(head),
            escape(", ".join(each["labels"])),
            f"{each['temperature']:g}",
            f"{each['review_threshold']:g}" + (" (decides)" if each["decides_review"] else ""),
            f"{measured['accuracy']:.3f} of {measured['rows']}" if measured else "unverified",
        )
    speed = Table("tokens", "one text alone, ms", "in batches, texts/s")
    for each in found["speed"]:
        speed.add_row(str(each["length_tokens"]), f"{each['alone_ms']:.2f}", f"{each['texts_per_s']:.0f}")
    console.print(facts, heads, speed)


def _print_difference(found: dict[str, Any]) -> None:
    before, after = found["before"], found["after"]
    facts = Table("", "A", "B")
    for name, key in (("name", "name"), ("version", "version"), ("quantisation", "quantisation")):
        facts.add_row(name, before[key], after[key])
    facts.add_row("manifest", before["manifest_sha256"][:12], after["manifest_sha256"][:12])
    facts.add_row("size, MB", f"{before['bytes'] / 1e6:.2f}", f"{after['bytes'] / 1e6:.2f}")
    for head in {**before["metrics"], **after["metrics"]}:
        facts.add_row(
            f"{escape(head)} accuracy by manifest",
            *(
                f"{each['metrics'][head]['accuracy']:.3f}" if head in each["metrics"] else "-"
                for each in (before, after)
            ),
        )
    console.print(facts)
    for head, labels in found["labels"].items():
        console.print(f"labels of {head} differ: {labels['before']} -> {labels['after']}", markup=False)
    ratio = found["speed_ratio"]
    console.print(f"B is {ratio['median']:.2f} times as fast (quartiles {ratio['low']:.2f} to {ratio['high']:.2f})")
    changes = Table("head", f"answers that change, of {found['texts']}", "A says", "B says", "texts")
    for head, each in found["heads"].items():
        share = f"{each['changed']} ({each['changed'] / found['texts']:.2%})"
        changes.add_row(escape(head), share, "", "", "")
        for change in each["changes"]:
            changes.add_row("", "", escape(change["from"]), escape(change["to"]), str(change["texts"]))
    console.print(changes)
    for head, each in found["heads"].items():
        if "labelled" in each:
            console.print(
                f"{head}: right on {each['labelled']} labelled rows: A {each['accuracy_before']:.4f}, "
                f"B {each['accuracy_after']:.4f}",
                markup=False,
            )
    for head, texts in found.get("examples", {}).items():
        for text in texts:
            console.print(f"{head}: {_printable(text)}", markup=False, highlight=False)


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
