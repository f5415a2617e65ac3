"""The PostgreSQL tables. `schemas/migrations` creates them; a test keeps the two in step."""

from typing import Final, get_args

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from schemas.announcement import Role
from schemas.labels import CATEGORIES, CONSTRUCTIVE, SENTIMENTS

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

OUTCOMES: Final = ("classified", "duplicate", "conflict", "dead_letter", "erased")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


feedback: Final = Table(
    "feedback",
    metadata,
    Column("event_id", Uuid, nullable=False),
    # The record that owns the id: a replay of it emits the stored result, any other record is a duplicate.
    Column("source_topic", Text, nullable=False),
    Column("source_topic_id", Uuid, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("record_key", LargeBinary),
    Column("payload_sha256", LargeBinary, nullable=False),
    # The event as normalised.
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("source", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("rating", SmallInteger),
    Column("customer_id", Text),
    Column("product", Text),
    Column("language", Text),
    Column("metadata", JSONB, nullable=False),
    Column("extra", JSONB, nullable=False),
    Column("flags", ARRAY(Text), nullable=False),
    # The verdicts.
    Column("sentiment", Text, nullable=False),
    Column("sentiment_scores", JSONB, nullable=False),
    Column("category", Text, nullable=False),
    Column("category_scores", JSONB, nullable=False),
    Column(
        "constructive",
        Text,
        nullable=False,
    ),
    Column("constructive_scores", JSONB, nullable=False),
    Column("needs_review", Boolean, nullable=False),
    Column("queue", Text, nullable=False),
    Column("priority", Text, nullable=False),
    Column("suggested_reply", Text),
    # Where and when they come from.
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("model_sha256", Text, nullable=False),
    Column("revision", Integer, nullable=False, server_default=text("1")),
    Column("classified_at", DateTime(timezone=True), nullable=False),
    Column("latency_ms", Double, nullable=False),
    Column("traceparent", Text),
    Column("tracestate", Text),
    Column("stored_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(_one_of("sentiment", SENTIMENTS), name="sentiment"),
    CheckConstraint(_one_of("category", CATEGORIES), name="category"),
    CheckConstraint(_one_of("constructive", CONSTRUCTIVE), name="constructive"),
    PrimaryKeyConstraint("event_id"),
    Index(None, "occurred_at"),
    # The same expression as in the view feedback_daily, or a range of its days would read the whole table.
    Index("ix_feedback_day", text("((occurred_at AT TIME ZONE 'UTC')::date)")),
    Index(None, "category", "occurred_at"),
    Index(None, "sentiment", "occurred_at"),
    Index(None, "source", "occurred_at"),
    Index("ix_feedback_customer_id", "customer_id", postgresql_where=text("customer_id IS NOT NULL")),
    # Retention deletes from the oldest on.
    Index(None, "stored_at"),
    Index("ix_feedback_needs_review", "occurred_at", postgresql_where=text("needs_review")),
    Index("ix_feedback_text_search", text("to_tsvector('english', text)"), postgresql_using="gin"),
)

record_outcomes: Final = Table(
    "record_outcomes",
    metadata,
    Column("source_topic_id", Uuid, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    # Null where no id could be read.
    Column("event_id", Uuid),
    Column("payload_sha256", LargeBinary),
    # Set for dead letters and conflicts; the message never holds input.
    Column("stage", Text),
    Column("error_class", Text),
    Column("error_message", Text),
    Column("attempts", Integer, nullable=False, server_default=text("1")),
    Column("app_version", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(_one_of("outcome", OUTCOMES), name="outcome"),
    PrimaryKeyConstraint("source_topic_id", "source_partition", "source_offset"),
    # Operators look dead letters up by time; classified records, nearly all, stay out of this index.
    Index(
        "ix_record_outcomes_dead_letters",
        "recorded_at",
        postgresql_where=text("outcome IN ('dead_letter', 'conflict')"),
    ),
    comment="The first verdict on every record, which stands. No personal data. Kept longer than the topics.",
)

erased_events: Final = Table(
    "erased_events",
    metadata,
    Column("event_id", Uuid, nullable=False),
    Column("erased_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("event_id"),
    comment="Events of erased customers: a further copy, or one that was not read yet, is recorded as erased.",
)

erasures: Final = Table(
    "erasures",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Null where it was interrupted: what is counted here is done, another erasure did the rest.
    Column("finished_at", DateTime(timezone=True)),
    Column("database_user", Text, nullable=False, server_default=text("SESSION_USER")),
    Column("reason", Text),
    # HMAC-SHA256 of the customer's id under a key that this database does not hold; null without such a key.
    Column("customer_hmac", LargeBinary),
    Column("feedback_rows", BigInteger, nullable=False),
    Column("labels", BigInteger, nullable=False),
    Column("ledger_entries", BigInteger, nullable=False),
    Column("event_ids", BigInteger, nullable=False),
    Column("app_version", Text, nullable=False),
    PrimaryKeyConstraint("id"),
    Index(None, "customer_hmac", postgresql_where=text("customer_hmac IS NOT NULL")),
    comment="Each erasure of a customer: when, by whom, how many of each. Never the customer's id.",
)

retention_horizons: Final = Table(
    "retention_horizons",
    metadata,
    Column("table_name", Text, nullable=False),
    Column("deleted_before", DateTime(timezone=True), nullable=False),
    Column("applied_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("table_name"),
    comment="How far retention may have deleted from a table: what is older and missing is not lost.",
)

window_marks: Final = Table(
    "window_marks",
    metadata,
    Column("consumer_group", Text, nullable=False),
    Column("source_topic_id", Uuid, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    PrimaryKeyConstraint("consumer_group", "source_topic_id", "source_partition"),
    comment="What a partition's owner was classifying: if it dies there, the next owner tries these records singly.",
)

dead_letter_acceptances: Final = Table(
    "dead_letter_acceptances",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("source_topic_id", Uuid, nullable=False),
    Column("accepted_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("id"),
    Index(None, "source_topic_id", "expires_at"),
    comment="An operator's word that a run of dead letters is expected: the limits rest until expires_at.",
)

dead_letter_replays: Final = Table(
    "dead_letter_replays",
    metadata,
    Column("id", Uuid, nullable=False),
    Column("source_topic_id", Uuid, nullable=False),
    Column("selection", JSONB, nullable=False),
    Column("reason", Text, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("id"),
    # One replay of a topic at a time: whoever begins another settles this one first.
    Index(
        "ix_dead_letter_replays_unfinished",
        "source_topic_id",
        unique=True,
        postgresql_where=text("finished_at IS NULL"),
    ),
    comment="Each run of `dlq replay`: who chose what. One without finished_at runs, or was interrupted.",
)

dead_letter_decisions: Final = Table(
    "dead_letter_decisions",
    metadata,
    Column("source_topic_id", Uuid, nullable=False),
    Column("source_partition", Integer, nullable=False),
    Column("source_offset", BigInteger, nullable=False),
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("decided_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Which copy in the dead-letter topic a replay took: a second copy of the same record is not sent again.
    Column("replay_id", Uuid),
    Column("dead_letter_partition", Integer),
    Column("dead_letter_offset", BigInteger),
    # Null while the replay's Kafka transaction may still fail.
    Column("sent_at", DateTime(timezone=True)),
    CheckConstraint(_one_of("decision", ("replay", "drop")), name="decision"),
    CheckConstraint(
        "(decision = 'replay') = (replay_id IS NOT NULL AND dead_letter_partition IS NOT NULL"
        " AND dead_letter_offset IS NOT NULL)",
        name="replay",
    ),
    PrimaryKeyConstraint("source_topic_id", "source_partition", "source_offset"),
    Index(
        "ix_dead_letter_decisions_in_flight",
        "replay_id",
        postgresql_where=text("replay_id IS NOT NULL AND sent_at IS NULL"),
    ),
    comment="What an operator decided about a dead letter, by the source record's coordinates. The first one stands.",
)

labels: Final = Table(
    "labels",
    metadata,
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("category", Text),
    Column("sentiment", Text),
    Column("constructive", Text),
    Column("labelled_by", Text, nullable=False),
    Column("labelled_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(_one_of("category", CATEGORIES), name="category"),
    CheckConstraint(_one_of("sentiment", SENTIMENTS), name="sentiment"),
    CheckConstraint(_one_of("constructive", CONSTRUCTIVE), name="constructive"),
    PrimaryKeyConstraint("id"),
    Index(None, "event_id"),
    Index(None, "labelled_at"),
    comment="Corrections made by people; the newest for an event counts.",
)

model_versions: Final = Table(
    "model_versions",
    metadata,
    Column("manifest_sha256", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("model_sha256", Text, nullable=False),
    # Where it was published last; announcements name their own.
    Column("url", Text, nullable=False),
    Column("manifest", JSONB, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("manifest_sha256"),
    comment="Every bundle that was published: uploaded, and read back byte for byte.",
)

model_announcements: Final = Table(
    "model_announcements",
    metadata,
    # The record's header announcement-id.
    Column("id", Uuid, nullable=False),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("role", Text, nullable=False),
    # The record's value; null where the role was withdrawn.
    Column("announcement", JSONB(none_as_null=True)),
    Column("action", Text, nullable=False),
    Column("reason", Text),
    Column("forced", Boolean, nullable=False, server_default=text("false")),
    # How the bundle did against the live one, where it had to.
    Column("comparison", JSONB(none_as_null=True)),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Null while Kafka has not confirmed the record.
    Column("topic_offset", BigInteger),
    CheckConstraint(_one_of("role", get_args(Role)), name="role"),
    CheckConstraint(_one_of("action", ("publish", "rollback", "withdraw", "found")), name="action"),
    PrimaryKeyConstraint("id"),
    Index(None, "role", "number"),
    comment="What was announced for each role, in order. The topic feedback.models is the truth, this a projection.",
)

shadow_comparisons: Final = Table(
    "shadow_comparisons",
    metadata,
    Column("consumer_group", Text, nullable=False),
    Column("hour", DateTime(timezone=True), nullable=False),
    Column("live_version", Text, nullable=False),
    Column("live_sha256", Text, nullable=False),
    Column("shadow_version", Text, nullable=False),
    Column("shadow_sha256", Text, nullable=False),
    Column("head", Text, nullable=False),
    Column("live_label", Text, nullable=False),
    Column("shadow_label", Text, nullable=False),
    Column("events", BigInteger, nullable=False),
    # The shadow's probability of live_label less the one that went out, added up.
    Column("score_difference_sum", Double, nullable=False),
    PrimaryKeyConstraint(
        "consumer_group",
        "hour",
        "live_version",
        "live_sha256",
        "shadow_version",
        "shadow_sha256",
        "head",
        "live_label",
        "shadow_label",
    ),
    comment="How often a shadow bundle decided otherwise than what went out. At most once: a crash loses some seconds.",
)

training_jobs: Final = Table(
    "training_jobs",
    metadata,
    Column("id", Uuid, nullable=False),
    Column(
        "state",
        Text,
        nullable=False,
    ),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    Column("settings", JSONB, nullable=False),
    Column("report", JSONB),
    Column("error", Text),
    CheckConstraint(_one_of("state", ("queued", "running", "succeeded", "failed", "cancelled")), name="state"),
    PrimaryKeyConstraint("id"),
    Index(None, "state", "requested_at"),
)
