"""How shadow bundles compare with the bundles whose verdicts go out.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "shadow_comparisons",
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("live_version", sa.Text(), nullable=False),
        sa.Column("live_sha256", sa.Text(), nullable=False),
        sa.Column("shadow_version", sa.Text(), nullable=False),
        sa.Column("shadow_sha256", sa.Text(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("live_label", sa.Text(), nullable=False),
        sa.Column("shadow_label", sa.Text(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("score_difference_sum", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "consumer_group",
            "hour",
            "live_version",
            "live_sha256",
            "shadow_version",
            "shadow_sha256",
            "head",
            "live_label",
            "shadow_label",
            name=op.f("pk_shadow_comparisons"),
        ),
        comment="How often a shadow bundle decided otherwise than what went out. At most once: a crash loses some seconds.",
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("shadow_comparisons")
