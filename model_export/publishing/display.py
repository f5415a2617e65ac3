"""Publications, rollbacks and the overview for people, and publications for programs."""

from datetime import datetime
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from consumer.client.display import printable
from model_export.publishing.overview import Overview, dev_accuracy
from model_export.publishing.publish import Publication
from model_export.publishing.rollback import Reversal
from schemas.announcement import Announcement


class ProgressBars:
    """A line for each step, with a bar where it moves bytes. Nothing where standard error is no terminal."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, step: str, total_bytes: int | None = None) -> None:
        """A step begins."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(step, total=total_bytes)

    def advance(self, count_bytes: int) -> None:
        """So many more bytes of it are done."""
        if self._task is not None:
            self._bars.advance(self._task, count_bytes)


def publication_lines(done: Publication) -> list[str]:
    """What a publication did."""
    manifest = done.bundle.manifest
    sent = f"{done.sent_bytes:,} bytes sent" if done.sent_bytes else "it stood there already"
    lines = [f"{manifest.name} {manifest.version} stands at {done.url}: {sent}, every byte read back"]
    if done.role is None:
        lines.append("not announced: --live, --shadow or --canary does")
    elif done.offset is None:
        lines.append(f"announced as {done.role} already: nothing to do")
    else:
        before = f"before: {_named(done.replaced)}" if done.replaced is not None else "before: none"
        forced = ", although no comparison passed" if done.forced else ""
        lines.append(f"announced as {done.role} at offset {done.offset} ({before}){forced}")
    return lines


def publication_document(done: Publication) -> dict[str, Any]:
    """The same for programs."""
    return {
        "name": done.bundle.manifest.name,
        "version": done.bundle.manifest.version,
        "manifest_sha256": done.bundle.manifest_sha256,
        "model_sha256": done.bundle.manifest.sha256,
        "url": done.url,
        "sent_bytes": done.sent_bytes,
        "role": done.role,
        "announced": done.offset is not None,
        "offset": done.offset,
        "replaced": _document(done.replaced),
        "forced": done.forced,
        "comparison": done.comparison,
    }


def reversal_lines(done: Reversal) -> list[str]:
    """What a rollback or withdrawal did."""
    if done.announcement is None:
        named = "" if done.replaced is None else f" {_named(done.replaced)}"
        return [f"the {done.role} bundle{named} is withdrawn, at offset {done.offset}"]
    named = f"{_named(done.announcement)} is {done.role} again"
    if done.completed:
        cut_off = "an earlier rollback announced it, and ended before it could say so"
        return [f"{named}, at offset {done.offset}: {cut_off}; run this again to go one further back"]
    before = "nothing" if done.replaced is None else _named(done.replaced)
    return [f"{named}, at offset {done.offset} (before: {before}), from {done.announcement.url}, every byte read"]


def reversal_document(done: Reversal) -> dict[str, Any]:
    """The same for programs."""
    return {
        "role": done.role,
        "announced": _document(done.announcement),
        "replaced": _document(done.replaced),
        "offset": done.offset,
        "completed_earlier_command": done.completed,
    }


def print_overview(overview: Overview, console: Console) -> None:
    """Print the versions, what the consumers say, and where table and topic differ."""
    versions = Table("bundle", "role", "dev accuracy", "published", "announced", "where")
    known = {version.manifest_sha256 for version in overview.versions}
    for version in overview.versions:
        accuracy = ", ".join(f"{head} {value:.3f}" for head, value in dev_accuracy(version.metrics).items())
        announced = _announced_at(overview, version.manifest_sha256)
        _add(
            versions,
            f"{version.name} {version.version}",
            ", ".join(overview.roles_of(version.manifest_sha256)),
            accuracy or "not measured",
            _moment(version.published_at),
            announced,
            # An announcement keeps its place when the bundle is published to another one too.
            ", ".join(overview.urls_of(version.manifest_sha256)) or version.url,
        )
    for each in {each.manifest_sha256: each for each in overview.announced.values()}.values():
        if each.manifest_sha256 not in known:
            roles, announced = ", ".join(overview.roles_of(each.manifest_sha256)), _moment(each.announced_at)
            _add(versions, _named(each), roles, "unknown", "elsewhere", announced, each.url)
    console.print(versions)
    if overview.reports:
        reports = Table("consumer", "role", "says", "bundle", "when", "reason")
        for report in overview.reports:
            _add(
                reports,
                f"{report.group_id}/{report.replica_id}",
                report.role,
                report.state,
                f"{report.name} {report.version}",
                _moment(report.reported_at),
                report.reason or "",
            )
        console.print(reports)


def _add(table: Table, *cells: str) -> None:
    # Consumers and other programs wrote some of it: nothing that a terminal acts on, and no markup.
    table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))


def _announced_at(overview: Overview, manifest_sha256: str) -> str:
    moments = [each.announced_at for each in overview.announced.values() if each.manifest_sha256 == manifest_sha256]
    return _moment(max(moments)) if moments else ""


def _named(announcement: Announcement) -> str:
    return printable(f"{announcement.name} {announcement.version}")


def _document(announcement: Announcement | None) -> dict[str, Any] | None:
    return None if announcement is None else announcement.model_dump(mode="json")


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"
