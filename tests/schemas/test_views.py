"""The views are what their contract says, follow labels, count UTC days, and open no table to their readers."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError

from schemas.connection import DatabaseConnection
from schemas.tables import feedback, labels
from schemas.views import constructive_feedback, feedback_daily, metadata, review_queue
from tests.conftest import Servers

pytestmark = pytest.mark.postgres

DASHBOARDS = Path(__file__).parents[2] / "docs" / "dashboards.md"


@pytest.fixture
def connection(database: DatabaseConnection) -> Iterator[Connection]:
    engine = create_engine(database.sqlalchemy_url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        # A dashboard's session may be in any zone: the views must not care.
        connection.execute(text("SET TIME ZONE 'Pacific/Auckland'"))
        yield connection
    engine.dispose()


@pytest.fixture
def store(connection: Connection) -> Callable[..., UUID]:
    """Stores one classified event, and returns its id."""

    def insert(**changes: Any) -> UUID:
        row = {
            "event_id": uuid4(),
            "source_topic": "t",
            "source_topic_id": UUID(int=1),
            "source_partition": 0,
            "source_offset": 0,
            "payload_sha256": b"",
            "occurred_at": datetime(2026, 1, 1, 12, tzinfo=UTC),
            "source": "web",
            "text": "words",
            "metadata": {},
            "extra": {},
            "flags": [],
            "sentiment": "neutral",
            "sentiment_scores": {"negative": 0.1, "neutral": 0.7, "positive": 0.2},
            "category": "bug",
            "category_scores": {"bug": 0.6, "question": 0.3, "other": 0.1},
            "constructive": "no",
            "constructive_scores": {"no": 0.8, "yes": 0.2},
            "needs_review": False,
            "queue": "support",
            "priority": "normal",
            "model_name": "m",
            "model_version": "1",
            "model_sha256": "",
            "classified_at": datetime(2026, 1, 1, 12, tzinfo=UTC),
            "latency_ms": 1.0,
            **changes,
        }
        connection.execute(feedback.insert().values(row))
        return UUID(str(row["event_id"]))

    return insert


@pytest.fixture
def label(connection: Connection) -> Callable[..., None]:
    """Stores a person's label for an event."""

    def insert(event_id: UUID, **changes: Any) -> None:
        connection.execute(labels.insert().values({"event_id": event_id, "labelled_by": "p", **changes}))

    return insert


def test_names_and_types_are_those_of_the_contract(connection: Connection) -> None:
    found = inspect(connection)
    assert set(found.get_view_names()) == set(metadata.tables)
    for view in metadata.tables.values():
        declared = [(column.name, column.type.compile(connection.dialect)) for column in view.columns]
        assert [
            (column["name"], column["type"].compile(connection.dialect)) for column in found.get_columns(view.name)
        ] == declared, view.name


def test_every_column_is_explained() -> None:
    sections = re.split(r"^## ", DASHBOARDS.read_text("utf-8"), flags=re.MULTILINE)
    for view in metadata.tables.values():
        [section] = [section for section in sections if section.startswith(f"`{view.name}`")]
        explained = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+)\|", section, re.MULTILINE)))
        assert explained == [column.name for column in view.columns]


def test_days_are_utc_and_counts_add_up(connection: Connection, store: Callable[..., UUID]) -> None:
    first, last = datetime(2026, 1, 1, 0, 0, tzinfo=UTC), datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC)
    store(occurred_at=first, rating=1, needs_review=True)
    store(occurred_at=last, rating=4, constructive="yes")
    store(occurred_at=last)
    store(occurred_at=datetime(2026, 1, 2, 0, 0, tzinfo=UTC))
    store(occurred_at=first, product="shop")
    store(occurred_at=first, source="email")
    rows = connection.execute(feedback_daily.select()).mappings().all()
    keyed = {(row["day"], row["source"], row["product"]): row for row in rows}
    assert set(keyed) == {
        (date(2026, 1, 1), "web", None),
        (date(2026, 1, 2), "web", None),
        (date(2026, 1, 1), "web", "shop"),
        (date(2026, 1, 1), "email", None),
    }
    day = keyed[date(2026, 1, 1), "web", None]
    counts = {name: day[name] for name in day if name.endswith("_count")}
    assert counts == {
        "feedback_count": 3,
        "constructive_count": 1,
        "needs_review_count": 1,
        "labelled_count": 0,
        "rating_count": 2,
    }
    assert (day["mean_rating"], day["mean_category_score"], day["mean_sentiment_score"]) == pytest.approx(
        (2.5, 0.6, 0.7)
    )
    assert day["mean_constructive_score"] == pytest.approx((0.8 + 0.2 + 0.8) / 3)


