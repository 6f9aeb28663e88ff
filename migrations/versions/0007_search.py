"""Conversations by their last message, what is to be seen of them, and what they are found by.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TERMS = postgresql.ARRAY(sa.Integer()).with_variant(sa.LargeBinary(), "sqlite")
_LIST = "ix_conversations_last_at_id_started_at_marks"


def upgrade() -> None:
    # With defaults, so that SQLite need not copy the table, which messages refer to.
    for name, type_, default in (
        ("last_at", sa.DateTime(timezone=True), sa.text("'1970-01-01'")),
        ("stale", sa.Boolean(), sa.true()),
        ("marks", sa.Integer(), sa.text("0")),
        ("labels", sa.JSON(), "[]"),
    ):
        op.add_column(
            "conversations", sa.Column(name, type_, server_default=default, nullable=False)
        )
    op.drop_index("ix_messages_conversation_id", table_name="messages")
    op.create_index("ix_messages_conversation_id_id", "messages", ["conversation_id", "id"])
    op.execute(
        "UPDATE conversations SET last_at = coalesce((SELECT max(received_at) FROM messages"
        " WHERE messages.conversation_id = conversations.id), started_at)"
    )
    op.create_index(_LIST, "conversations", ["last_at", "id", "started_at", "marks"])
    op.create_index(
        "ix_conversations_stale",
        "conversations",
        ["id"],
        sqlite_where=sa.text("stale"),
        postgresql_where=sa.text("stale"),
    )
    op.create_table(
        "search_terms",
        sa.Column("conversation_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("up_to", sa.Integer(), nullable=False),
        sa.Column("terms", _TERMS, nullable=False),
        sa.ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name=op.f("fk_search_terms_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pk_search_terms")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.create_index("search_fts", "search_terms", ["terms"], postgresql_using="gin")
    else:
        op.execute(
            "CREATE VIRTUAL TABLE search_fts USING fts5"
            "(terms, content='', detail=none, columnsize=0, tokenize=ascii)"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE search_fts")
    op.drop_table("search_terms")
    op.drop_index("ix_conversations_stale", table_name="conversations")
    op.drop_index(_LIST, table_name="conversations")
    op.drop_index("ix_messages_conversation_id_id", table_name="messages")
    op.create_index("ix_messages_conversation_id", "messages", ["conversation_id"])
    for name in ("labels", "marks", "stale", "last_at"):
        op.drop_column("conversations", name)
