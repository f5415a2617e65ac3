"""The first layout: feedback rows, the ledger of outcomes, labels, models, training jobs.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "dead_letter_acceptances",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source_topic_id", sa.Uuid(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter_acceptances")),
        comment="An operator's word that a run of dead letters is expected: the limits rest until expires_at.",
    )
    op.create_index(
        op.f("ix_dead_letter_acceptances_source_topic_id_expires_at"),
        "dead_letter_acceptances",
        ["source_topic_id", "expires_at"],
        unique=False,
    )
    op.create_table(
        "feedback",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("source_topic", sa.Text(), nullable=False),
        sa.Column("source_topic_id", sa.Uuid(), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("record_key", sa.LargeBinary(), nullable=True),
        sa.Column("payload_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("rating", sa.SmallInteger(), nullable=True),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column("product", sa.Text(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(), nullable=False),
        sa.Column("extra", postgresql.JSONB(), nullable=False),
        sa.Column("flags", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("sentiment", sa.Text(), nullable=False),
        sa.Column("sentiment_scores", postgresql.JSONB(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("category_scores", postgresql.JSONB(), nullable=False),
        sa.Column("constructive", sa.Text(), nullable=False),
        sa.Column("constructive_scores", postgresql.JSONB(), nullable=False),
        sa.Column("needs_review", sa.Boolean(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("suggested_reply", sa.Text(), nullable=True),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("classified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("tracestate", sa.Text(), nullable=True),
        sa.Column("stored_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "category IN ('bug', 'feature_request', 'praise', 'complaint', 'question', 'usage_tip', 'documentation', 'other')",
            name=op.f("ck_feedback_category"),
        ),
        sa.CheckConstraint("constructive IN ('no', 'yes')", name=op.f("ck_feedback_constructive")),
        sa.CheckConstraint("sentiment IN ('negative', 'neutral', 'positive')", name=op.f("ck_feedback_sentiment")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_feedback")),
    )
    op.create_index(op.f("ix_feedback_category_occurred_at"), "feedback", ["category", "occurred_at"], unique=False)
    op.create_index(
        "ix_feedback_customer_id",
        "feedback",
        ["customer_id"],
        unique=False,
        postgresql_where=sa.text("customer_id IS NOT NULL"),
    )
    op.create_index(
        "ix_feedback_needs_review", "feedback", ["occurred_at"], unique=False, postgresql_where=sa.text("needs_review")
    )
    op.create_index(op.f("ix_feedback_occurred_at"), "feedback", ["occurred_at"], unique=False)
    op.create_index(op.f("ix_feedback_sentiment_occurred_at"), "feedback", ["sentiment", "occurred_at"], unique=False)
    op.create_index(op.f("ix_feedback_source_occurred_at"), "feedback", ["source", "occurred_at"], unique=False)
    op.create_index(
        "ix_feedback_text_search",
        "feedback",
        [sa.literal_column("to_tsvector('english', text)")],
        unique=False,
        postgresql_using="gin",
    )
    op.create_table(
        "labels",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("sentiment", sa.Text(), nullable=True),
        sa.Column("constructive", sa.Text(), nullable=True),
        sa.Column("labelled_by", sa.Text(), nullable=False),
        sa.Column("labelled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "category IN ('bug', 'feature_request', 'praise', 'complaint', 'question', 'usage_tip', 'documentation', 'other')",
            name=op.f("ck_labels_category"),
        ),
        sa.CheckConstraint("constructive IN ('no', 'yes')", name=op.f("ck_labels_constructive")),
        sa.CheckConstraint("sentiment IN ('negative', 'neutral', 'positive')", name=op.f("ck_labels_sentiment")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
        comment="Corrections made by people; the newest for an event counts.",
    )
    op.create_index(op.f("ix_labels_event_id"), "labels", ["event_id"], unique=False)
    op.create_index(op.f("ix_labels_labelled_at"), "labels", ["labelled_at"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(), nullable=False),
        sa.Column("announced_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('live', 'shadow', 'retired')", name=op.f("ck_model_versions_state")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_model_versions")),
    )
    op.create_index(
        op.f("ix_model_versions_state_announced_at"), "model_versions", ["state", "announced_at"], unique=False
    )
    op.create_table(
        "record_outcomes",
        sa.Column("source_topic_id", sa.Uuid(), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=True),
        sa.Column("payload_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("error_class", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("app_version", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('classified', 'duplicate', 'conflict', 'dead_letter', 'erased')",
            name=op.f("ck_record_outcomes_outcome"),
        ),
        sa.PrimaryKeyConstraint(
            "source_topic_id", "source_partition", "source_offset", name=op.f("pk_record_outcomes")
        ),
        comment="The first verdict on every record, which stands. No personal data. Kept longer than the topics.",
    )
    op.create_index(
        "ix_record_outcomes_dead_letters",
        "record_outcomes",
        ["recorded_at"],
        unique=False,
        postgresql_where=sa.text("outcome IN ('dead_letter', 'conflict')"),
    )
    op.create_table(
        "training_jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settings", postgresql.JSONB(), nullable=False),
        sa.Column("report", postgresql.JSONB(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name=op.f("ck_training_jobs_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_jobs")),
    )
    op.create_index(
        op.f("ix_training_jobs_state_requested_at"), "training_jobs", ["state", "requested_at"], unique=False
    )
    op.create_table(
        "window_marks",
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("source_topic_id", sa.Uuid(), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("consumer_group", "source_topic_id", "source_partition", name=op.f("pk_window_marks")),
        comment="What a partition's owner was classifying: if it dies there, the next owner tries these records singly.",
    )


def downgrade() -> None:
    """Drop every table, with what is in it."""
    op.drop_table("window_marks")
    op.drop_index(op.f("ix_training_jobs_state_requested_at"), table_name="training_jobs")
    op.drop_table("training_jobs")
    op.drop_index(
        "ix_record_outcomes_dead_letters",
        table_name="record_outcomes",
        postgresql_where=sa.text("outcome IN ('dead_letter', 'conflict')"),
    )
    op.drop_table("record_outcomes")
    op.drop_index(op.f("ix_model_versions_state_announced_at"), table_name="model_versions")
    op.drop_table("model_versions")
    op.drop_index(op.f("ix_labels_labelled_at"), table_name="labels")
    op.drop_index(op.f("ix_labels_event_id"), table_name="labels")
    op.drop_table("labels")
    op.drop_index("ix_feedback_text_search", table_name="feedback", postgresql_using="gin")
    op.drop_index(op.f("ix_feedback_source_occurred_at"), table_name="feedback")
    op.drop_index(op.f("ix_feedback_sentiment_occurred_at"), table_name="feedback")
    op.drop_index(op.f("ix_feedback_occurred_at"), table_name="feedback")
    op.drop_index("ix_feedback_needs_review", table_name="feedback", postgresql_where=sa.text("needs_review"))
    op.drop_index("ix_feedback_customer_id", table_name="feedback", postgresql_where=sa.text("customer_id IS NOT NULL"))
    op.drop_index(op.f("ix_feedback_category_occurred_at"), table_name="feedback")
    op.drop_table("feedback")
    op.drop_index(op.f("ix_dead_letter_acceptances_source_topic_id_expires_at"), table_name="dead_letter_acceptances")
    op.drop_table("dead_letter_acceptances")
