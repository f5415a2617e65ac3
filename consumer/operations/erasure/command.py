"""`python -m consumer erase`: a customer asks to be forgotten."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from consumer.operations.erasure.customers import UnusableInputError, read_ids, read_key
from consumer.operations.erasure.erasing import ErasureOptions, erase_customers
from consumer.operations.erasure.report import to_document, to_lines
from consumer.operations.reconcile_command import ReconciliationDisplay
from consumer.operations.session import USAGE_EXIT_CODE, err, fail, operator_session

_NOTHING_EXIT_CODE: Final = 4
_MAX_REASON_CHARS: Final = 1_000


def erase(
    *,
    customer: Annotated[
        list[str] | None,
        typer.Option(
            help="A customer's id; may be repeated. Other users of the machine see it, and the shell's history keeps "
            "it: standard input or --from does neither.",
            metavar="ID",
            show_default=False,
        ),
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option("--from", help="A file with one id a line.", metavar="FILE", show_default=False),
    ] = None,
    by_key: Annotated[
        bool, typer.Option("--by-key", help="Also what names no customer and has the id as its key.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Erase. Without it, only show what would be.")] = False,
    reason: Annotated[
        str | None, typer.Option(help="Why, such as a ticket's number; it is recorded, so name nobody in it.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with the secret key of fingerprints: with it, the audit can tell later whether a customer "
            "was erased.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Erase customers: their rows and labels, and what could bring them back. Ids come from standard input, one a line.

    Without --yes nothing is changed. What the topics hold stays until their retention deletes it; where, how much and
    until when is shown. Interrupted, the same command goes on. docs/privacy.md tells what is erased and what is not.

    Exits 0 when done, 1 when a server is away or refuses, 2 for bad arguments, 4 when there is nothing to erase.
    """
    try:
        ids = _ids(customer, from_file)
        key = None if key_file is None else read_key(key_file)
    except UnusableInputError as unusable:
        fail(str(unusable), USAGE_EXIT_CODE)
    if reason is not None and (len(reason) > _MAX_REASON_CHARS or "\0" in reason):
        fail(f"--reason has at most {_MAX_REASON_CHARS:,} characters", USAGE_EXIT_CODE)
    options = ErasureOptions(dry_run=not yes, by_key=by_key, reason=reason, key=key)
    with operator_session() as session, ReconciliationDisplay(err) as display:
        report = erase_customers(session, ids, options, display)
    if as_json:
        sys.stdout.write(json.dumps(to_document(report, dry_run=options.dry_run)) + "\n")
    else:
        for line in to_lines(report, dry_run=options.dry_run):
            sys.stdout.write(line + "\n")
    if not any(found.counts for found in report.customers):
        fail("nothing left to erase", _NOTHING_EXIT_CODE)
    if options.dry_run and not as_json:
        sys.stdout.write("nothing was changed: --yes erases\n")


def _ids(customers: Sequence[str] | None, path: Path | None) -> tuple[str, ...]:
    if customers and path is not None:
        raise UnusableInputError("choose one: --customer, --from or standard input")
    if customers:
        return read_ids((name.encode(errors="surrogateescape") for name in customers), "--customer")
    if path is not None:
        try:
            with path.open("rb") as lines:
                return read_ids(lines, str(path))
        except OSError as error:
            raise UnusableInputError(f"{path}: {error.strerror}") from None
    if sys.stdin.isatty():
        return read_ids([str(typer.prompt("customer's id", err=True)).encode()], "standard input")
    return read_ids(sys.stdin.buffer, "standard input")
