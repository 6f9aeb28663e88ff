"""Trials of adapters: which answers whom, and what became of it.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stable", sa.String(length=256), nullable=True),
        sa.Column("candidate", sa.String(length=256), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("share", sa.SmallInteger(), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("begun_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.Column("halted_at", _TIME, nullable=True),
        sa.CheckConstraint("share BETWEEN 0 AND 100", name=op.f("ck_rollouts_share")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
    )
    op.create_index(
        "ix_rollouts_trial",
        "rollouts",
        ["stage"],
        unique=True,
        sqlite_where=sa.text("stage = 'trial'"),
        postgresql_where=sa.text("stage = 'trial'"),
    )


def downgrade() -> None:
    op.drop_table("rollouts")
