"""What came of the two sides of a trial: the candidate's answers and the stable one's."""

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, not_, or_, select

from db.models import Answer, Feedback, Message, Way
from db.rollouts import Tried

# How an answer's error begins where another adapter stood in; the stand-in's own may follow.
ADAPTER_MISSED = "adapter_missed"
_MOST = 5_000  # newest answers of a side that are looked at


class Told(NamedTuple):
    """An answer for which the model was asked. Times in seconds."""

    bot_id: int
    chat_id: int
    way: Way | None
    error: str | None
    text: str | None
    first_token_s: float | None
    total_s: float | None


@dataclass(frozen=True, slots=True)
class Arm:
    """One side of a trial: its newest answers, and the last verdict (±1) of each chat."""

    answers: list[Told]
    verdicts: list[int]


class Arms(NamedTuple):
    """Both sides; `missed` is for how many answers another adapter had to be asked."""

    stable: Arm
    candidate: Arm
    missed: int


def read(connection: Connection, tried: Tried) -> Arms:
    """Return what came of a trial, until it ended."""
    missed = connection.scalar(select(func.count()).where(*_is_of(tried), _IS_MISSED))
    return Arms(
        _read_arm(connection, tried, tried.stable),
        _read_arm(connection, tried, tried.candidate),
        missed or 0,
    )


def _read_arm(connection: Connection, tried: Tried, adapter: str | None) -> Arm:
    is_its = [
        *_is_of(tried),
        Answer.way.in_((Way.MODEL, Way.FALLBACK, Way.UNSURE)),  # the last: it knew no answer
        Answer.stopped.is_(False),
        _is_by(adapter),
        # In the candidate's place: neither side's.
        or_(Answer.error.is_(None), not_(_IS_MISSED)),
    ]
    answers = connection.execute(
        select(
            *(Message.bot_id, Message.chat_id, Answer.way, Answer.error, Answer.text),
            *(Answer.first_token_s, Answer.total_s),
        )
        .join(Message, Message.id == Answer.message_id)
        .where(*is_its, Answer.text.is_not(None))
        .order_by(Answer.id.desc())
        .limit(_MOST)
    )
    verdicts = connection.execute(
        select(Message.bot_id, Message.chat_id, Feedback.value)
        .join(Answer, Answer.id == Feedback.answer_id)
        .join(Message, Message.id == Answer.message_id)
        .where(*is_its)
        .order_by(Feedback.created_at, Feedback.id)
    )
    last = {(row.bot_id, row.chat_id): row.value for row in verdicts}
    return Arm([Told(*row) for row in answers], list(last.values()))


_IS_MISSED = Answer.error.startswith(ADAPTER_MISSED, autoescape=True)


def _is_of(tried: Tried) -> list[ColumnElement[bool]]:
    """Return what is true of the answers of a trial's time."""
    since = Answer.created_at >= tried.begun_at
    return [since] if tried.ended_at is None else [since, Answer.created_at < tried.ended_at]


def _is_by(adapter: str | None) -> ColumnElement[bool]:
    """Return what is true of an adapter's answers; the base model's have none, but a model."""
    if adapter is None:
        return and_(Answer.adapter.is_(None), Answer.model.is_not(None))
    return Answer.adapter == adapter
