"""`python -m consumer dlq`: dead letters, as operators live with them."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn

import typer

from consumer.logs import configure_logs
from consumer.operations.dead_letters import display
from consumer.operations.dead_letters.arguments import (
    ClassOption,
    CoordinatesArgument,
    SinceOption,
    StageOption,
    UntilOption,
    parse_coordinates,
    require_reason,
    select_filtered,
    select_to_decide,
)
from consumer.operations.dead_letters.connections import KafkaClients
from consumer.operations.dead_letters.original import find_original
from consumer.operations.dead_letters.replay import ReplayReport
from consumer.operations.dead_letters.replaying import ReplayOptions, rehearse, replay_now
from consumer.operations.session import USAGE_EXIT_CODE, OperatorSession, err, fail, operator_session
from consumer.sinks.dead_letter_catalogue import DeadLetterCatalogue
from consumer.sinks.dead_letter_drops import drop as record_drops
from consumer.sinks.dead_letter_history import DeadLetterHistory
from consumer.sinks.dead_letter_selection import DeadLetterSelection, State

_NOT_ALL_EXIT_CODE: Final = 1
_NOTHING_EXIT_CODE: Final = 4
_EXIT_CODES: Final = (
    "Exits 0 when done, 1 when a server is away or refuses, 2 for bad arguments, 4 when nothing matches."
)

app = typer.Typer(no_args_is_help=True, help="Dead letters: what could not be classified, and what to do about it.")

AllOption = Annotated[bool, typer.Option("--all", help="All that are open.")]
ReasonOption = Annotated[str | None, typer.Option(help="Why; it is recorded.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would happen, and change nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command("list", epilog=_EXIT_CODES)
def list_(
    *,
    stage: StageOption = None,
    error_class: ClassOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    state: Annotated[Literal["open", "replaying", "replayed", "dropped", "all"], typer.Option(help="Only these.")] = (
        "open"
    ),
    limit: Annotated[int, typer.Option(help="Most entries to list; the numbers above them count all.", min=1)] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show dead letters: numbers by stage, class and state, then the newest ones."""
    selection = select_filtered(stage, error_class, since, until, None if state == "all" else state)
    with _session() as session:
        catalogue = DeadLetterCatalogue(session.database, session.facts.topic_id)
        counts = catalogue.count(selection)
        entries = catalogue.entries(selection, limit)
        if as_json:
            head = {"topic": session.settings.events_topic, "counts": [display.count_document(each) for each in counts]}
            # Piece by piece: a long list is never held as a whole.
            sys.stdout.write(json.dumps(head)[:-1] + ', "dead_letters": [')
            for number, entry in enumerate(entries):
                sys.stdout.write((", " if number else "") + json.dumps(display.entry_document(entry)))
            sys.stdout.write("]}\n")
        elif counts:
            _print(display.count_lines(counts))
            _print(("", display.LIST_HEADINGS))
            _print(display.entry_line(entry) for entry in entries)
            total = sum(count.records for count in counts)
            if total > limit:
                err.print(f"{limit:,} of {total:,} listed: --limit lists more", highlight=False)
        if not counts:
            _nothing("no dead letters match" if state == "all" else f"no {state} dead letters match")


