"""The one way in which anything is announced: noted, written to the topic, confirmed; mended where it was cut off."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.exc import SQLAlchemyError

from model_export.publishing.errors import PublishingError
from model_export.publishing.history import Entry, find_mend
from model_export.publishing.registry import Registry
from model_export.publishing.topic import Announced, ModelTopics
from schemas.announcement import Announcement


@dataclass(frozen=True, slots=True)
class Standing:
    """The history, in line with the topic, and what the topic holds.

    `completed` are those that an earlier command announced without having been able to say so.
    """

    entries: list[Entry]
    topic: list[Announced]
    completed: list[Entry]


def bring_in_line(registry: Registry, topics: ModelTopics) -> Standing:
    """Read the topic to its end, and note in the table what it does not know. The caller holds the lock."""
    topic, _ = topics.announcements()
    entries = registry.entries()
    mend = find_mend(entries, topic)
    if not mend:
        return Standing(entries, topic, [])
    registry.mend(mend)
    mended = registry.entries()
    return Standing(mended, topic, [entry for entry in mended if entry.id in mend.confirmed])


def announce(registry: Registry, topics: ModelTopics, entry: Entry) -> int:
    """Note, announce, confirm. Ended anywhere in between, the next command finds out from the topic what became of it.

    Returns:
        The offset of the record.

    Raises:
        PublishingError: it is not announced, or that is not known; the message says which.
    """
    registry.add(entry)
    offset = topics.announce(entry.id, entry.role, entry.announcement)
    try:
        registry.confirm(entry.id, offset)
    except SQLAlchemyError as error:
        raise PublishingError(
            f"it is announced, at offset {offset} of {topics.models}; only the database went away before it was noted "
            f"({type(error).__name__}): the next publish or rollback notes it"
        ) from None
    return offset


def renewed(announcement: Announcement) -> Announcement:
    """The same bundle, announced now."""
    return announcement.model_copy(update={"announced_at": datetime.now(UTC)})
