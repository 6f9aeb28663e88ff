"""Which conversations hold given letters: an index that follows what is said, outside of any turn.

Korean joins words to what stands before them, so that words are found by any part: a
conversation's terms are all letters and pairs of neighbouring letters of its texts, numbered. One
that lacks a term of a word lacks the word; that one with all of them has it remains to be seen.

SQLite keeps the terms in a full-text table, Postgres in an array with an index of its own. Each
function works inside the caller's transaction.
"""

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Select,
    TextClause,
    and_,
    bindparam,
    case,
    column,
    delete,
    false,
    func,
    literal_column,
    or_,
    select,
    table,
    text,
    update,
)

from db.models import (
    Answer,
    Conversation,
    Estimate,
    Feedback,
    Kind,
    Mark,
    Message,
    Recording,
    Review,
    SearchTerms,
    Way,
)
from db.queries import insert_into

Numbers = npt.NDArray[np.int32]

FOUND_WAYS = (Way.STORED, Way.MODEL, Way.FALLBACK)
REVIEWED_WAYS = (*FOUND_WAYS, Way.UNSURE, Way.DECLINED)  # all that answer a question
CLEAR = 0.6  # the confidence from which on what was found is what was asked (`bot/inquiry.py`)

_WORDLESS = (Kind.RATING, Kind.STOP, Kind.COMMAND)  # and their answers are always the same
_MOST_TERMS = 32  # of a query: more narrow it no further
_AT_ONCE = 10_000  # ids in one statement
_SPACE = ord(" ")

# What a message says: a button's text is none, but it may stand for a question.
SAID: ColumnElement[str] = case(
    (Message.kind == Kind.BUTTON, func.coalesce(Answer.asked, "")), else_=Message.text
)
_SEARCHED = Message.kind.not_in(_WORDLESS)


def fold(text: str) -> str:
    """Return `text` as it is compared: letters whole, in lower case."""
    return unicodedata.normalize("NFC", text).casefold()


def words(query: str) -> list[str]:
    """Return the words of a query, each of which has to be found."""
    return list(dict.fromkeys(fold(query).split()))


def texts_of(conversation_ids: Collection[int]) -> Select[int, int, str, str | None]:
    """Return the query for what is searched: each message's words and its answer's, newest first.

    The columns: conversation, message, its words, its answer's.
    """
    return (
        select(Message.conversation_id, Message.id, SAID, Answer.text)
        .outerjoin(Answer, Answer.message_id == Message.id)
        .where(Message.conversation_id.in_(conversation_ids), _SEARCHED)
        .order_by(Message.id.desc())
    )


def candidates(connection: Connection, wanted: Sequence[str]) -> Select[int] | None:
    """Return the query for the conversations that may hold all the words; None: any may.

    It is to be run in this transaction.
    """
    terms = _query_terms(wanted)
    if not terms:
        return None
    if connection.dialect.name == "sqlite":
        fts = table("search_fts", column("rowid"))
        return select(fts.c.rowid).where(literal_column("search_fts").op("MATCH")(_spell(terms)))
    # Postgres takes reading every row for cheap, since it does not count what lies beside the
    # table: the terms. And it guesses badly how many rows hold all of several.
    connection.execute(_USE_INDEX)
    found = select(SearchTerms.conversation_id).where(SearchTerms.terms.contains(terms))
    return select(found.cte("found").prefix_with("MATERIALIZED").c.conversation_id)


# Compiling a query takes longer than running it, and begins where a plan without an index does.
_USE_INDEX = text(
    "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"
)


# Keeping the index

