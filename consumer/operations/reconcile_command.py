"""`python -m consumer reconcile`: do topics, tables and offsets tell the same story?"""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Annotated, Final, NoReturn, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from consumer.operations.moments import parse_time
from consumer.operations.reconciliation.positions import RequestedRange, UnusableRangeError
from consumer.operations.reconciliation.report import to_document, to_lines
from consumer.operations.reconciliation.run import NothingInRangeError, Reconciler
from consumer.operations.session import USAGE_EXIT_CODE, err, fail, operator_session

_DISAGREEMENT_EXIT_CODE: Final = 1
_NOTHING_EXIT_CODE: Final = 4


class ReconciliationDisplay:
    """A progress bar for each topic that is read. Nothing where standard error is no terminal."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """See `consumer.operations.reconciliation.loading.Display`."""
        # Without a total the bar moves to and fro: the database tells nothing of how far it is.
        task = self._bar.add_task(what, total=total or None)

        def advance(done: int) -> None:
            self._bar.advance(task, done)

        return advance


def reconcile(
    *,
    partition: Annotated[
        list[int] | None, typer.Option(help="Only this partition; may be repeated.", min=0, show_default=False)
    ] = None,
    from_offset: Annotated[
        int | None, typer.Option(help="First offset, of a single partition.", min=0, show_default=False)
    ] = None,
    to_offset: Annotated[
        int | None, typer.Option(help="First offset left out, of a single partition.", min=0, show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            help="Records of this time or later: RFC 3339, or how long ago (90m, 2h, 3d).",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Records before this time, likewise.", metavar="TIME", show_default=False)
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Add the rows and verdicts that the topics still tell.")
    ] = False,
    show: Annotated[int, typer.Option(help="How many coordinates of each kind to show.", min=0)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compare events, ledger, rows, results, dead letters and committed offsets, and name every disagreement.

    By default everything that the events topic holds, up to the offsets that are committed at the start; consumers may
    go on meanwhile. Coordinates are PARTITION:OFFSET of the events topic. --repair adds what PostgreSQL lost, changes
    nothing that is there, and compares again.

    Exits 0 when all agree, 1 when they do not, or a server is away or refuses, 2 for bad arguments, 4 when the range
    holds nothing to compare.
    """
    requested = _requested(partition, from_offset, to_offset, since, until)
    with operator_session() as session, ReconciliationDisplay(err) as display:
        try:
            found = Reconciler(session, display, show).run(requested, repair=repair)
        except UnusableRangeError as unusable:
            fail(str(unusable), USAGE_EXIT_CODE)
        except NothingInRangeError:
            _nothing(session.settings.events_topic)
    if not found.before.records and not found.after.findings:
        _nothing(session.settings.events_topic)
    if as_json:
        document = to_document(
            found,
            topic=session.settings.events_topic,
            topic_id=str(session.facts.topic_id),
            group_id=session.settings.group_id,
        )
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        for line in to_lines(found, session.settings.events_topic):
            sys.stdout.write(line + "\n")
    if found.after.findings:
        raise typer.Exit(_DISAGREEMENT_EXIT_CODE)


def _requested(
    partitions: list[int] | None,
    from_offset: int | None,
    to_offset: int | None,
    since: str | None,
    until: str | None,
) -> RequestedRange:
    begin, end = parse_time("--since", since), parse_time("--until", until)
    if (from_offset is not None or to_offset is not None) and len(set(partitions or ())) != 1:
        fail("--from-offset and --to-offset need exactly one --partition", USAGE_EXIT_CODE)
    for offset, at, names in (
        (from_offset, begin, "--from-offset or --since"),
        (to_offset, end, "--to-offset or --until"),
    ):
        if offset is not None and at is not None:
            fail(f"choose one: {names}", USAGE_EXIT_CODE)
    if _is_empty(from_offset, to_offset) or _is_empty(begin, end):
        fail("the range is empty: its end must lie after its beginning", USAGE_EXIT_CODE)
    return RequestedRange(
        partitions=tuple(partitions) if partitions else None,
        from_offset=from_offset,
        to_offset=to_offset,
        since=begin,
        until=end,
    )


def _is_empty(first: int | datetime | None, end: int | datetime | None) -> bool:
    return first is not None and end is not None and not first < end  # type: ignore[operator]


def _nothing(topic: str) -> NoReturn:
    fail(f"nothing to compare: {topic} holds no record in that range that the group has committed", _NOTHING_EXIT_CODE)
