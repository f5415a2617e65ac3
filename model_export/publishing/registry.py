"""The tables model_versions and model_announcements."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import Connection, NullPool, Update, create_engine, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from consumer.inference.bundle import Bundle
from model_export.publishing.errors import PublishingError
from model_export.publishing.history import Entry, Mend
from schemas.announcement import Announcement
from schemas.connection import DatabaseConnection
from schemas.database_errors import explain
from schemas.migrate import current_revision, newest_revision
from schemas.tables import model_announcements, model_versions

# Any fixed number serves: whoever announces holds the lock, so that each sees what the one before did.
_ADVISORY_LOCK_KEY: Final = 7_221_904_518
_CONNECT_TIMEOUT_S: Final = 10
_LOCK_TIMEOUT_S: Final = 30
_STATEMENT_TIMEOUT_S: Final = 40
_LOCK_NOT_AVAILABLE: Final = "55P03"


@dataclass(frozen=True, slots=True)
class Version:
    """A published bundle."""

    manifest_sha256: str
    name: str
    version: str
    model_sha256: str
    url: str
    metrics: dict[str, Any]
    published_at: datetime


class Registry:
    """One connection's work on both tables; each method is a transaction of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def record_version(self, bundle: Bundle, url: str) -> None:
        """Note that a bundle stands at a URL, whole and read back."""
        manifest = bundle.manifest
        row = {
            "manifest_sha256": bundle.manifest_sha256,
            "name": manifest.name,
            "version": manifest.version,
            "model_sha256": manifest.sha256,
            "url": url,
            "manifest": manifest.model_dump(mode="json"),
        }
        statement = upsert(model_versions).values(row)
        moved = statement.on_conflict_do_update(
            index_elements=["manifest_sha256"], set_={"url": statement.excluded.url}
        )
        with self._connection.begin():
            self._connection.execute(moved)

    def versions(self) -> list[Version]:
        """All published bundles, the newest first."""
        statement = select(model_versions).order_by(model_versions.c.published_at.desc(), model_versions.c.name)
        with self._connection.begin():
            rows = self._connection.execute(statement).mappings().all()
        return [
            Version(
                row["manifest_sha256"],
                row["name"],
                row["version"],
                row["model_sha256"],
                row["url"],
                row["manifest"].get("metrics", {}),
                row["published_at"],
            )
            for row in rows
        ]

    def entries(self) -> list[Entry]:
        """The whole history of announcements, in order."""
        statement = select(model_announcements).order_by(model_announcements.c.number)
        with self._connection.begin():
            rows = self._connection.execute(statement).mappings().all()
        return [
            Entry(
                role=row["role"],
                announcement=Announcement.model_validate(row["announcement"]) if row["announcement"] else None,
                action=row["action"],
                id=row["id"],
                reason=row["reason"],
                forced=row["forced"],
                comparison=row["comparison"],
                topic_offset=row["topic_offset"],
            )
            for row in rows
        ]

    def add(self, *entries: Entry) -> None:
        """Append to the history."""
        with self._connection.begin():
            for entry in entries:
                self._connection.execute(insert(model_announcements).values(_row(entry)))

    def confirm(self, announcement_id: UUID, topic_offset: int) -> None:
        """Note that Kafka has an announcement."""
        with self._connection.begin():
            self._connection.execute(_confirmation(announcement_id, topic_offset))

    def mend(self, mend: Mend) -> None:
        """Bring the history in line with the topic, all of it or nothing."""
        with self._connection.begin():
            for announcement_id, topic_offset in mend.confirmed.items():
                self._connection.execute(_confirmation(announcement_id, topic_offset))
            ids = model_announcements.c.id.in_(mend.never_announced)
            self._connection.execute(delete(model_announcements).where(ids))
            for entry in mend.found:
                self._connection.execute(insert(model_announcements).values(_row(entry)))


class RegistryDatabase:
    """The database of both tables."""

    def __init__(self, connection: DatabaseConnection) -> None:
        self._address = connection.database_address()
        session = {
            "application_name": "feedback-model-export",
            "timezone": "UTC",
            "synchronous_commit": "on",
            "lock_timeout": _LOCK_TIMEOUT_S * 1000,
            "statement_timeout": _STATEMENT_TIMEOUT_S * 1000,
        }
        self._engine = create_engine(
            connection.sqlalchemy_url(),
            hide_parameters=True,
            # A connection that is given back is closed: the lock ends with it.
            poolclass=NullPool,
            connect_args={
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
            },
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.dispose()

    def check(self) -> None:
        """Check that the database answers and has this version's layout.

        Raises:
            PublishingError: it does not.
        """
        with self._explained(), self._engine.connect() as connection:
            found = current_revision(connection)
        if found != newest_revision():
            raise PublishingError(
                f"{self._address} is at revision {found or 'none'}, this version needs {newest_revision()}: "
                "run `python -m schemas migrate`"
            )

    @contextmanager
    def opened(self) -> Iterator[Registry]:
        """The tables.

        Raises:
            PublishingError: the database is away or refuses.
        """
        with self._explained(), self._engine.connect() as connection:
            yield Registry(connection)

    @contextmanager
    def locked(self) -> Iterator[Registry]:
        """The tables for the one who announces; others wait.

        Raises:
            PublishingError: the database is away or refuses, or another command is at work for too long.
        """
        with self._explained(), self._engine.connect() as connection:
            with connection.begin():
                connection.execute(select(func.pg_advisory_lock(_ADVISORY_LOCK_KEY)))
            yield Registry(connection)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = error.__cause__
            if getattr(cause, "pgcode", None) == _LOCK_NOT_AVAILABLE:
                raise PublishingError(
                    "another publish, rollback or withdraw is at work: run this again when it has ended"
                ) from None
            raise PublishingError(f"{self._address}: {explain(error)}; check DATABASE_URL and the server") from None


def _row(entry: Entry) -> dict[str, Any]:
    announcement = entry.announcement
    return {
        "id": entry.id,
        "role": entry.role,
        "announcement": None if announcement is None else announcement.model_dump(mode="json"),
        "action": entry.action,
        "reason": entry.reason,
        "forced": entry.forced,
        "comparison": entry.comparison,
        "topic_offset": entry.topic_offset,
    }


def _confirmation(announcement_id: UUID, topic_offset: int) -> Update:
    noted = update(model_announcements).where(model_announcements.c.id == announcement_id)
    return noted.values(topic_offset=topic_offset)