@app.command(epilog=_EXIT_CODES)
def show(
    record: Annotated[str, typer.Argument(help="The record in the events topic.", metavar="PARTITION:OFFSET")],
    *,
    full: Annotated[bool, typer.Option("--full", help="Show long values to their end.")] = False,
    save: Annotated[
        Path | None, typer.Option(help="Write the value, byte for byte, to a new file.", metavar="FILE")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter with its key, headers and value. Characters that a terminal acts on are written out."""
    at = parse_coordinates(record)
    with _session() as session:
        catalogue = DeadLetterCatalogue(session.database, session.facts.topic_id)
        entry = catalogue.find(DeadLetterSelection(state=None), [at]).get(at)
        if entry is None:
            _nothing(f"{display.address(at)} of {session.settings.events_topic} is no dead letter")
        with err.status("looking for its bytes"):
            original = find_original(KafkaClients(session), session.settings, entry)
        if original is None:
            _nothing(f"{display.address(at)} is a dead letter, but neither topic holds its bytes any more: retention")
        if save is not None:
            if original.value is None:
                _nothing(f"{display.address(at)} has no value to save")
            _save(save, original.value)
        if as_json:
            sys.stdout.write(json.dumps(display.record_document(entry, original)) + "\n")
        else:
            _print(display.record_lines(entry, original, whole=full))


@app.command(epilog=f"{_EXIT_CODES} Exits 1 also when something that was chosen stays open.")
def replay(
    records: CoordinatesArgument = None,
    *,
    stage: StageOption = None,
    error_class: ClassOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: AllOption = False,
    limit: Annotated[int | None, typer.Option(help="Most dead letters to replay; a few first, say.", min=1)] = None,
    reason: ReasonOption = None,
    rate: Annotated[float | None, typer.Option(help="Most dead letters a second.", min=0.1)] = None,
    beyond_guard: Annotated[
        bool, typer.Option("--beyond-guard", help="Replay named ones although they failed again several times.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Publish dead letters to the events topic again: same key, value and headers, each one once.

    Ctrl-C and SIGTERM stop it in good order. However it ended, the same command goes on with what is still open.
    """
    selection = select_to_decide(records, stage, error_class, since, until, everything=everything)
    if beyond_guard and not records:
        fail("--beyond-guard is for dead letters named PARTITION:OFFSET", USAGE_EXIT_CODE)
    why = "" if dry_run else require_reason(reason)
    options = ReplayOptions(selection, limit_records=limit, rate_per_s=rate, beyond_guard=beyond_guard)
    with _session() as session:
        _require_decidable(session, selection, ("open", "replaying"))
        report = rehearse(session, options) if dry_run else replay_now(session, options, why)
    if as_json:
        sys.stdout.write(json.dumps(display.replay_document(report, dry_run=dry_run)) + "\n")
    elif report.selected:
        _print(display.replay_lines(report, dry_run=dry_run))
    _exit_for(report)


@app.command(epilog=_EXIT_CODES)
def drop(
    records: CoordinatesArgument = None,
    *,
    stage: StageOption = None,
    error_class: ClassOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    everything: AllOption = False,
    reason: ReasonOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Record that dead letters are done with. They leave the list of open ones; their bytes stay until retention."""
    selection = select_to_decide(records, stage, error_class, since, until, everything=everything)
    why = "" if dry_run else require_reason(reason)
    with _session() as session:
        _require_decidable(session, selection, ("open", "dropped"))
        if dry_run:
            counts = DeadLetterCatalogue(session.database, session.facts.topic_id).count(selection)
            dropped = {(count.stage, count.error_class): count.records for count in counts}
        else:
            dropped = record_drops(session.database, session.facts.topic_id, selection, why)
    total = sum(dropped.values())
    if as_json:
        document = {"dry_run": dry_run, "dropped_records": total, "dropped": display.class_documents(dropped)}
        sys.stdout.write(json.dumps(document) + "\n")
    elif total or records:
        _print((f"{'would drop' if dry_run else 'dropped'} {total:,}", *display.class_lines(dropped)))
    if not total and not records:
        _nothing("no open dead letters match")


@app.command(epilog=_EXIT_CODES)
def accept(
    reason: Annotated[str, typer.Option(help="Why the dead letters are expected; it is recorded.")],
    duration_s: Annotated[float, typer.Option(help="How long the limits rest, in seconds.", min=1)] = 3600,
) -> None:
    """Let a consumer go on that stopped because too many records became dead letters."""
    why = require_reason(reason)
    with _session() as session:
        DeadLetterHistory(session.database, session.facts.topic_id).accept(why, duration_s)
    err.print(f"accepted for {duration_s:.0f} s: waiting consumers go on within a few seconds")


@contextmanager
def _session() -> Iterator[OperatorSession]:
    # What goes wrong ends as the command's one line: the parts it is made of log for a service.
    configure_logs("auto", "critical")
    with operator_session() as session:
        yield session


def _require_decidable(session: OperatorSession, selection: DeadLetterSelection, states: tuple[State, ...]) -> None:
    """Of dead letters named one by one, each must be there, and in one of these states: all are done, or none."""
    if not selection.coordinates:
        return
    catalogue = DeadLetterCatalogue(session.database, session.facts.topic_id)
    found = catalogue.find(DeadLetterSelection(state=None), selection.coordinates)
    unknown = [display.address(at) for at in selection.coordinates if at not in found]
    if unknown:
        _nothing(f"no dead letter of {session.settings.events_topic}: {', '.join(unknown)}")
    decided = [f"{display.address(at)} is {entry.state}" for at, entry in found.items() if entry.state not in states]
    if decided:
        fail(f"the first decision stands: {', '.join(decided)}; leave them out", _NOT_ALL_EXIT_CODE)


def _exit_for(report: ReplayReport) -> None:
    if not report.selected:
        left_out = f" ({report.conflicts:,} event_id_conflict left out)" if report.conflicts else ""
        _nothing(f"no open dead letters match{left_out}")
    if report.refused or report.missing or report.stopped:
        raise typer.Exit(_NOT_ALL_EXIT_CODE)


def _save(path: Path, value: bytes) -> None:
    try:
        # A customer's words: for their reader's eyes only, and never over another file.
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(value)
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE_EXIT_CODE)
    err.print(f"{len(value):,} bytes written to {path}", markup=False, highlight=False, soft_wrap=True)


def _print(lines: Iterator[str] | tuple[str, ...]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _nothing(message: str) -> NoReturn:
    fail(message, _NOTHING_EXIT_CODE)
