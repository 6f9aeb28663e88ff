"""Workers and the chats they hold, limits of a customer, unfinished messages by chat.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COUNTS = ("minute", "minute_messages", "day", "day_tokens")
_UNFINISHED = sa.text("done_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("bot_id", sa.BigInteger(), nullable=False),
        sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "chats",
        sa.Column("bot_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("chat_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("worker_id", sa.String(length=32), nullable=True),
        sa.Column("blocked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("drafts_refused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("bot_id", "chat_id", name=op.f("pk_chats")),
    )
    op.create_index(op.f("ix_chats_worker_id"), "chats", ["worker_id"])
    for name in _COUNTS:
        op.add_column(
            "customers", sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False)
        )
    op.drop_index("ix_messages_unfinished", table_name="messages")
    # With a default, so that SQLite need not copy the table, which answers refer to.
    op.add_column(
        "messages",
        sa.Column("chat_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
    )
    op.execute(
        "UPDATE messages SET chat_id = (SELECT chat_id FROM conversations"
        " WHERE conversations.id = messages.conversation_id)"
    )
    op.execute("INSERT INTO chats (bot_id, chat_id) SELECT DISTINCT bot_id, chat_id FROM messages")
    _index_unfinished(["bot_id", "chat_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_messages_unfinished", table_name="messages")
    op.drop_column("messages", "chat_id")
    _index_unfinished(["bot_id", "id"])
    for name in _COUNTS:
        op.drop_column("customers", name)
    op.drop_index(op.f("ix_chats_worker_id"), table_name="chats")
    op.drop_table("chats")
    op.drop_table("workers")


def _index_unfinished(columns: list[str]) -> None:
    op.create_index(
        "ix_messages_unfinished",
        "messages",
        columns,
        sqlite_where=_UNFINISHED,
        postgresql_where=_UNFINISHED,
    )
