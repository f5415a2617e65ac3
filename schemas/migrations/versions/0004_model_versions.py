"""Published bundles, and the history of what was announced for each role.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the first layout's table, which no version ever wrote to, by two."""
    op.drop_index(op.f("ix_model_versions_state_announced_at"), table_name="model_versions")
    op.drop_table("model_versions")
    op.create_table(
        "model_versions",
        sa.Column("manifest_sha256", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("model_sha256", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("manifest_sha256", name=op.f("pk_model_versions")),
        comment="Every bundle that was published: uploaded, and read back byte for byte.",
    )
    op.create_table(
        "model_announcements",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("announcement", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("forced", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("comparison", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("topic_offset", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("role IN ('live', 'shadow', 'canary')", name=op.f("ck_model_announcements_role")),
        sa.CheckConstraint(
            "action IN ('publish', 'rollback', 'withdraw', 'found')", name=op.f("ck_model_announcements_action")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_announcements")),
        comment="What was announced for each role, in order. The topic feedback.models is the truth, this a projection.",
    )
    op.create_index(op.f("ix_model_announcements_role_number"), "model_announcements", ["role", "number"], unique=False)


def downgrade() -> None:
    """Bring the first layout's table back, empty."""
    op.drop_table("model_announcements")
    op.drop_table("model_versions")
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
