"""What erasure and retention cost a consumer: `python -m tests.security.erasure.measure_writes`.

Needs DATABASE_URL with the right to create databases (`python -m devstack env`). Windows of 256 events go through the
real ledger into databases that differ in one thing, in turn, so that whatever else the machine does meets all of them.
"""

import json
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import make_url

from consumer.outcomes import Coordinates, Proposal
from consumer.sinks import ledger as ledger_module
from consumer.sinks.database import create_database
from consumer.sinks.ledger import Ledger
from schemas.connection import DatabaseConnection
from schemas.migrate import migrate

RECORDS = 256
TEXT = "The export of report {} stops halfway since the update, and nobody answers my messages. "
SCORES = {"negative": 0.1, "neutral": 0.2, "positive": 0.7}

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def main(windows: Annotated[int, typer.Option(min=10)] = 200) -> None:
    """Print one line of JSON: milliseconds of a window for each variant, the median and the fastest tenth."""
    variants: dict[str, str | None] = {
        "as it is": None,
        "without ix_feedback_customer_id": "DROP INDEX ix_feedback_customer_id",
        "without ix_feedback_stored_at": "DROP INDEX ix_feedback_stored_at",
        "without asking for erased events": None,
    }
    asked = ledger_module._erased_among
    with ExitStack() as held:
        ledgers = {
            name: Ledger(held.enter_context(_database(change)), uuid.uuid4(), "x") for name, change in variants.items()
        }
        took_ms: dict[str, list[float]] = {name: [] for name in variants}
        for window in range(windows):
            for name in sorted(variants, key=lambda name: hash((name, window))):
                ledger_module._erased_among = asked
                if name.endswith("erased events"):
                    ledger_module._erased_among = _nothing  # type: ignore[assignment]
                proposals = _window(window)
                began_s = time.perf_counter()
                ledgers[name].persist(proposals)
                took_ms[name].append((time.perf_counter() - began_s) * 1000)
    median = {name: round(statistics.median(times), 1) for name, times in took_ms.items()}
    # On a machine that does other things too, the fastest ones tell more.
    fastest = {name: round(statistics.quantiles(times, n=10)[0], 1) for name, times in took_ms.items()}
    figures = {"windows": windows, "records": RECORDS, "median_ms": median, "fastest_tenth_ms": fastest}
    sys.stdout.write(json.dumps(figures) + "\n")


def _nothing(*_: object) -> frozenset[uuid.UUID]:
    return frozenset()


@contextmanager
def _database(change: str | None) -> Iterator[Engine]:
    connection = DatabaseConnection()
    name = f"measure_{uuid.uuid4().hex[:8]}"
    url = make_url(connection.database_url.get_secret_value())
    server = create_engine(connection.sqlalchemy_url(), isolation_level="AUTOCOMMIT")
    with server.connect() as session:
        session.execute(text(f"CREATE DATABASE {name}"))
    own = DatabaseConnection(database_url=SecretStr(url.set(database=name).render_as_string(hide_password=False)))
    engine = create_database(own, statement_timeout_ms=60_000, lock_timeout_ms=5_000)
    try:
        migrate(engine)
        if change is not None:
            with engine.begin() as session:
                session.execute(text(change))
        yield engine
    finally:
        engine.dispose()
        with server.connect() as session:
            session.execute(text(f"DROP DATABASE {name}"))
        server.dispose()


def _window(number: int) -> list[Proposal]:
    return [_proposal(number * RECORDS + record) for record in range(RECORDS)]


def _proposal(number: int) -> Proposal:
    now = datetime.now(UTC)
    partition, offset = number % 6, number // 6
    row: dict[str, Any] = {
        "event_id": uuid.uuid4(),
        "source_topic": "feedback.events",
        "source_topic_id": uuid.UUID(int=1),
        "source_partition": partition,
        "source_offset": offset,
        "record_key": b"customer-%d" % (number % 5000),
        "payload_sha256": b"x" * 32,
        "occurred_at": now,
        "source": "web",
        "text": TEXT.format(number) * 2,
        "rating": number % 5 + 1,
        "customer_id": f"customer-{number % 5000}",
        "product": "shop",
        "language": "en",
        "metadata": {"app_version": "4.2.0"},
        "extra": {},
        "flags": [],
        **{f"{head}_scores": SCORES for head in ("sentiment", "category", "constructive")},
        "sentiment": "negative",
        "category": "bug",
        "constructive": "no",
        "needs_review": False,
        "queue": "support",
        "priority": "normal",
        "suggested_reply": None,
        "model_name": "x",
        "model_version": "1",
        "model_sha256": "x" * 64,
        "revision": 1,
        "classified_at": now,
        "latency_ms": 10.0,
        "traceparent": None,
        "tracestate": None,
    }
    return Proposal(Coordinates(partition, offset), row["event_id"], row["payload_sha256"], row=row)


if __name__ == "__main__":
    app()
