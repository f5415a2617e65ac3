"""Copy results into a table of your own, each exactly once: the position is stored in the same transaction.

Run it with KAFKA_BOOTSTRAP_SERVERS set, and the database's file as its argument. Killed at any point, it goes on
where its last transaction ended. With PostgreSQL the statements are the same.
"""

import sqlite3
import sys

from consumer.client import ClassifiedFeedbackReader

database = sqlite3.connect(sys.argv[1] if len(sys.argv) > 1 else "results.db")
database.executescript(
    """
    CREATE TABLE IF NOT EXISTS results (event_id TEXT PRIMARY KEY, category TEXT, sentiment TEXT, queue TEXT);
    CREATE TABLE IF NOT EXISTS position (partition INTEGER PRIMARY KEY, next_offset INTEGER);
    """
)
stored = dict(database.execute("SELECT partition, next_offset FROM position"))
# A service that runs for ever leaves until_end out.
with ClassifiedFeedbackReader(start=stored or "beginning", until_end=True) as reader:
    for batch in reader.batches():
        with database:
            database.executemany(
                "INSERT INTO results VALUES (?, ?, ?, ?)",
                [
                    (str(result.event.event_id), result.category.label, result.sentiment.label, result.routing.queue)
                    for result in (record.feedback for record in batch)
                ],
            )
            database.executemany("INSERT OR REPLACE INTO position VALUES (?, ?)", reader.position.items())
        print(f"{len(batch)} results stored")
(total,) = database.execute("SELECT count(*) FROM results").fetchone()
print(f"{total} results in all")