_STALE = (
    select(Conversation.id, SearchTerms.terms)
    .outerjoin(SearchTerms, SearchTerms.conversation_id == Conversation.id)
    .where(
        Conversation.stale,
        Conversation.id.not_in(select(Message.conversation_id).where(Message.done_at.is_(None))),
    )
    .order_by(Conversation.id.desc())
    .limit(bindparam("most"))
    .with_for_update(of=Conversation, skip_locked=True)
)
_NEW_TEXTS = (
    select(Message.conversation_id, SAID, Answer.text)
    .outerjoin(Answer, Answer.message_id == Message.id)
    .outerjoin(SearchTerms, SearchTerms.conversation_id == Message.conversation_id)
    .where(
        Message.conversation_id.in_(bindparam("ids", expanding=True)),
        Message.id > func.coalesce(SearchTerms.up_to, 0),
        _SEARCHED,
    )
)
_MARKED: dict[Mark, ColumnElement[bool]] = {
    Mark.VOICE: Recording.message_id.is_not(None),
    Mark.ESTIMATE: Estimate.id.is_not(None),
    Mark.LIKED: Feedback.value == 1,
    Mark.DISLIKED: Feedback.value == -1,
    Mark.FAILED: Answer.way == Way.FAILED,
    Mark.UNSURE: or_(
        Answer.way == Way.UNSURE, and_(Answer.way.in_(FOUND_WAYS), Answer.confidence < CLEAR)
    ),
    Mark.REVIEWED: Review.reviewed_at.is_not(None),
    Mark.UNREVIEWED: and_(Answer.way.in_(REVIEWED_WAYS), Review.reviewed_at.is_(None)),
}
_LOOK = (
    select(
        Message.conversation_id,
        func.max(Message.id),
        func.max(case((Message.done_at.is_(None), 1), else_=0)),
        *(func.max(case((is_so, int(mark)), else_=0)) for mark, is_so in _MARKED.items()),
    )
    .outerjoin(Recording, Recording.message_id == Message.id)
    .outerjoin(Estimate, Estimate.id == Message.id)
    .outerjoin(Answer, Answer.message_id == Message.id)
    .outerjoin(Feedback, Feedback.answer_id == Answer.id)
    .outerjoin(Review, Review.answer_id == Answer.id)
    .where(Message.conversation_id.in_(bindparam("ids", expanding=True)))
    .group_by(Message.conversation_id)
)
_MARK = (
    update(Conversation)
    .where(Conversation.id == bindparam("conversation"))
    .values(stale=false(), marks=bindparam("seen"), labels=bindparam("given"))
)
_LABELS = (
    select(Message.conversation_id, Review.labels)
    .join(Answer, Answer.message_id == Message.id)
    .join(Review, Review.answer_id == Answer.id)
    .where(
        Message.conversation_id.in_(bindparam("ids", expanding=True)),
        Review.reviewed_at.is_not(None),
    )
)
_INDEXED = select(SearchTerms.conversation_id, SearchTerms.terms).where(
    SearchTerms.conversation_id.in_(bindparam("ids", expanding=True))
)
_FTS_ADD = text("INSERT INTO search_fts (rowid, terms) VALUES (:id, :terms)")
_FTS_REMOVE = text(
    "INSERT INTO search_fts (search_fts, rowid, terms) VALUES ('delete', :id, :terms)"
)


def catch_up(connection: Connection, limit: int = 100) -> int:
    """Index up to `limit` conversations that changed, the newest first; return how many.

    One in which a turn runs is left until it ends: then all that was said is written down.
    """
    had: dict[int, list[int] | None] = {
        row.id: row.terms for row in connection.execute(_STALE, {"most": limit})
    }
    if not had:
        return 0
    said: dict[int, list[str]] = {}
    for conversation_id, *texts in connection.execute(_NEW_TEXTS, {"ids": list(had)}):
        said.setdefault(conversation_id, []).extend(filter(None, texts))
    seen: dict[int, int] = dict.fromkeys(had, 0)
    rows = []
    for conversation_id, newest, is_running, *marks in connection.execute(
        _LOOK, {"ids": list(had)}
    ):
        if is_running:  # stored since they were looked for, before their rows were locked
            del seen[conversation_id]
            continue
        seen[conversation_id] = sum(marks)
        terms = np.array(had[conversation_id] or [], np.int32)
        terms = np.union1d(terms, _terms(said.get(conversation_id, [])))
        rows.append({"conversation_id": conversation_id, "up_to": newest, "terms": terms.tolist()})
    if seen:
        labels: dict[int, set[str]] = {}
        reviewed = [id_ for id_, marks in seen.items() if marks & Mark.REVIEWED]
        for conversation_id, given in connection.execute(_LABELS, {"ids": reviewed}):
            labels.setdefault(conversation_id, set()).update(given)
        connection.execute(
            _MARK,
            [
                {"conversation": id_, "seen": marks, "given": sorted(labels.get(id_, ()))}
                for id_, marks in seen.items()
            ],
        )
    if rows:
        _write(connection, rows, had)
    return len(had)


