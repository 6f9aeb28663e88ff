"""Reads Telegram updates: what of them is stored, and what is passed over by design."""

from datetime import timedelta
from typing import Any

from telegram import Message, Update

from bot.outbound import RATING_DATA, STOP_DATA
from db.models import MAX_NAME, Kind
from db.queries import Incoming, Sound, storable
from inference.text import normalize

# `stopped_message_generation` is newer (Bot API 10.3) than python-telegram-bot 22.8's types.
ALLOWED_UPDATES = ["message", "callback_query", "stopped_message_generation"]
_ID_LIMIT = 2**63
_STOPPED = "stopped_message_generation"

# Messages that say something; all others are service messages (joined, pinned, …).
_SOUNDS = ("voice", "audio", "video_note")
_CONTENT = (*_SOUNDS, "video", "photo", "document", "sticker", "animation")
_MORE_CONTENT = ("location", "venue", "contact", "poll", "dice")


def read(update: Update, bot_id: int, bot_name: str) -> Incoming | None:
    """Return what `update` means to the bot, None where it is not meant for it.

    Raises `TypeError` where an id is none: python-telegram-bot takes what JSON brings.
    """
    incoming = None
    if update.callback_query:
        incoming = _read_button(update, bot_id)
    elif update.message:
        incoming = _read_message(update, bot_id, bot_name)
    elif stopped := update.api_kwargs.get(_STOPPED):
        incoming = _read_stop(update.update_id, stopped, bot_id)
    if incoming:
        _check_ids(incoming)
    return incoming


def _check_ids(incoming: Incoming) -> None:
    ids: list[object] = [incoming.update_id, incoming.chat_id, incoming.customer_id]
    if incoming.telegram_message_id is not None:
        ids.append(incoming.telegram_message_id)
    if not all(type(i) is int and -_ID_LIMIT <= i < _ID_LIMIT for i in ids):
        msg = "an id is no 64-bit integer"
        raise TypeError(msg)
    if not isinstance(incoming.callback_id, str | None):
        msg = "a callback's id is no string"
        raise TypeError(msg)


def _read_message(update: Update, bot_id: int, bot_name: str) -> Incoming | None:
    message = update.message
    if message is None or message.from_user is None:
        return None
    # What a channel posts into its discussion group, and what other bots say, asks us nothing;
    # an administrator who writes in the group's name is a bot to Telegram too.
    speaks_for_chat = message.sender_chat and message.sender_chat.id == message.chat.id
    if message.is_automatic_forward or (message.from_user.is_bot and not speaks_for_chat):
        return None
    text, kind, sound = storable(message.text or ""), Kind.TEXT, _read_sound(message)
    if text.startswith("/"):
        first, *rest = text.split()
        command, _, addressee = first[1:].lower().partition("@")
        payload = rest[0] if rest else ""  # of a link t.me/bot?start=payload
        if addressee and addressee != bot_name.lower():
            return None
        kind = Kind.STOP if command == "stop" else Kind.COMMAND
        text = f"{command} {payload}" if command == "start" and payload else command
    elif not message.text:
        if not any(getattr(message, name) for name in (*_CONTENT, *_MORE_CONTENT)):
            return None
        kind = Kind.VOICE if sound else Kind.OTHER
    elif not normalize(text):
        kind = Kind.OTHER
    return Incoming(
        bot_id=bot_id,
        update_id=update.update_id,
        chat_id=message.chat.id,
        customer_id=message.from_user.id,
        customer_name=_name(message.from_user.full_name),
        kind=kind,
        text=text,
        telegram_message_id=message.message_id,
        new_conversation=kind == Kind.COMMAND and text == "new",
        sound=sound,
    )


def _read_sound(message: Message) -> Sound | None:
    for name in _SOUNDS:
        if file := getattr(message, name):
            seconds = file.duration
            if isinstance(seconds, timedelta):  # python-telegram-bot is about to change to these
                seconds = round(seconds.total_seconds())
            return Sound(str(file.file_id), int(seconds or 0), file.file_size)
    return None


def _read_button(update: Update, bot_id: int) -> Incoming | None:
    query = update.callback_query
    if query is None or query.message is None or query.data is None:
        return None
    return Incoming(
        bot_id=bot_id,
        update_id=update.update_id,
        chat_id=query.message.chat.id,
        customer_id=query.from_user.id,
        customer_name=_name(query.from_user.full_name),
        kind=_button_kind(query.data),
        text=storable(query.data),
        telegram_message_id=query.message.message_id,
        callback_id=query.id,
    )


def _button_kind(data: str) -> Kind:
    if data == STOP_DATA:
        return Kind.STOP
    return Kind.RATING if data.startswith(RATING_DATA) else Kind.BUTTON


def _read_stop(update_id: int, stopped: dict[str, Any], bot_id: int) -> Incoming:
    """Read a press of a draft's own Stop button.

    https://core.telegram.org/bots/api#messagegenerationstopped
    """
    chat = stopped["chat"]
    return Incoming(
        bot_id=bot_id,
        update_id=update_id,
        chat_id=chat["id"],
        customer_id=chat["id"],  # drafts exist in private chats only
        customer_name=_name(f"{chat.get('first_name', '')} {chat.get('last_name', '')}"),
        kind=Kind.STOP,
        text=f"draft:{stopped['draft_id']}",
    )


def _name(text: str) -> str:
    return storable(text).strip()[:MAX_NAME]
