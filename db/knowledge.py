"""Imported knowledge: rows laid over a file's entries. Each function works in a transaction."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, text

from db.models import KnowledgeRow, utc_now
from db.queries import insert_new


@dataclass(frozen=True, slots=True)
class Saved:
    """A row: an entry, or with `removed` the mark that there is none of this id."""

    id: str
    questions: tuple[str, ...] = ()
    category: str = ""
    answers: tuple[str, ...] = ()
    removed: bool = False


def revision(connection: Connection) -> int:
    """Return the number of the newest change, 0 where there was none."""
    return connection.scalar(select(func.max(KnowledgeRow.revision))) or 0


def read(connection: Connection) -> list[Saved]:
    """Return every row, in the order of their ids."""
    rows = connection.execute(
        select(
            KnowledgeRow.id,
            KnowledgeRow.questions,
            KnowledgeRow.category,
            KnowledgeRow.answers,
            KnowledgeRow.removed,
        ).order_by(KnowledgeRow.id)
    )
    return [
        Saved(row.id, tuple(row.questions), row.category, tuple(row.answers), row.removed)
        for row in rows
    ]


def save(connection: Connection, rows: Collection[Saved]) -> None:
    """Write rows in place of those of the same ids."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":  # two writers would give one number twice
        connection.execute(text("LOCK TABLE knowledge IN EXCLUSIVE MODE"))
    number, now = revision(connection) + 1, utc_now()
    insert = insert_new(connection, KnowledgeRow)
    changed: Sequence[str] = (
        *("questions", "category", "answers", "removed", "revision", "changed_at"),
    )
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[KnowledgeRow.id],
            set_={name: getattr(insert.excluded, name) for name in changed},
        ),
        [
            {
                "id": row.id,
                "questions": list(row.questions),
                "category": row.category,
                "answers": list(row.answers),
                "removed": row.removed,
                "revision": number,
                "changed_at": now,
            }
            for row in rows
        ],
    )
