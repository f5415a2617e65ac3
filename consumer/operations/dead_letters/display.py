"""What the commands print: columns for people, documents for programs. Nothing of it can act on a terminal."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from consumer.operations.dead_letters.original import OriginalRecord
from consumer.operations.dead_letters.rendering import is_text, printable, rendered
from consumer.operations.dead_letters.replay import ReplayReport
from consumer.operations.dead_letters.screening import EXPLANATIONS
from consumer.outcomes import Coordinates
from consumer.sinks.dead_letter_catalogue import DeadLetterCount, DeadLetterEntry

_SHOWN_BYTES: Final = 4_096

LIST_HEADINGS: Final = f"{'record':<16}{'recorded':<22}{'stage':<10}{'attempts':<10}{'state':<11}class"


def address(at: Coordinates) -> str:
    """Coordinates as they are typed."""
    return f"{at.partition}:{at.offset}"


def moment(when: datetime) -> str:
    """A time in RFC 3339, to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines, each column as wide as its widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def count_lines(counts: Sequence[DeadLetterCount]) -> Iterator[str]:
    """The table of numbers by stage, class and state."""
    rows = [
        (
            printable(count.stage),
            printable(count.error_class),
            count.state,
            f"{count.records:,}",
            moment(count.first_recorded_at),
            moment(count.last_recorded_at),
        )
        for count in counts
    ]
    return columns([("stage", "class", "state", "records", "first recorded", "last recorded"), *rows])


def entry_line(entry: DeadLetterEntry) -> str:
    """One dead letter under `LIST_HEADINGS`; fixed columns, so that a long list streams."""
    where, when = address(entry.coordinates), moment(entry.recorded_at)
    return (
        f"{where:<16}{when:<22}{printable(entry.stage):<10}{entry.attempts:<10}{entry.state:<11}"
        f"{printable(entry.error_class)}"
    )


def count_document(count: DeadLetterCount) -> dict[str, Any]:
    """A count for programs."""
    return {
        "stage": count.stage,
        "error_class": count.error_class,
        "state": count.state,
        "records": count.records,
        "first_recorded_at": count.first_recorded_at.isoformat(),
        "last_recorded_at": count.last_recorded_at.isoformat(),
    }


def entry_document(entry: DeadLetterEntry) -> dict[str, Any]:
    """A dead letter for programs."""
    return {
        "partition": entry.coordinates.partition,
        "offset": entry.coordinates.offset,
        "recorded_at": entry.recorded_at.isoformat(),
        "stage": entry.stage,
        "error_class": entry.error_class,
        "error_message": entry.error_message,
        "attempts": entry.attempts,
        "app_version": entry.app_version,
        "state": entry.state,
        "decided_at": entry.decided_at and entry.decided_at.isoformat(),
        "reason": entry.reason,
    }


def record_lines(entry: DeadLetterEntry, original: OriginalRecord, *, whole: bool) -> Iterator[str]:
    """A dead letter with its bytes, for people. The record's own words stand after `| `: they cannot pose as ours."""
    max_bytes = None if whole else _SHOWN_BYTES
    state: str = entry.state
    if entry.decided_at is not None:
        state += f" at {moment(entry.decided_at)}: {printable(entry.reason or '')}"
    tries = f"{entry.attempts} attempt{'s' if entry.attempts > 1 else ''}"
    yield from columns(
        [
            ("record", address(entry.coordinates)),
            ("state", state),
            ("stage", printable(entry.stage)),
            ("class", printable(entry.error_class)),
            ("message", printable(entry.error_message)),
            ("recorded", f"{moment(entry.recorded_at)} by version {printable(entry.app_version)}, {tries}"),
            ("read from", f"{original.topic} {original.partition}:{original.offset}"),
        ]
    )
    yield f"headers ({len(original.headers)})"
    for name, value in original.headers:
        first, *more = ["null"] if value is None else rendered(value, max_bytes)
        yield f"| {printable(name)}: {first}"
        yield from (f"|   {line}" for line in more)
    yield from _bytes_lines("key", original.key, max_bytes)
    if original.is_value_omitted:
        yield "value: too large for the dead-letter topic, and the events topic holds it no longer"
    else:
        yield from _bytes_lines("value", original.value, max_bytes)


def record_document(entry: DeadLetterEntry, original: OriginalRecord) -> dict[str, Any]:
    """A dead letter with its exact bytes, for programs."""
    return {
        **entry_document(entry),
        "read_from": {"topic": original.topic, "partition": original.partition, "offset": original.offset},
        "key_base64": _base64(original.key),
        "value_base64": _base64(original.value),
        "value_omitted": original.is_value_omitted,
        "headers": [{"name": name, "value_base64": _base64(value)} for name, value in original.headers],
    }


def replay_lines(report: ReplayReport, *, dry_run: bool) -> Iterator[str]:
    """What was sent and what stayed, for people."""
    yield f"{'would replay' if dry_run else 'replayed'} {_number(report.sent.total())}"
    yield from class_lines(report.sent)
    for reason, records in report.refused.items():
        some = ", ".join(address(at) for at in report.examples[reason])
        more = ", ..." if records > len(report.examples[reason]) else ""
        yield f"stay open: {records:,} {EXPLANATIONS[reason]} ({some}{more})"
    if report.missing:
        yield f"stay open: {report.missing:,} not in the dead-letter topic (its retention, or its consumer is not done)"
    if report.conflicts:
        yield f"left out: {report.conflicts:,} event_id_conflict, which would conflict again"
    if report.stopped:
        yield "stopped before the end: the rest stays open, the same command goes on"


def replay_document(report: ReplayReport, *, dry_run: bool) -> dict[str, Any]:
    """The same for programs."""
    return {
        "dry_run": dry_run,
        "selected_records": report.selected.total(),
        "replayed_records": report.sent.total(),
        "replayed": class_documents(report.sent),
        "refused": [
            {"reason": reason, "records": records, "examples": [address(at) for at in report.examples[reason]]}
            for reason, records in report.refused.items()
        ],
        "missing_records": report.missing,
        "conflicts_left_out": report.conflicts,
        "stopped": report.stopped,
    }


def class_lines(classes: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Numbers by stage and class, the largest first."""
    ranked = sorted(classes.items(), key=lambda item: (-item[1], item[0]))
    rows = [("", printable(stage), printable(error_class), f"{records:,}") for (stage, error_class), records in ranked]
    return columns(rows)


def class_documents(classes: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {"stage": stage, "error_class": error_class, "records": records}
        for (stage, error_class), records in sorted(classes.items())
    ]


def _number(records: int) -> str:
    return f"{records:,} dead letter{'' if records == 1 else 's'}"


def _bytes_lines(what: str, data: bytes | None, max_bytes: int | None) -> Iterator[str]:
    if data is None:
        yield f"{what}: null"
        return
    kind = "text" if is_text(data) else "binary"
    yield f"{what} ({len(data):,} bytes, {kind})"
    yield from (f"| {line}" for line in rendered(data, max_bytes))


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
