"""Whatever Telegram may send: read, or passed over by design, but never an exception."""

import asyncio
from itertools import count
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from telegram import Update

from bot import texts, updates
from bot.receiving import Receiver
from db import database as db
from db import queries
from db.models import Kind, Message
from tests.modelserver import ModelServer
from tests.playground import bot_at
from tests.shop import ask, open_shop

Json = dict[str, Any]

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["\0", "\ud800", "\u202e한글\u200b", "/start@x", "/", "stop", "x" * 100_000])
)
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)

PERSON = {"id": 7, "is_bot": False, "first_name": "손님"}
CHAT = {"id": 7, "type": "private", "first_name": "손님"}
MESSAGE = {"message_id": 5, "date": 1_767_225_600, "chat": CHAT, "from": PERSON, "text": "곰팡이"}
UPDATES: list[Json] = [
    {"update_id": 1, "message": MESSAGE},
    {"update_id": 2, "message": MESSAGE | {"text": "/start@deepbot now"}},
    {"update_id": 3, "edited_message": MESSAGE | {"edit_date": 1_767_225_601}},
    {"update_id": 4, "channel_post": MESSAGE | {"chat": {"id": -100, "type": "channel"}}},
    {
        "update_id": 5,
        "callback_query": {
            "id": "1",
            "from": PERSON,
            "chat_instance": "1",
            "data": "rate:1:up",
            "message": MESSAGE,
        },
    },
    {"update_id": 6, "stopped_message_generation": {"chat": CHAT, "draft_id": 3}},
    {
        "update_id": 7,
        "message": MESSAGE
        | {
            "text": None,
            "voice": {
                "file_id": "a",
                "file_unique_id": "b",
                "duration": 3,
                "mime_type": "audio/ogg",
            },
        },
    },
    {"update_id": 8, "my_chat_member": {"chat": CHAT, "from": PERSON, "date": 1}},
    {"update_id": 9, "poll_of_the_future": {"chat": CHAT}},
]


@st.composite
def mutated(draw: st.DrawFn) -> Json:
    """Draw an update with some of its parts replaced, removed or added."""
    update: Json = _copy(draw(st.sampled_from(UPDATES)))
    for _ in range(draw(st.integers(0, 4))):
        place: Any = update
        while True:
            key = draw(st.sampled_from(sorted(place)) if place else st.just("x"))
            inner = place.get(key)
            if isinstance(inner, dict) and inner and draw(st.booleans()):
                place = inner
                continue
            break
        match draw(st.sampled_from(["replace", "remove", "add"])):
            case "replace":
                place[key] = draw(anything)
            case "remove":
                place.pop(key, None)
            case "add":
                place[draw(st.sampled_from([*_NAMES]))] = draw(anything)
    return update


_NAMES = (
    *("sender_chat", "forward_origin", "via_bot", "sticker", "location", "photo", "new_chat_title"),
    *("is_automatic_forward", "reply_to_message", "entities", "caption", "dice", "x"),
)


def _copy(value: Any) -> Any:  # noqa: ANN401 - JSON
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value


class Nobody:
    """A worker that runs nothing."""

    id = "nobody"

    def take(self, stored: queries.Stored) -> None:
        """Take no notice."""


def test_no_update_is_an_exception_and_none_holds_up_another() -> None:
    good_ids = count(1_000_000)

    async def open_receiver() -> tuple[Receiver, db.Database]:
        bot = bot_at("http://127.0.0.1:9")
        bot._bot_user = _me()
        database = db.open_database("sqlite://")
        await db.upgrade(database)
        nobody: Any = Nobody()
        return Receiver(bot, database, nobody, messages_a_minute=0), database

    async def receive(batch: list[Json]) -> bool:
        good = {"update_id": next(good_ids), "message": MESSAGE}
        await receiver.receive([*batch, good])
        stored = select(Message.id).where(Message.update_id == good["update_id"])
        return await database.run(lambda c: c.scalar(stored)) is not None

    with asyncio.Runner() as runner:
        receiver, database = runner.run(open_receiver())

        @settings(max_examples=500)
        @example(batch=[{"update_id": [], "message": MESSAGE}])
        @example(batch=[{"update_id": 2**63, "message": MESSAGE}])
        @given(batch=st.lists(mutated(), min_size=1, max_size=4))
        def check(batch: list[Json]) -> None:
            assert runner.run(receive(batch))

        check()
        runner.run(database.close())


def _me() -> Any:  # noqa: ANN401 - the library's User
    message = Update.de_json({"update_id": 1, "message": MESSAGE}, None).message
    assert message
    return message.from_user


def read(body: Json) -> queries.Incoming | None:
    return updates.read(Update.de_json({"update_id": 1, **body}, None), 1, "deepbot")


def kind_of(**changes: Any) -> Kind | None:  # noqa: ANN401 - JSON
    incoming = read({"message": MESSAGE | changes})
    return incoming.kind if incoming else None


def test_each_kind_of_message_has_its_meaning_or_none_by_design() -> None:
    group = {"id": -5, "type": "supergroup", "title": "가게"}
    robot = {"id": 9, "is_bot": True, "first_name": "딴 봇"}
    origin = {"type": "hidden_user", "date": 1, "sender_user_name": "누구"}
    nothing = {"text": None}
    place = {"location": {"latitude": 37.5, "longitude": 127.0}}
    assert kind_of() == Kind.TEXT
    assert kind_of(forward_origin=origin) == Kind.TEXT
    assert kind_of(text="\u200b\u202e") == Kind.OTHER
    assert kind_of(text="/stop") == Kind.STOP
    assert kind_of(text="/help@deepbot") == Kind.COMMAND
    assert kind_of(text="/help@another_bot") is None
    assert kind_of(**nothing, **place) == Kind.OTHER
    assert kind_of(**nothing, new_chat_title="이름") is None
    assert kind_of(chat=group, sender_chat=group, **{"from": robot}) == Kind.TEXT
    assert kind_of(chat=group, **{"from": robot}) is None
    channel = {"id": -9, "type": "channel", "title": "소식"}
    assert kind_of(chat=group, sender_chat=channel, is_automatic_forward=True) is None
    assert read({"edited_message": MESSAGE}) is None
    assert read({"channel_post": MESSAGE | {"from": None}}) is None
    assert read({"poll_of_the_future": {}}) is None


async def test_a_hundred_thousand_characters_are_answered_with_a_sentence(
    database_url: str, model: ModelServer
) -> None:
    """Telegram cuts a message at 4,096 characters; another Bot API server may not."""
    async with open_shop(database_url, model) as shop:
        customer = shop.customer(301)
        sent = await customer.send("짧은 글", raw={"text": "가" * 100_000})
        (answer,) = await customer.wait_for(1, after=sent.id)
        assert answer.text == texts.TOO_LONG.format(limit=1000)
        (after,) = await ask(customer, "/help")
        assert after.text == texts.HELP
