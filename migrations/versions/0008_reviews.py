"""Indexes of what is reviewed first: answers that customers disliked, and doubtful ones.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_DOWN = sa.text("value = -1")
_DOUBTFUL = sa.text(
    "way IN ('unsure', 'failed') OR way IN ('stored', 'model', 'fallback') AND confidence < 0.6"
)


def upgrade() -> None:
    op.create_index(
        "ix_feedback_down", "feedback", ["answer_id"], sqlite_where=_DOWN, postgresql_where=_DOWN
    )
    op.create_index(
        "ix_answers_doubtful",
        "answers",
        ["id"],
        sqlite_where=_DOUBTFUL,
        postgresql_where=_DOUBTFUL,
    )


def downgrade() -> None:
    op.drop_index("ix_answers_doubtful", "answers")
    op.drop_index("ix_feedback_down", "feedback")
