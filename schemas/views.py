"""The views that dashboards and reviewers read. Names and types here are a contract: columns are only ever added.

`schemas/migrations` creates them; a test compares the two. They are declared apart from `schemas.tables.metadata`,
which holds what `CREATE TABLE` makes. docs/dashboards.md explains every column.

A person's newest label comes before the model's verdict, head by head. Scores stay the model's: `category_score` is
the probability that the model gave to the label which is shown.
"""

from typing import Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

metadata: Final = MetaData()

feedback_daily: Final = Table(
    "feedback_daily",
    metadata,
    Column("day", Date),
    Column("source", Text),
    Column("product", Text),
    Column("category", Text),
    Column("sentiment", Text),
    Column("feedback_count", BigInteger),
    Column("constructive_count", BigInteger),
    Column("needs_review_count", BigInteger),
    Column("labelled_count", BigInteger),
    Column("rating_count", BigInteger),
    Column("mean_rating", Double),
    Column("mean_category_score", Double),
    Column("mean_sentiment_score", Double),
    Column("mean_constructive_score", Double),
)

review_queue: Final = Table(
    "review_queue",
    metadata,
    Column("event_id", Uuid),
    Column("occurred_at", DateTime(timezone=True)),
    Column("stored_at", DateTime(timezone=True)),
    Column("source", Text),
    Column("product", Text),
    Column("language", Text),
    Column("rating", SmallInteger),
    Column("text", Text),
    Column("flags", ARRAY(Text)),
    Column("category", Text),
    Column("category_score", Double),
    Column("sentiment", Text),
    Column("sentiment_score", Double),
    Column("constructive", Text),
    Column("constructive_score", Double),
    Column("queue", Text),
    Column("priority", Text),
    Column("priority_rank", Integer),
    Column("suggested_reply", Text),
    Column("model_name", Text),
    Column("model_version", Text),
)

constructive_feedback: Final = Table(
    "constructive_feedback",
    metadata,
    Column("event_id", Uuid),
    Column("occurred_at", DateTime(timezone=True)),
    Column("source", Text),
    Column("product", Text),
    Column("language", Text),
    Column("rating", SmallInteger),
    Column("text", Text),
    Column("category", Text),
    Column("category_score", Double),
    Column("sentiment", Text),
    Column("sentiment_score", Double),
    Column("constructive_score", Double),
    Column("queue", Text),
    Column("priority", Text),
    Column("suggested_reply", Text),
    Column("needs_review", Boolean),
    Column("labelled_at", DateTime(timezone=True)),
)
