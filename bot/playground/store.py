"""What the playground remembers: in memory, written through to SQLite so a restart goes on.

Drafts and pressed buttons live for seconds and are not written.
"""

import asyncio
import json
import secrets
import sqlite3
import time
from dataclasses import fields
from pathlib import Path

from bot.playground.errors import bad_request
from bot.playground.events import Hub
from bot.playground.records import Callback, Chat, Draft, File, Json, Message

DRAFT_LIFETIME_S = 30.0  # https://core.telegram.org/bots/api#sendmessagedraft
CALLBACK_LIFETIME_S = 15.0

# AUTOINCREMENT keeps the highest id ever given, also when its row is gone.
_SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS chats (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS updates (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, body TEXT NOT NULL, data BLOB NOT NULL);
"""


class Store:
    """All chats, messages, files and updates; every change is announced on `hub`."""

    def __init__(self, path: Path | None = None) -> None:
        self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
        self._db.executescript(_SCHEMA)
        self.hub = Hub()
        self.bot: Json = {"id": 1, "is_bot": True, "first_name": "딥봇"}
        self.drafts: dict[int, Draft] = {}
        self._stopped: dict[int, int] = {}
        self._callbacks: dict[str, Callback] = {}
        self.chats = {
            id_: Chat(**json.loads(body))
            for id_, body in self._db.execute("SELECT id, body FROM chats ORDER BY rowid")
        }
        self.files = {
            id_: File(**json.loads(body))
            for id_, body in self._db.execute("SELECT id, body FROM files")
        }
        self._messages: dict[int, dict[int, Message]] = {}
        for (body,) in self._db.execute("SELECT body FROM messages ORDER BY id"):
            message = Message(**json.loads(body))
            self._messages.setdefault(message.chat_id, {})[message.id] = message
        self.pending: dict[int, str] = dict(
            self._db.execute("SELECT id, body FROM updates ORDER BY id")
        )
        highest = dict(self._db.execute("SELECT name, seq FROM sqlite_sequence"))
        self._last_message_id: int = highest.get("messages", 0)
        # A new playground starts where the clock is, so that a bot whose own store outlived an
        # older playground does not take the new updates for repeats.
        self._last_update_id: int = highest.get("updates", int(time.time()))

    def close(self) -> None:
        """Close the database and forget the drafts."""
        for draft in self.drafts.values():
            if draft.timer:
                draft.timer.cancel()
        self._db.close()

    # Settings

    def setting(self, name: str) -> Json:
        """Return a stored setting, empty when it was never set."""
        row = self._db.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        value: Json = json.loads(row[0]) if row else {}
        return value

    def set_setting(self, name: str, value: Json) -> None:
        """Store a setting."""
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(value)))

    # Chats

    def open_chat(self, chat_id: int) -> Chat:
        """Return the chat with this id, made now if there is none."""
        if chat_id not in self.chats:
            private = chat_id > 0
            name = f"손님 {chat_id}" if private else f"그룹 {-chat_id}"
            self.save_chat(Chat(chat_id, name, "private" if private else "group"))
        return self.chats[chat_id]

    def new_chat(self, name: str, type_: str) -> Chat:
        """Make a chat with an id that was never used."""
        if type_ == "private":
            chat = self.open_chat(max((1000, *self.chats)) + 1)
        else:
            chat = self.open_chat(min((-1000, *self.chats)) - 1)
        if name:
            chat.name = name
            self.save_chat(chat)
        return chat

    def save_chat(self, chat: Chat) -> None:
        """Keep a chat as it is now."""
        self.chats[chat.id] = chat
        self._db.execute(
            "INSERT INTO chats VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (chat.id, _dump(chat)),
        )

    def user(self, user_id: int) -> Json:
        """Return the Bot API's User with this id."""
        chat = self.chats.get(user_id)
        name = chat.name if chat else f"손님 {user_id}"
        return {"id": user_id, "is_bot": False, "first_name": name, "language_code": "ko"}

    # Messages

    def message(self, chat_id: int, message_id: int) -> Message | None:
        """Return one message."""
        return self._messages.get(chat_id, {}).get(message_id)

    def history(self, chat_id: int) -> list[Json]:
        """Return the chat as the customers' API shows it, a growing draft last."""
        messages = self._messages.get(chat_id, {}).values()
        views = [message.view(self.files) for message in messages]
        draft = self.drafts.get(chat_id)
        return [*views, draft.view()] if draft else views

    def add_message(
        self, chat: Chat, content: Json, user_id: int | None = None, file: File | None = None
    ) -> Message:
        """Store a message of a customer, or of the bot when there is no `user_id`."""
        self._last_message_id += 1
        sender = self.bot if user_id is None else self.user(user_id)
        body = {"from": sender, "date": int(time.time()), **content}
        body |= {"message_id": self._last_message_id, "chat": chat.body()}
        body |= file.attachment() if file else {}
        message = Message(
            chat.id,
            self._last_message_id,
            {"id": sender["id"], "name": sender["first_name"]},
            user_id is None,
            body,
            file.id if file else None,
        )
        self._messages.setdefault(chat.id, {})[message.id] = message
        self._db.execute("INSERT INTO messages VALUES (?, ?)", (message.id, _dump(message)))
        if message.outgoing:
            self.drop_draft(chat.id)
        elif not chat.started:
            chat.started = True
            self.save_chat(chat)
        self.hub.publish(chat.id, "message", lambda: message.view(self.files))
        return message

    def edit_message(self, message: Message, body: Json) -> None:
        """Give a message a new body."""
        message.body = body | {"edit_date": int(time.time())}
        self._db.execute("UPDATE messages SET body = ? WHERE id = ?", (_dump(message), message.id))
        self.hub.publish(message.chat_id, "edit", lambda: message.view(self.files))

    def delete_message(self, message: Message) -> None:
        """Remove a message."""
        del self._messages[message.chat_id][message.id]
        self._db.execute("DELETE FROM messages WHERE id = ?", (message.id,))
        self.hub.publish(message.chat_id, "delete", lambda: {"id": message.id})

    # Drafts

    def put_draft(self, chat_id: int, draft: Draft) -> None:
        """Show or grow the chat's draft; changes to one the customer stopped stay unseen."""
        if self._stopped.get(chat_id) == draft.id:
            return
        old = self.drafts.get(chat_id)
        if old and old.id != draft.id:
            self.drop_draft(chat_id)
        elif old:
            draft.date = old.date
            if old.timer:
                old.timer.cancel()
        draft.timer = asyncio.get_running_loop().call_later(
            DRAFT_LIFETIME_S, self.drop_draft, chat_id
        )
        self.drafts[chat_id] = draft
        self.hub.publish(chat_id, "draft", draft.view)

    def drop_draft(self, chat_id: int) -> None:
        """Let the chat's draft vanish, if there is one."""
        draft = self.drafts.pop(chat_id, None)
        if draft:
            if draft.timer:
                draft.timer.cancel()
            self.hub.publish(chat_id, "draft_gone", lambda: {"id": -draft.id})

    def stop_draft(self, chat_id: int, draft: Draft) -> None:
        """Freeze or remove a draft, as the bot asked for when it sent it."""
        self._stopped[chat_id] = draft.id
        if draft.keep_on_stop:
            draft.can_stop = False
            self.hub.publish(chat_id, "draft", draft.view)
        else:
            self.drop_draft(chat_id)

    # Pressed buttons

    def add_callback(self, chat_id: int) -> str:
        """Note that a button was pressed and return the id of the query."""
        now = time.monotonic()
        for old in list(self._callbacks.values()):
            if now - old.pressed <= CALLBACK_LIFETIME_S:
                break
            del self._callbacks[old.id]
        callback = Callback(str(secrets.randbits(62)), chat_id, now)
        self._callbacks[callback.id] = callback
        return callback.id

    def answer_callback(self, callback_id: str, text: str, alert: bool) -> None:
        """Take the bot's answer to a pressed button, once and in time."""
        callback = self._callbacks.pop(callback_id, None)
        if callback is None or time.monotonic() - callback.pressed > CALLBACK_LIFETIME_S:
            raise bad_request(
                "query is too old and response timeout expired or query ID is invalid"
            )
        answer = {"callback_query_id": callback_id, "text": text, "alert": alert}
        self.hub.publish(callback.chat_id, "callback_answer", lambda: answer)

    # Files

    def add_file(self, file: File, data: bytes) -> File:
        """Store a file under a new id."""
        file.id = secrets.token_urlsafe(32)
        self.files[file.id] = file
        self._db.execute("INSERT INTO files VALUES (?, ?, ?)", (file.id, _dump(file), data))
        return file

    def file_bytes(self, file_id: str) -> bytes:
        """Return the content of a stored file."""
        row = self._db.execute("SELECT data FROM files WHERE id = ?", (file_id,)).fetchone()
        data: bytes = row[0]
        return data

    # Updates

    def add_update(self, kind: str, payload: Json) -> tuple[int, str]:
        """Queue an update for the bot and return its id and JSON."""
        self._last_update_id += 1
        body = json.dumps({"update_id": self._last_update_id, kind: payload})
        self.pending[self._last_update_id] = body
        self._db.execute("INSERT INTO updates VALUES (?, ?)", (self._last_update_id, body))
        return self._last_update_id, body

    def forget_update(self, update_id: int) -> None:
        """Drop one pending update."""
        self.pending.pop(update_id, None)
        self._db.execute("DELETE FROM updates WHERE id = ?", (update_id,))

    def forget_updates(self, before: int | None = None) -> None:
        """Drop the pending updates with a lower id, or all of them."""
        gone = [id_ for id_ in self.pending if before is None or id_ < before]
        for id_ in gone:
            del self.pending[id_]
        if gone:
            self._db.execute("DELETE FROM updates WHERE id <= ?", (gone[-1],))


def _dump(record: Chat | Message | File) -> str:
    return json.dumps({field.name: getattr(record, field.name) for field in fields(record)})
