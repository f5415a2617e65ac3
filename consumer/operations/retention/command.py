"""`python -m consumer retention`: how long topics and tables keep what they hold, and the deletion of what is older."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from sqlalchemy import Connection, func, select

from consumer.operations.dead_letters.display import columns, moment
from consumer.operations.reconcile_command import ReconciliationDisplay
from consumer.operations.reconciliation.cluster import Cluster
from consumer.operations.reconciliation.staging import reconciling_session
from consumer.operations.retention.deleting import Expired, Retention
from consumer.operations.retention.limits import TableLimit, refuse_broken, table_limits
from consumer.operations.retention.topic_limits import TopicLimit, topic_limits
from consumer.operations.session import USAGE_EXIT_CODE, OperatorSession, err, fail, operator_session
from consumer.sinks.dead_letter_replays import ReplayJournal
from schemas.retention import KeptTables, load_retention

_NOTHING_EXIT_CODE: Final = 4
_EXIT_CODES: Final = (
    "Exits 0 when done, 1 when a server is away or refuses or the file would delete verdicts too early, 2 for bad "
    "arguments or a bad file, 4 when nothing is old enough."
)

app = typer.Typer(no_args_is_help=True, help="How long topics and tables keep what they hold.")

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        help="A copy of schemas/retention.toml with your limits; the file itself keeps everything.",
        metavar="FILE",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@dataclass(frozen=True, slots=True)
class _View:
    """What both commands work on."""

    session: OperatorSession
    connection: Connection
    topics: Mapping[str, TopicLimit]
    limits: list[TableLimit]
    retention: Retention


@app.command(epilog="Exits 0 when done, 1 when a server is away or refuses, 2 for bad arguments or a bad file.")
def show(file: FileOption = None, as_json: JsonOption = False) -> None:
    """Show how long each topic and table keeps what it holds, and what is older than that."""
    with _view(file) as view:
        expired = {limit.table: view.retention.count(limit) for limit in view.limits}
        if as_json:
            tables = [_table_document(limit, expired[limit.table]) for limit in view.limits]
            topics = [_topic_document(topic, limit) for topic, limit in view.topics.items()]
            sys.stdout.write(json.dumps({"topics": topics, "tables": tables}) + "\n")
            return
        _print(columns([("topic", "keeps", "holds a record for at most"), *map(_topic_row, view.topics.items())]))
        rows = [
            (limit.table, _days(limit.keep), _oldest(expired[limit.table]), f"{expired[limit.table].rows:,}")
            for limit in view.limits
        ]
        _print(("", *columns([("table", "keeps", "oldest row", "rows to delete"), *rows])))
        problems = [limit.problem for limit in view.limits if limit.problem is not None]
        if problems:
            _print(("", *problems))


@app.command(epilog=_EXIT_CODES)
def apply(
    file: FileOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Delete. Without it, only count what would be.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete rows that are older than the file allows, in small transactions, while consumers run.

    Without --yes nothing is deleted. A verdict in the ledger goes only when its record has left the events topic.
    Interrupted, the same command goes on.
    """
    with _view(file) as view, ReconciliationDisplay(err) as display:
        refuse_broken(view.limits)
        rows = {limit.table: view.retention.count(limit).rows for limit in view.limits}
        if yes:
            with ReplayJournal(view.session.database, view.session.facts.topic_id).only_one():
                rows = {
                    limit.table: view.retention.apply(
                        limit, display.begin(f"deleting from {limit.table}", rows[limit.table])
                    )
                    for limit in view.limits
                }
    if as_json:
        document = {"dry_run": not yes, "deleted_rows" if yes else "would_delete_rows": rows}
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        _print(
            f"{'deleted' if yes else 'would delete'} {count:,} from {table}" for table, count in rows.items() if count
        )
    if not any(rows.values()):
        fail("nothing is older than the file allows", _NOTHING_EXIT_CODE)
    if not yes and not as_json:
        _print(("nothing was deleted: --yes deletes",))


@contextmanager
def _view(file: Path | None) -> Iterator[_View]:
    kept = _load(file)
    with operator_session() as session, reconciling_session(session.settings) as connection:
        settings = session.settings
        client = settings.as_librdkafka()
        topics = topic_limits(client, (settings.events_topic, settings.dead_letter_topic, settings.results_topic))
        with connection.begin():
            now: datetime = connection.execute(select(func.now())).scalar_one()
        beginnings = Cluster({**client, **settings.librdkafka}, settings.group_id).beginnings(settings.events_topic)
        retention = Retention(connection, session.facts.topic_id, beginnings)
        yield _View(session, connection, topics, table_limits(kept, topics, now), retention)


def _load(file: Path | None) -> KeptTables:
    try:
        return load_retention(file)
    except OSError as error:
        fail(f"{file}: {error.strerror}", USAGE_EXIT_CODE)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        fail(f"{file}: {place}: {first['msg'].removeprefix('Value error, ')}", USAGE_EXIT_CODE)
    except ValueError as error:
        fail(f"{file}: {error}", USAGE_EXIT_CODE)


def _topic_row(item: tuple[str, TopicLimit]) -> tuple[str, str, str]:
    topic, limit = item
    if limit.is_compacted:
        return topic, "the newest of each key", "ever"
    return topic, _days(limit.retention), "ever" if limit.longest is None else _days(limit.longest)


def _days(keep: timedelta | None) -> str:
    return "forever" if keep is None else f"{keep.total_seconds() / 86_400:g}d"


def _oldest(expired: Expired) -> str:
    return "-" if expired.oldest is None else moment(expired.oldest)


def _topic_document(topic: str, limit: TopicLimit) -> dict[str, Any]:
    return {
        "topic": topic,
        "retention_s": limit.retention and limit.retention.total_seconds(),
        "longest_s": limit.longest and limit.longest.total_seconds(),
        "is_compacted": limit.is_compacted,
    }


def _table_document(limit: TableLimit, expired: Expired) -> dict[str, Any]:
    return {
        "table": limit.table,
        "keep_s": limit.keep and limit.keep.total_seconds(),
        "oldest": expired.oldest and expired.oldest.isoformat(),
        "rows_to_delete": expired.rows,
        "problem": limit.problem,
    }


def _print(lines: Iterator[str] | tuple[str, ...] | list[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")
