"""What was published, what runs, and what each consumer says of it: an operator's one view."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from model_export.publishing.history import Mend, current, find_mend
from model_export.publishing.registry import RegistryDatabase, Version
from model_export.publishing.topic import ModelTopics
from schemas.announcement import Announcement, ModelReport, Role


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything `list` shows. `announced` is what the topic holds, which is the truth; `mend` what the table lacks.

    `unreadable` counts records of the topic that are no announcements; consumers pass them over.
    """

    versions: list[Version]
    announced: dict[Role, Announcement]
    reports: list[ModelReport]
    mend: Mend
    unreadable: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever published, announced or reported."""
        return not (self.versions or self.announced or self.reports or self.mend)

    def roles_of(self, manifest_sha256: str) -> list[str]:
        """What a bundle is announced for, with its share where it does not see everything."""
        return [
            role if announcement.share == 1 else f"{role} {announcement.share:.3g}"
            for role, announcement in self.announced.items()
            if announcement.manifest_sha256 == manifest_sha256
        ]

    def urls_of(self, manifest_sha256: str) -> list[str]:
        """From where consumers are told to fetch a bundle."""
        found = [each.url for each in self.announced.values() if each.manifest_sha256 == manifest_sha256]
        return list(dict.fromkeys(found))

    def disagreements(self) -> list[str]:
        """What the next publish, rollback or withdraw will bring in line, in words."""
        words = [
            f"the topic announces {_named(entry.announcement)} as {entry.role}, the table does not know it"
            if entry.announcement is not None
            else f"the topic announces no {entry.role} bundle, the table does"
            for entry in self.mend.found
        ]
        if self.mend.confirmed:
            words.append(f"{len(self.mend.confirmed)} announced by a command that ended before it could note it")
        if self.mend.never_announced:
            words.append(f"{len(self.mend.never_announced)} noted by a command that ended before it announced it")
        return words


def look(topics: ModelTopics, database: RegistryDatabase) -> Overview:
    """Read both topics and both tables, and change nothing.

    Raises:
        PublishingError: a server is away or refuses, or the topic of announcements is missing.
    """
    database.check()
    topic, unreadable = topics.announcements()
    reports = topics.reports()
    with database.opened() as registry:
        versions, entries = registry.versions(), registry.entries()
    announced = {role: found for role in get_args(Role) if (found := current(topic, role)) is not None}
    return Overview(versions, announced, _sorted(reports), find_mend(entries, topic), unreadable)


def dev_accuracy(metrics: dict[str, Any]) -> dict[str, float]:
    """Per head the accuracy on the `dev` rows that the manifest reports; empty where it was not measured."""
    measured = metrics.get("dev")
    if not isinstance(measured, dict):
        return {}
    return {
        head: float(figures["accuracy"])
        for head, figures in measured.items()
        if isinstance(figures, dict) and isinstance(figures.get("accuracy"), int | float)
    }


def to_document(overview: Overview) -> dict[str, Any]:
    """For programs to read."""
    return {
        "announced": {role: each.model_dump(mode="json") for role, each in overview.announced.items()},
        "versions": [
            {
                "name": version.name,
                "version": version.version,
                "manifest_sha256": version.manifest_sha256,
                "model_sha256": version.model_sha256,
                "url": version.url,
                "published_at": _moment(version.published_at),
                "roles": [
                    role for role, each in overview.announced.items() if each.manifest_sha256 == version.manifest_sha256
                ],
                "dev_accuracy": dev_accuracy(version.metrics),
            }
            for version in overview.versions
        ],
        "consumers": [report.model_dump(mode="json") for report in overview.reports],
        "disagreements": overview.disagreements(),
        "unreadable_records": overview.unreadable,
    }


def _sorted(reports: Iterable[ModelReport]) -> list[ModelReport]:
    return sorted(reports, key=lambda report: (report.group_id, report.replica_id, report.role))


def _named(announcement: Announcement) -> str:
    return f"{announcement.name} {announcement.version}"


def _moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
