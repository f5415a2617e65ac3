"""Going back to what was announced before, and withdrawing."""

from dataclasses import dataclass

from model_export.publishing.announcing import announce, bring_in_line, renewed
from model_export.publishing.errors import NothingThereError
from model_export.publishing.history import Entry, current, previous
from model_export.publishing.progress import Progress
from model_export.publishing.registry import RegistryDatabase
from model_export.publishing.storage import verify
from model_export.publishing.topic import ModelTopics
from schemas.announcement import Announcement, Role


@dataclass(frozen=True, slots=True)
class Reversal:
    """What is announced now (None: the role is withdrawn), and what was before.

    `completed`: it was an earlier command, cut off, that announced it; this one only found out.
    """

    role: Role
    announcement: Announcement | None
    replaced: Announcement | None
    offset: int | None
    completed: bool


def roll_back(
    role: Role, reason: str | None, topics: ModelTopics, database: RegistryDatabase, progress: Progress
) -> Reversal:
    """Announce the bundle that came before, after every byte of it was read where it stands.

    Raises:
        NothingThereError: none came before.
        PublishingError: it is not whole any more, or a server is away or refuses.
    """
    database.check()
    with database.locked() as registry:
        standing = bring_in_line(registry, topics)
        replaced = current(standing.topic, role)
        # To go one further back because the first time gave no answer would be one too many.
        for entry in standing.completed:
            if entry.role == role and entry.action == "rollback":
                return Reversal(role, entry.announcement, None, entry.topic_offset, completed=True)
        before = previous(standing.entries, role)
        if before is None:
            first = "was ever announced" if replaced is None else f"came before {replaced.name} {replaced.version}"
            raise NothingThereError(f"no {role} bundle {first}: announce one with `python -m model_export publish`")
        verify(before.url, before.manifest_sha256, progress)
        progress.begin("announcing")
        announcement = renewed(before)
        offset = announce(registry, topics, Entry(role, announcement, "rollback", reason=reason))
    return Reversal(role, announcement, replaced, offset, completed=False)


def withdraw(role: Role, reason: str | None, topics: ModelTopics, database: RegistryDatabase) -> Reversal:
    """End a role: consumers let its bundle go.

    Raises:
        NothingThereError: nothing is announced for it.
        PublishingError: a server is away or refuses.
    """
    database.check()
    with database.locked() as registry:
        standing = bring_in_line(registry, topics)
        replaced = current(standing.topic, role)
        if replaced is None:
            raise NothingThereError(f"no {role} bundle is announced")
        offset = announce(registry, topics, Entry(role, None, "withdraw", reason=reason))
    return Reversal(role, None, replaced, offset, completed=False)
