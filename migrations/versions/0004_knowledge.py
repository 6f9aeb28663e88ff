"""Imported knowledge, laid over the knowledge file; what a message asks in full.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "knowledge",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("questions", sa.JSON(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("answers", sa.JSON(), nullable=False),
        sa.Column("removed", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_knowledge")),
    )
    op.create_index(op.f("ix_knowledge_revision"), "knowledge", ["revision"])
    op.add_column("answers", sa.Column("asked", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("answers", "asked")
    op.drop_table("knowledge")
