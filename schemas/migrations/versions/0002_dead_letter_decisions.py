"""What operators decide about dead letters: replays and drops.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "dead_letter_replays",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_topic_id", sa.Uuid(), nullable=False),
        sa.Column("selection", postgresql.JSONB(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter_replays")),
        comment="Each run of `dlq replay`: who chose what. One without finished_at runs, or was interrupted.",
    )
    op.create_index(
        "ix_dead_letter_replays_unfinished",
        "dead_letter_replays",
        ["source_topic_id"],
        unique=True,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "dead_letter_decisions",
        sa.Column("source_topic_id", sa.Uuid(), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("replay_id", sa.Uuid(), nullable=True),
        sa.Column("dead_letter_partition", sa.Integer(), nullable=True),
        sa.Column("dead_letter_offset", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("decision IN ('replay', 'drop')", name=op.f("ck_dead_letter_decisions_decision")),
        sa.CheckConstraint(
            "(decision = 'replay') = (replay_id IS NOT NULL AND dead_letter_partition IS NOT NULL"
            " AND dead_letter_offset IS NOT NULL)",
            name=op.f("ck_dead_letter_decisions_replay"),
        ),
        sa.PrimaryKeyConstraint(
            "source_topic_id", "source_partition", "source_offset", name=op.f("pk_dead_letter_decisions")
        ),
        comment="What an operator decided about a dead letter, by the source record's coordinates. The first one stands.",
    )
    op.create_index(
        "ix_dead_letter_decisions_in_flight",
        "dead_letter_decisions",
        ["replay_id"],
        unique=False,
        postgresql_where=sa.text("replay_id IS NOT NULL AND sent_at IS NULL"),
    )


def downgrade() -> None:
    """Remove both tables."""
    op.drop_table("dead_letter_decisions")
    op.drop_table("dead_letter_replays")
