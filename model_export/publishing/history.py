"""What was announced for each role, in order: what is current, what was before it, where table and topic differ."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from uuid import UUID, uuid4

from model_export.publishing.topic import Announced
from schemas.announcement import Announcement, Role

Action = Literal["publish", "rollback", "withdraw", "found"]
"""Which command announced it; `found`: the topic told of it, and no command had noted it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One announcement, not confirmed without a `topic_offset`. Without an `announcement` it withdrew the role."""

    role: Role
    announcement: Announcement | None
    action: Action
    id: UUID = field(default_factory=uuid4)
    reason: str | None = None
    forced: bool = False
    comparison: dict[str, Any] | None = None
    topic_offset: int | None = None


@dataclass(frozen=True, slots=True)
class Mend:
    """What the table lacks to agree with the topic.

    `confirmed` were announced, and the command ended before it could note it; `never_announced` it only meant to;
    `found` were announced without the table.
    """

    confirmed: dict[UUID, int]
    never_announced: list[UUID]
    found: list[Entry]

    def __bool__(self) -> bool:
        return bool(self.confirmed or self.never_announced or self.found)


def find_mend(entries: Iterable[Entry], topic: Iterable[Announced]) -> Mend:
    """Compare the table with the topic, which is the truth.

    Args:
        entries: the table, in order.
        topic: what the topic still holds, in order.
    """
    records = list(topic)
    offsets = {record.id: record.offset for record in records}
    unconfirmed = [entry.id for entry in entries if entry.topic_offset is None]
    confirmed = {each: offsets[each] for each in unconfirmed if each in offsets}
    never_announced = [each for each in unconfirmed if each not in offsets]
    noted = [entry for entry in entries if entry.id not in never_announced]
    found: list[Entry] = []
    for role in get_args(Role):
        found += _found(role, [entry for entry in noted if entry.role == role], [r for r in records if r.role == role])
    return Mend(confirmed, never_announced, found)


def _found(role: Role, noted: list[Entry], records: list[Announced]) -> list[Entry]:
    known = {entry.id for entry in noted}
    newest_known = max((place for place, record in enumerate(records) if record.id in known), default=-1)
    later = [
        Entry(role, record.announcement, "found", id=record.id, topic_offset=record.offset)
        for record in records[newest_known + 1 :]
    ]
    if later or not noted:
        return later
    if not records:
        # A withdrawal leaves nothing behind once the topic is compacted; anything else would still stand.
        gone = noted[-1].announcement is not None
        return [Entry(role, None, "found", topic_offset=-1)] if gone else []
    newest = records[-1]
    if noted[-1].id != newest.id and noted[-1].announcement != newest.announcement:
        # The topic was put back to an earlier state: its newest record is the truth once more.
        return [Entry(role, newest.announcement, "found", topic_offset=newest.offset)]
    return []


def current(topic: Iterable[Announced], role: Role) -> Announcement | None:
    """What consumers run in a role now; None where nothing is announced, or it was withdrawn."""
    found = None
    for record in topic:
        if record.role == role:
            found = record.announcement
    return found


def previous(entries: Iterable[Entry], role: Role) -> Announcement | None:
    """What a rollback announces: as with an editor's undo, each one goes one further back.

    After a withdrawal it is what was withdrawn. None where nothing came before.
    """
    standing: list[Announcement] = []
    withdrawn = False
    for entry in entries:
        if entry.role != role:
            continue
        if entry.announcement is None:
            withdrawn = True
            continue
        if entry.action == "rollback" and standing and not withdrawn:
            standing.pop()
        if standing and is_same(standing[-1], entry.announcement):
            standing[-1] = entry.announcement
        else:
            standing.append(entry.announcement)
        withdrawn = False
    back = 1 if withdrawn else 2
    return standing[-back] if len(standing) >= back else None


def is_same(left: Announcement, right: Announcement) -> bool:
    """Whether consumers would run the same, wherever it is fetched from."""
    return (left.manifest_sha256, left.share) == (right.manifest_sha256, right.share)