def _write(
    connection: Connection, rows: list[dict[str, Any]], had: dict[int, list[int] | None]
) -> None:
    """Write rows of terms, each of them grown from what it had."""
    if connection.dialect.name == "sqlite":
        terms = {row["conversation_id"]: row["terms"] for row in rows}
        before = {id_: old for id_ in terms if (old := had[id_]) is not None}
        grown = {id_: new for id_, new in terms.items() if new != before.get(id_)}
        _write_fts(connection, _FTS_REMOVE, {id_: before[id_] for id_ in before if id_ in grown})
        _write_fts(connection, _FTS_ADD, grown)
    connection.execute(_upsert_terms(connection.dialect.name), rows)


def touch(connection: Connection, message_id: int) -> None:
    """Have the conversation of a message looked at again: its turn, rating or review changed."""
    connection.execute(
        update(Conversation)
        .where(
            Conversation.id
            == select(Message.conversation_id).where(Message.id == message_id).scalar_subquery()
        )
        .values(stale=True)
    )


def forget(connection: Connection, message_ids: Collection[int]) -> None:
    """Take the conversations of messages out of the index, whose texts are to change or to go.

    What is left of them is indexed anew.
    """
    given = sorted(message_ids)
    for start in range(0, len(given), _AT_ONCE):
        of = select(Message.conversation_id).where(Message.id.in_(given[start : start + _AT_ONCE]))
        ids = sorted(set(connection.scalars(of)))
        connection.execute(update(Conversation).where(Conversation.id.in_(ids)).values(stale=True))
        if connection.dialect.name == "sqlite":
            indexed = connection.execute(_INDEXED, {"ids": ids})
            _write_fts(connection, _FTS_REMOVE, {row.conversation_id: row.terms for row in indexed})
        connection.execute(delete(SearchTerms).where(SearchTerms.conversation_id.in_(ids)))


@cache
def _upsert_terms(dialect: str) -> Insert:
    insert = insert_into(dialect, SearchTerms)
    return insert.on_conflict_do_update(
        index_elements=[SearchTerms.conversation_id],
        set_={"up_to": insert.excluded.up_to, "terms": insert.excluded.terms},
    )


def _write_fts(connection: Connection, statement: TextClause, terms: dict[int, list[int]]) -> None:
    if terms:
        rows = [{"id": id_, "terms": _spell(numbers)} for id_, numbers in terms.items()]
        connection.execute(statement, rows)


def _terms(texts: Iterable[str]) -> Numbers:
    """Return the numbers of all letters and pairs in texts, each once."""
    return np.unique(np.concatenate(_number(" ".join(fold(" ".join(texts)).split()))))


def _query_terms(wanted: Sequence[str]) -> list[int]:
    """Return the terms of words: their pairs, of a single letter itself."""
    parts = [
        letters if len(word) == 1 else pairs
        for word in wanted
        for letters, pairs in [_number(word)]
    ]
    return np.unique(np.concatenate(parts))[:_MOST_TERMS].tolist() if parts else []


def _number(text: str) -> tuple[Numbers, Numbers]:
    """Return the numbers of letters and of pairs of neighbours, spaces left out.

    Half of the bits are a letter's: what is no common letter may share a number with another.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) & 0xFFFF
    is_letter = codes != _SPACE
    pairs = ((codes[:-1] << 16) | codes[1:])[is_letter[:-1] & is_letter[1:]]
    return (codes[is_letter] << 16).view(np.int32), pairs.view(np.int32)


def _spell(numbers: Iterable[int]) -> str:
    """Return numbers as words of a full-text table, which no text can break out of."""
    return " ".join(f"{number & 0xFFFF_FFFF:x}" for number in numbers)
