"""The things the playground keeps, and how the customers' API shows them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


def clean_name(name: str) -> str:
    """Return the last part of a file name, without what could break a header or a path."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable()).strip(". ")[-128:] or "file"


@dataclass(slots=True)
class Chat:
    """A private chat (id above zero, same as its user's) or a group (below zero)."""

    id: int
    name: str
    type: str
    blocked: bool = False
    started: bool = False  # a customer has written here, so the bot may

    def body(self) -> Json:
        """Return the Bot API's Chat: https://core.telegram.org/bots/api#chat."""
        name = "first_name" if self.type == "private" else "title"
        return {"id": self.id, "type": self.type, name: self.name}


@dataclass(slots=True)
class File:
    """A stored file; its bytes stay in the database until somebody asks."""

    id: str
    name: str
    kind: str
    mime: str
    size: int
    duration: int | None = None
    width: int = 0
    height: int = 0

    def attachment(self) -> Json:
        """Return the part of a Message that carries this file, such as `{"voice": {...}}`."""
        common = {"file_id": self.id, "file_unique_id": self.id[:16], "file_size": self.size}
        if self.kind == "photo":
            return {"photo": [{**common, "width": self.width, "height": self.height}]}
        if self.kind == "voice":
            return {"voice": {**common, "mime_type": self.mime, "duration": self.duration or 0}}
        return {"document": {**common, "mime_type": self.mime, "file_name": self.name}}

    def view(self) -> Json:
        """Return the file as the customers' API shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "kind": self.kind,
            "mime": self.mime,
            "size": self.size,
            "url": f"/api/files/{self.id}",
            "duration": self.duration,
        }


@dataclass(slots=True)
class Message:
    """A message, with its Bot API body: https://core.telegram.org/bots/api#message."""

    chat_id: int
    id: int
    user: Json  # who sent it, `{"id", "name"}`
    outgoing: bool  # sent by the bot
    body: Json
    file_id: str | None = None

    @property
    def keyboard(self) -> list[list[Json]]:
        """The rows of inline buttons; only the bot's messages have them."""
        rows: list[list[Json]] = self.body.get("reply_markup", {}).get("inline_keyboard", [])
        return rows if self.outgoing else []

    def has_button(self, data: str) -> bool:
        """Say whether a button with this callback data is under the message now."""
        return any(button.get("callback_data") == data for row in self.keyboard for button in row)

    def view(self, files: Mapping[str, File]) -> Json:
        """Return the message as the customers' API shows it."""
        text = self.body.get("text", self.body.get("caption"))
        entities = self.body.get("entities", self.body.get("caption_entities", []))
        reply = self.body.get("reply_to_message")
        file = files.get(self.file_id or "")
        rows = [[_button(button) for button in row] for row in self.keyboard]
        return {
            "id": self.id,
            "from": "bot" if self.outgoing else "customer",
            "text": text if isinstance(text, str) else "",
            "final": True,
            "buttons": [
                {"text": button["text"], "data": button["data"]}
                for row in rows
                for button in row
                if button["data"] is not None
            ],
            "file": file.view() if file else None,
            "date": self.body["date"],
            "edited": "edit_date" in self.body,
            "entities": entities,
            "button_rows": rows,
            "can_stop": False,
            "reply_to": reply.get("message_id") if isinstance(reply, dict) else None,
            "user": self.user,
        }


def _button(button: Json) -> Json:
    shown = {"text": button["text"], "data": button.get("callback_data")}
    return shown | ({"url": button["url"]} if "url" in button else {})


@dataclass(slots=True)
class Draft:
    """A growing text of the bot: https://core.telegram.org/bots/api#sendmessagedraft."""

    id: int
    user: Json
    date: int
    text: str
    entities: list[Json]
    can_stop: bool
    keep_on_stop: bool
    timer: asyncio.TimerHandle | None = field(default=None, compare=False)

    def view(self) -> Json:
        """Return the draft as a message that is not final."""
        return {
            "id": -self.id,
            "from": "bot",
            "text": self.text,
            "final": False,
            "buttons": [],
            "file": None,
            "date": self.date,
            "edited": False,
            "entities": self.entities,
            "button_rows": [],
            "can_stop": self.can_stop,
            "reply_to": None,
            "user": self.user,
        }


@dataclass(slots=True)
class Callback:
    """A pressed button that waits for answerCallbackQuery."""

    id: str
    chat_id: int
    pressed: float
