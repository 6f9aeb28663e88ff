"""What admins do: reviews, handoffs, words of their own, sign-in, the log of it.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("messages", sa.Column("author_id", sa.BigInteger(), nullable=True))
    op.add_column(
        "estimates",
        sa.Column("progress", sa.String(length=16), server_default="new", nullable=False),
    )
    op.create_table(
        "handoffs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("customer_id", sa.Integer(), nullable=False),
        sa.Column("asked_at", _TIME, nullable=True),
        sa.Column("admin_id", sa.BigInteger(), nullable=True),
        sa.Column("taken_at", _TIME, nullable=True),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_handoffs_customer_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handoffs")),
    )
    op.create_index(op.f("ix_handoffs_customer_id"), "handoffs", ["customer_id"])
    op.create_index(
        "ix_handoffs_open",
        "handoffs",
        ["bot_id", "chat_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "reviews",
        sa.Column("answer_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("admin_id", sa.BigInteger(), nullable=False),
        sa.Column("claimed_until", _TIME, nullable=False),
        sa.Column("reviewed_at", _TIME, nullable=True),
        sa.Column("verdict", sa.String(length=8), nullable=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("corrected", sa.Text(), nullable=True),
        sa.Column("entry_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["answer_id"], ["answers.id"], name=op.f("fk_reviews_answer_id")),
        sa.PrimaryKeyConstraint("answer_id", name=op.f("pk_reviews")),
    )
    op.create_index(op.f("ix_reviews_reviewed_at"), "reviews", ["reviewed_at"])
    for name in ("login_links", "admin_sessions"):
        op.create_table(
            name,
            sa.Column("token_hash", sa.String(length=64), nullable=False),
            sa.Column("telegram_id", sa.BigInteger(), nullable=False),
            sa.Column("expires_at", _TIME, nullable=False),
            sa.PrimaryKeyConstraint("token_hash", name=op.f(f"pk_{name}")),
        )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("telegram_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])


def downgrade() -> None:
    for name in ("audit", "admin_sessions", "login_links", "reviews", "handoffs"):
        op.drop_table(name)
    op.drop_column("estimates", "progress")
    op.drop_column("messages", "author_id")
