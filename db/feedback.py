"""What the buttons under an answer need: the answer itself, and a customer's verdict on it."""

from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from db.models import Answer, Feedback, Message, utc_now
from db.queries import insert_new


class ShownAnswer(NamedTuple):
    """An answer, as the buttons under it need it."""

    id: int
    sources: list[dict[str, Any]]
    keyboard: list[list[dict[str, str]]]


def answer_in_chat(
    connection: Connection, message_id: int, bot_id: int, chat_id: int
) -> ShownAnswer | None:
    """Return the answer to a message of that chat: button data may be forged."""
    found = connection.execute(
        select(Answer.id, Answer.sources, Answer.keyboard)
        .join(Message, Answer.message_id == Message.id)
        .where(Message.id == message_id, Message.bot_id == bot_id, Message.chat_id == chat_id)
    ).one_or_none()
    return ShownAnswer(*found) if found else None


def rate(connection: Connection, answer_id: int, customer_id: int, value: int) -> None:
    """Store a customer's 1 or -1 on an answer, in place of an earlier one."""
    insert = insert_new(connection, Feedback).values(
        answer_id=answer_id, customer_id=customer_id, value=value
    )
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=[Feedback.answer_id, Feedback.customer_id],
            set_={"value": value, "created_at": utc_now()},
        )
    )
