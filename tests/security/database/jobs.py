"""What each role's part of the project does in the database, by that part's own code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, insert, select, text

from consumer.errors import FatalError, PoisonEvent
from consumer.operations.erasure import work
from consumer.operations.erasure.eraser import Audit, Eraser
from consumer.operations.erasure.keys import count_rows_by_key, stage_rows_by_key
from consumer.operations.erasure.writers import wait_for_writers
from consumer.operations.reconciliation import staging
from consumer.operations.reconciliation.comparison import Horizons, compare
from consumer.operations.reconciliation.repair import Repair
from consumer.operations.retention.deleting import Retention
from consumer.operations.retention.horizons import read_horizons
from consumer.operations.retention.limits import TableLimit
from consumer.outcomes import Coordinates, Proposal
from consumer.sinks.dead_letter_catalogue import DeadLetterCatalogue
from consumer.sinks.dead_letter_drops import drop
from consumer.sinks.dead_letter_history import DeadLetterHistory
from consumer.sinks.dead_letter_replays import Claim, ReplayJournal
from consumer.sinks.dead_letter_selection import DeadLetterSelection
from consumer.sinks.ledger import Ledger
from consumer.sinks.revision import check_revision
from consumer.sinks.shadow_comparisons import ShadowComparisons
from consumer.sinks.window_marks import Mark, WindowMarks
from model_export.publishing.history import Entry, Mend
from model_export.publishing.registry import RegistryDatabase
from schemas.connection import DatabaseConnection
from schemas.retention import KeptTables
from schemas.tables import erased_events, labels, shadow_comparisons
from schemas.views import metadata as views
from tests.deploy.deployed_settings import ROOT
from tests.docs.pages import blocks_of
from tests.security.database.guarded import engine_of, session
from training.feedback_rows import read_feedback_rows

Job = Callable[[DatabaseConnection, DatabaseConnection], None]
"""Takes the role's login, and the owner's for what others do meanwhile."""

JOBS: dict[str, list[Job]] = {}
TOPIC_ID = UUID(int=1)
COMPARED: dict[str, Any] = {
    "hour": datetime(2026, 1, 1, tzinfo=UTC),
    **{f"{which}_{what}": "1" for which in ("live", "shadow") for what in ("version", "sha256", "label")},
    "head": "category",
    "events": 1,
    "score_difference_sum": 0.5,
}
_offsets = count()


def _job(role: str) -> Callable[[Job], Job]:
    def register(job: Job) -> Job:
        JOBS.setdefault(role, []).append(job)
        return job

    return register


@contextmanager
def _engine(connection: DatabaseConnection) -> Iterator[Engine]:
    engine = engine_of(connection)
    try:
        yield engine
    finally:
        engine.dispose()


def row(event_id: UUID | None = None, at: Coordinates | None = None, **changes: Any) -> dict[str, Any]:
    """A classified event as the consumer stores it."""
    event_id, at = event_id or uuid4(), at or _next()
    return {
        "event_id": event_id,
        "source_topic": "t",
        "source_topic_id": TOPIC_ID,
        "source_partition": at.partition,
        "source_offset": at.offset,
        "record_key": None,
        "payload_sha256": b"1",
        "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
        "source": "web",
        "text": "words",
        "rating": None,
        "customer_id": "customer",
        "product": None,
        "language": None,
        "metadata": {},
        "extra": {},
        "flags": [],
        "sentiment": "neutral",
        "sentiment_scores": {"neutral": 1.0},
        "category": "bug",
        "category_scores": {"bug": 1.0},
        "constructive": "no",
        "constructive_scores": {"no": 1.0},
        "needs_review": True,
        "queue": "support",
        "priority": "normal",
        "suggested_reply": None,
        "model_name": "m",
        "model_version": "1",
        "model_sha256": "",
        "revision": 1,
        "classified_at": datetime(2026, 1, 1, tzinfo=UTC),
        "latency_ms": 1.0,
        "traceparent": None,
        "tracestate": None,
        **changes,
    }


class _Bundle:
    """As much of a bundle as the registry notes."""

    manifest_sha256 = "of one bundle"

    class manifest:  # noqa: N801 (an attribute, not a class to use)
        name, version, sha256 = "m", "1", ""

        @staticmethod
        def model_dump(mode: str) -> dict[str, object]:
            return {"metrics": {}, "written": mode}


def _next() -> Coordinates:
    return Coordinates(0, next(_offsets))


def seed(owner: DatabaseConnection, *rows: dict[str, Any]) -> None:
    """Store events, one that needs review if none is given, and a dead letter."""
    _record(owner, *(_classified(each) for each in rows or (row(),)), _dead_letter())


def _classified(stored: dict[str, Any] | None = None) -> Proposal:
    stored = stored or row()
    at = Coordinates(stored["source_partition"], stored["source_offset"])
    return Proposal(at, stored["event_id"], b"1", row=stored)


def _dead_letter() -> Proposal:
    return Proposal(_next(), failure=PoisonEvent("decode", "not_json", "no JSON"))


def _record(connection: DatabaseConnection, *proposals: Proposal) -> None:
    with _engine(connection) as engine:
        Ledger(engine, TOPIC_ID, "test").persist(proposals)


@_job("consumer")
def start(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with _engine(login) as engine:
        check_revision(engine)


@_job("consumer")
def record_verdicts(login: DatabaseConnection, owner: DatabaseConnection) -> None:
    first, erased = _classified(), _classified()
    with session(owner) as others:
        others.execute(insert(erased_events).values(event_id=erased.event_id))
    proposals = [
        first,
        Proposal(_next(), first.event_id, b"1"),
        Proposal(_next(), first.event_id, b"other content"),
        _dead_letter(),
        erased,
    ]
    with _engine(login) as engine:
        ledger = Ledger(engine, TOPIC_ID, "test")
        at = [proposal.coordinates for proposal in proposals]
        ledger.look_up(at, [first.event_id or uuid4()])
        ledger.persist(proposals)
        stands = [ledger.read_back(at)[coordinates].outcome for coordinates in at]
        assert stands == ["classified", "duplicate", "conflict", "dead_letter", "erased"]
        ledger.next_offsets([0])
        ledger.count_from(0, 0, 10)


@_job("consumer")
def mark_windows(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with _engine(login) as engine:
        marks = WindowMarks(engine, TOPIC_ID, "group")
        for attempts in (1, 2):
            marks.set({0: Mark(0, 1, attempts)})
        assert marks.load([0])[0].attempts == 2
        marks.clear([0])


@_job("consumer")
def weigh_dead_letters(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with _engine(login) as engine:
        history = DeadLetterHistory(engine, TOPIC_ID)
        history.recent(0, 10, 10)
        history.is_accepted()


@_job("consumer")
def compare_shadow(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with _engine(login) as engine:
        store = ShadowComparisons(engine, "group")
        store.add([COMPARED])
        store.add([COMPARED])


@_job("operator")
def decide_about_dead_letters(login: DatabaseConnection, owner: DatabaseConnection) -> None:
    letters = [_dead_letter() for _ in range(4)]
    _record(owner, *letters)
    at = [letter.coordinates for letter in letters]
    with _engine(login) as engine:
        check_revision(engine)
        catalogue = DeadLetterCatalogue(engine, TOPIC_ID)
        catalogue.count(DeadLetterSelection())
        assert list(catalogue.entries(DeadLetterSelection(), 10))
        catalogue.find(DeadLetterSelection(), at)
        drop(engine, TOPIC_ID, DeadLetterSelection(coordinates=(at[0],)), "reason")
        journal = ReplayJournal(engine, TOPIC_ID)
        with journal.only_one():
            # What another attempt of this job left behind.
            if (unfinished := journal.unfinished()) is not None:
                journal.settle(unfinished, {})
            replay = journal.begin(DeadLetterSelection(), "reason")
            assert journal.claim(replay, [Claim(at[1], 0, 0)])
            journal.confirm(replay)
            journal.finish(replay)
            interrupted = journal.begin(DeadLetterSelection(), "reason")
            journal.claim(interrupted, [Claim(at[2], 0, 0), Claim(at[3], 0, 1)])
            settled = journal.settle(interrupted, {0: 1})
            assert (settled.sent, settled.released) == (1, 1)


@_job("operator")
def accept_dead_letters(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with _engine(login) as engine:
        DeadLetterHistory(engine, TOPIC_ID).accept("reason", 60)


@_job("operator")
def reconcile_and_repair(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with staging.reconciling_session(login) as connection:
        staging.create_staging(connection)
        staging.analyze(connection, staging.events, staging.results)
        compare(connection, topic="t", topic_id=TOPIC_ID, outputs={}, horizons=Horizons(None, None, None), show=1)
        # The reader of topics and the display serve no statement here.
        repair = Repair(connection, None, None, TOPIC_ID, "t", "r", "d", None)  # type: ignore[arg-type]
        lost = row(uuid4(), _next())
        assert repair._insert_rows([lost]) == (1, 1)


@_job("operator")
def leave_what_is_gone(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with staging.reconciling_session(login) as connection:
        staging.create_staging(connection)
        repair = Repair(connection, None, None, TOPIC_ID, "t", "r", "d", None)  # type: ignore[arg-type]
        repair._record_erased()
        with connection.begin():
            read_horizons(connection)


@_job("privacy")
def erase(login: DatabaseConnection, owner: DatabaseConnection) -> None:
    theirs = row(customer_id=f"customer-{uuid4()}")
    seed(owner, theirs)
    with session(owner) as others:
        others.execute(labels.insert().values(event_id=theirs["event_id"], labelled_by="reviewer"))
    audit = Audit(id=uuid4(), reason="reason", customer_hmac=b"1")
    with _engine(login) as engine:
        check_revision(engine)
        with ReplayJournal(engine, TOPIC_ID).only_one(), staging.reconciling_session(login) as connection:
            work.create(connection)
            names = (theirs["customer_id"],)
            stage_rows_by_key(connection, [names])
            count_rows_by_key(connection, [names])
            eraser = Eraser(connection, 0, names)
            assert eraser.collect().feedback_rows == 1
            eraser.count_unread_undecodable()
            eraser.announce(audit)
            wait_for_writers(connection)
            done = eraser.erase(audit, lambda _: None)
            assert (done.feedback_rows, done.labels, done.ledger_entries) == (1, 1, 1)
            assert eraser.earlier(b"1")


@_job("privacy")
def wait_for_replays(login: DatabaseConnection, owner: DatabaseConnection) -> None:
    with _engine(owner) as others, ReplayJournal(others, TOPIC_ID).only_one(), _engine(login) as engine:
        journal = ReplayJournal(engine, TOPIC_ID)
        with pytest.raises(FatalError, match="wait for its end"), journal.only_one():
            pass


@_job("privacy")
def keep_no_longer(login: DatabaseConnection, owner: DatabaseConnection) -> None:
    seed(owner)
    with session(owner) as others:
        others.execute(labels.insert().values(event_id=uuid4(), labelled_by="reviewer"))
        others.execute(insert(erased_events).values(event_id=uuid4()))
        others.execute(insert(shadow_comparisons).values(COMPARED | {"consumer_group": str(uuid4())}))
    later = datetime.now(UTC) + timedelta(days=1)
    with staging.reconciling_session(login) as connection:
        retention = Retention(connection, TOPIC_ID, {0: 1_000_000})
        for table in KeptTables.model_fields:
            limit = TableLimit(table, timedelta(0), later)
            assert retention.count(limit).rows > 0
            assert retention.apply(limit, lambda _: None) > 0


@_job("reader")
def look(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with session(login) as connection:
        for view in views.tables.values():
            connection.execute(select(view)).all()


@_job("reviewer")
def review(login: DatabaseConnection, owner: DatabaseConnection) -> None:
    _record(owner, _classified())
    look(login, owner)
    with session(login) as connection:
        found = connection.execute(text("SELECT event_id FROM review_queue LIMIT 1")).scalar_one()
        correction = {"event_id": found, "category": "bug", "sentiment": "neutral", "constructive": "no"}
        connection.execute(labels.insert().inline().values(**correction, labelled_by="reviewer"))


@_job("announcer")
def announce(login: DatabaseConnection, _: DatabaseConnection) -> None:
    with RegistryDatabase(login) as database:
        database.check()
        with database.locked() as registry:
            for url in ("one", "other"):
                registry.record_version(_Bundle(), url)  # type: ignore[arg-type]
            assert registry.versions()
            noted, never = Entry("live", None, "withdraw"), Entry("live", None, "withdraw")
            registry.add(noted, never)
            registry.confirm(noted.id, 1)
            registry.mend(Mend({noted.id: 2}, [never.id], [Entry("live", None, "found", topic_offset=3)]))
            assert registry.entries()


@_job("announcer")
def judge_shadow(login: DatabaseConnection, _: DatabaseConnection) -> None:
    [query] = [block for block in blocks_of(ROOT / "docs/models.md") if "FROM shadow_comparisons" in block.text]
    with session(login) as connection:
        connection.exec_driver_sql(query.text)


@_job("trainer")
def read_labelled(login: DatabaseConnection, owner: DatabaseConnection) -> None:
    labelled = _classified()
    _record(owner, labelled)
    with session(owner) as others:
        others.execute(labels.insert().values(event_id=labelled.event_id, category="bug", labelled_by="reviewer"))
    assert list(read_feedback_rows(login, datetime.now(UTC) - timedelta(days=1)))
