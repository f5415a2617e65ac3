"""Erasures of customers, the events that they keep away, and how far retention has deleted.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, and the index that retention walks along."""
    op.create_table(
        "erased_events",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_erased_events")),
        comment="Events of erased customers: a further copy, or one that was not read yet, is recorded as erased.",
    )
    op.create_table(
        "erasures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("database_user", sa.Text(), server_default=sa.text("SESSION_USER"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("customer_hmac", sa.LargeBinary(), nullable=True),
        sa.Column("feedback_rows", sa.BigInteger(), nullable=False),
        sa.Column("labels", sa.BigInteger(), nullable=False),
        sa.Column("ledger_entries", sa.BigInteger(), nullable=False),
        sa.Column("event_ids", sa.BigInteger(), nullable=False),
        sa.Column("app_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        comment="Each erasure of a customer: when, by whom, how many of each. Never the customer's id.",
    )
    op.create_index(
        op.f("ix_erasures_customer_hmac"),
        "erasures",
        ["customer_hmac"],
        unique=False,
        postgresql_where=sa.text("customer_hmac IS NOT NULL"),
    )
    op.create_table(
        "retention_horizons",
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("deleted_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("table_name", name=op.f("pk_retention_horizons")),
        comment="How far retention may have deleted from a table: what is older and missing is not lost.",
    )
    op.create_index(op.f("ix_feedback_stored_at"), "feedback", ["stored_at"], unique=False)


def downgrade() -> None:
    """Drop them."""
    op.drop_index(op.f("ix_feedback_stored_at"), table_name="feedback")
    op.drop_table("retention_horizons")
    op.drop_table("erasures")
    op.drop_table("erased_events")
