"""What a `security_barrier` costs a reader: `python -m tests.security.database.measure_barrier`, on DATABASE_URL.

It fills a new database of 200,000 events and 5,000 labels, and drops it afterwards.
"""

import re
import statistics
import time
import uuid

from pydantic import SecretStr
from sqlalchemy import Connection
from sqlalchemy.engine import make_url

from schemas.connection import DatabaseConnection
from schemas.migrate import migrate
from schemas.roles import Target, barrier, load_roles
from tests.security.database.guarded import engine_of, session

_ROUNDS = 9
_DAY = "occurred_at >= '2026-02-01' AND occurred_at < '2026-02-02'"
QUERIES = {
    "a day": f"SELECT * FROM constructive_feedback WHERE {_DAY}",  # noqa: S608 (constants)
    "a day of a source": f"SELECT * FROM constructive_feedback WHERE {_DAY} AND source = 'web'",  # noqa: S608
    "all days, by the text index": (
        "SELECT * FROM constructive_feedback WHERE to_tsvector('english', text) @@ to_tsquery('english', '12345')"
    ),
    "the queue's first 20": "SELECT * FROM review_queue LIMIT 20",
    "the queue's first 20 of a source": "SELECT * FROM review_queue WHERE source = 'web' LIMIT 20",
}
_FILL = """
INSERT INTO feedback (event_id, source_topic, source_topic_id, source_partition, source_offset, payload_sha256,
    occurred_at, source, text, metadata, extra, flags, sentiment, sentiment_scores, category, category_scores,
    constructive, constructive_scores, needs_review, queue, priority, model_name, model_version, model_sha256,
    classified_at, latency_ms)
SELECT gen_random_uuid(), 't', gen_random_uuid(), 0, i, '',
    timestamptz '2026-01-01' + i * interval '38.88 s', (ARRAY['web', 'email', 'app'])[1 + mod(i, 3)],
    'text number ' || i || ' ' || md5(i::text), '{}', '{}', '{}',
    (ARRAY['negative', 'neutral', 'positive'])[1 + mod(i, 3)], '{"negative": 0.3, "neutral": 0.4, "positive": 0.3}',
    (ARRAY['bug', 'question', 'other'])[1 + mod(i, 3)], '{"bug": 0.6, "question": 0.3, "other": 0.1}',
    (ARRAY['yes', 'no'])[1 + mod(i, 2)], '{"yes": 0.5, "no": 0.5}', mod(i, 10) = 0, 'support',
    (ARRAY['urgent', 'high', 'normal', 'low'])[1 + mod(i, 4)], 'm', '1', '', now(), 1
FROM generate_series(1, 200000) AS i
"""
_LABEL = "INSERT INTO labels (event_id, category, labelled_by) SELECT event_id, 'bug', 'p' FROM feedback LIMIT 5000"


def _measure(connection: Connection, query: str) -> str:
    """The median, in milliseconds, and the indexes that the plan uses."""
    times_ms = []
    for _ in range(_ROUNDS):
        began_s = time.perf_counter()
        connection.exec_driver_sql(query).all()
        times_ms.append((time.perf_counter() - began_s) * 1000)
    plan = " ".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {query}"))
    indexes = sorted(set(re.findall(r"ix_feedback_\w+", plan)))
    return f"{statistics.median(times_ms):.1f} ms ({', '.join(indexes) or 'no index'})"


def main() -> None:
    server = DatabaseConnection()
    url = make_url(server.sqlalchemy_url())
    name = f"barrier_{uuid.uuid4().hex[:8]}"
    with session(server) as administrator:
        administrator.exec_driver_sql(f"CREATE DATABASE {name}")
        database = DatabaseConnection(database_url=SecretStr(url.set(database=name).render_as_string(False)))
        try:
            migrate(engine_of(database))
            with session(database) as connection:
                for statement in (_FILL, _LABEL, "VACUUM ANALYZE"):
                    connection.exec_driver_sql(statement)
                without = {what: _measure(connection, query) for what, query in QUERIES.items()}
                for view in load_roles().barriers:
                    connection.exec_driver_sql(barrier(view, Target(name)))
                for what, query in QUERIES.items():
                    print(f"{what}: {without[what]} without, {_measure(connection, query)} with a barrier")
        finally:
            administrator.exec_driver_sql(f"DROP DATABASE {name}")


if __name__ == "__main__":
    main()