def test_the_newest_label_counts(
    connection: Connection, store: Callable[..., UUID], label: Callable[..., None]
) -> None:
    event = store()
    # Stored out of order: the time decides, not the row.
    label(event, category="question", constructive="no", labelled_at=datetime(2026, 1, 3, tzinfo=UTC))
    label(event, category="other", constructive="yes", labelled_at=datetime(2026, 1, 2, tzinfo=UTC))
    [day] = connection.execute(feedback_daily.select()).mappings()
    assert (day["category"], day["sentiment"], day["labelled_count"]) == ("question", "neutral", 1)
    assert (day["mean_category_score"], day["constructive_count"]) == (pytest.approx(0.3), 0)
    assert connection.execute(constructive_feedback.select()).all() == []
    label(event, constructive="yes", labelled_at=datetime(2026, 1, 4, tzinfo=UTC))
    [found] = connection.execute(constructive_feedback.select()).mappings()
    assert found["event_id"] == event
    assert (found["category"], found["category_score"]) == ("bug", 0.6), "a head without a label is the model's"
    assert found["constructive_score"] == 0.2
    assert found["labelled_at"] == datetime(2026, 1, 4, tzinfo=UTC)


def test_what_the_model_calls_constructive_goes_away_when_a_person_disagrees(
    connection: Connection, store: Callable[..., UUID], label: Callable[..., None]
) -> None:
    kept, removed = store(constructive="yes"), store(constructive="yes")
    store()
    label(kept, category="other")
    label(removed, constructive="no")
    [found] = connection.execute(constructive_feedback.select()).mappings()
    assert (found["event_id"], found["category"], found["text"]) == (kept, "other", "words")


def test_the_review_queue_is_in_order_and_a_label_takes_out_of_it(
    connection: Connection, store: Callable[..., UUID], label: Callable[..., None]
) -> None:
    def at(hour: int) -> datetime:
        return datetime(2026, 1, 1, hour, tzinfo=UTC)

    store(priority="urgent")
    low = store(needs_review=True, priority="low", occurred_at=at(1))
    newer = store(needs_review=True, occurred_at=at(3))
    older = store(needs_review=True, occurred_at=at(2))
    urgent = store(needs_review=True, priority="urgent", occurred_at=at(4))
    high = store(needs_review=True, priority="high", occurred_at=at(5))

    def queue() -> list[UUID]:
        return list(connection.execute(review_queue.select()).scalars())

    assert queue() == [urgent, high, older, newer, low]
    label(older, sentiment="negative")
    label(urgent)
    assert queue() == [high, newer, low]


def sql_blocks() -> list[str]:
    """What the page tells an administrator to type, statement by statement."""
    blocks = re.findall(r"^```sql\n(.*?)^```", DASHBOARDS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [statement for block in blocks for statement in re.split(r";\s*\n", block) if statement.strip()]


@pytest.fixture
def administrator(database: DatabaseConnection, servers: Servers) -> Iterator[Connection]:
    """A session that may create roles; the application's own may not."""
    url = make_url(database.sqlalchemy_url())
    engine = create_engine(
        url.set(username="postgres") if servers.stack is not None else url, isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        if not connection.scalar(text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")):
            pytest.skip("the role of DATABASE_URL may not create roles")
        yield connection
    engine.dispose()


def test_a_reader_made_as_the_page_says_reads_views_and_no_table(
    administrator: Connection, store: Callable[..., UUID]
) -> None:
    store(constructive="yes", product="shop")
    store(constructive="yes", product="warehouse")
    connection = administrator
    roles = ("grafana", "shop_team", "feedback_reader")
    try:
        for statement in sql_blocks():
            connection.exec_driver_sql(statement.replace("%", "%%"))
        connection.execute(text("SET ROLE grafana"))
        for view in metadata.tables:
            connection.execute(text(f"SELECT * FROM {view}"))  # noqa: S608
        assert connection.scalar(text("SELECT count(*) FROM constructive_feedback")) == 2
        for table in ("feedback", "labels", "record_outcomes"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                connection.execute(text(f"SELECT 1 FROM {table}"))  # noqa: S608
        with pytest.raises(ProgrammingError, match=r"permission denied|read-only"):
            connection.execute(text("CREATE TABLE public.t (i int)"))

        connection.execute(text("RESET ROLE"))
        connection.execute(text("SET ROLE shop_team"))
        assert connection.scalars(text("SELECT product FROM shop_feedback")).all() == ["shop"]
        with pytest.raises(ProgrammingError, match="permission denied"):
            connection.execute(text("SELECT 1 FROM constructive_feedback"))
        # A function of the reader's must not be shown rows that the view leaves out.
        connection.execute(
            text(
                "CREATE FUNCTION pg_temp.tell(product text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS"
                " $$ BEGIN IF product = 'warehouse' THEN RAISE 'it saw another product'; END IF; RETURN true; END $$"
            )
        )
        connection.execute(text("SELECT * FROM shop_feedback WHERE pg_temp.tell(product)"))
    finally:
        connection.execute(text("RESET ROLE"))
        for role in roles:
            if connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}):
                connection.execute(text(f"DROP OWNED BY {role}"))
                connection.execute(text(f"DROP ROLE {role}"))
