"""The methods of the Bot API, with the refusals of the real one.

https://core.telegram.org/bots/api#available-methods
"""

import re
import time
from collections.abc import Awaitable, Callable

from bot.playground import media
from bot.playground.errors import BotApiError, bad_request
from bot.playground.formatting import MAX_CAPTION, MAX_TEXT, Entity, parse_html, trim
from bot.playground.keyboards import keyboard_of
from bot.playground.params import Params, Upload
from bot.playground.records import Chat, Draft, File, Json, Message
from bot.playground.store import Store
from bot.playground.updates import Updates

MAX_DOWNLOAD = 20 * 1024 * 1024  # https://core.telegram.org/bots/api#getfile
MAX_CALLBACK_TEXT = 200
MAX_COMMANDS = 100

_NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the "
    "same as a current content and reply markup of the message"
)
_ACTIONS = {
    "typing",
    "upload_photo",
    "record_video",
    "upload_video",
    "record_voice",
    "upload_voice",
    "upload_document",
    "choose_sticker",
    "find_location",
    "record_video_note",
    "upload_video_note",
}

Method = Callable[[Params], Awaitable[object]]


class Methods:
    """One coroutine for each method, named as in the Bot API but in snake case."""

    def __init__(self, store: Store, updates: Updates) -> None:
        self._store = store
        self._updates = updates
        names = (
            "getMe getUpdates setWebhook deleteWebhook getWebhookInfo sendMessage "
            "sendMessageDraft editMessageText editMessageReplyMarkup deleteMessage "
            "sendChatAction answerCallbackQuery sendPhoto sendDocument sendVoice getFile "
            "setMyCommands getMyCommands deleteMyCommands"
        )
        # Telegram takes method names in any case.
        self.by_name: dict[str, tuple[str, Method]] = {
            name.lower(): (name, getattr(self, re.sub("([A-Z])", r"_\1", name).lower()))
            for name in names.split()
        }

    async def get_me(self, _: Params) -> Json:
        """https://core.telegram.org/bots/api#getme."""
        return self._store.bot | {
            "can_join_groups": True,
            "can_read_all_group_messages": True,
            "supports_inline_queries": False,
        }

    # Updates

    async def get_updates(self, params: Params) -> list[str]:
        """https://core.telegram.org/bots/api#getupdates; each update is JSON already."""
        self._updates.allow(params.json("allowed_updates", "allowed updates"))
        return await self._updates.poll(
            params.integer("offset"),
            params.integer("limit", 100),
            min(params.integer("timeout"), 50),
        )

    async def set_webhook(self, params: Params) -> bool:
        """https://core.telegram.org/bots/api#setwebhook."""
        allowed = params.json("allowed_updates", "allowed updates")
        await self._updates.set_webhook(
            params.text("url"),
            params.text("secret_token"),
            params.integer("max_connections", 40),
            drop_pending=params.flag("drop_pending_updates"),
        )
        self._updates.allow(allowed)
        return True

    async def delete_webhook(self, params: Params) -> bool:
        """https://core.telegram.org/bots/api#deletewebhook."""
        drop = params.flag("drop_pending_updates")
        await self._updates.set_webhook("", "", 40, drop_pending=drop)
        return True

    async def get_webhook_info(self, _: Params) -> Json:
        """https://core.telegram.org/bots/api#getwebhookinfo."""
        return self._updates.webhook_info()

    # Messages

    async def send_message(self, params: Params) -> Json:
        """https://core.telegram.org/bots/api#sendmessage."""
        text, entities = _message_text(params)
        markup = keyboard_of(params)
        chat = self._writable(params)
        content = self._reply(params, chat) | markup
        if len(text) > MAX_TEXT:
            raise bad_request("message is too long")
        return self._store.add_message(chat, _text_body(text, entities) | content).body

    async def send_message_draft(self, params: Params) -> bool:
        """https://core.telegram.org/bots/api#sendmessagedraft."""
        text, entities = _formatted(params, "text", "entities")
        if text and not text.strip():
            raise bad_request("text must be non-empty")
        chat = self._writable(params)
        if chat.type != "private":
            raise bad_request("TEXTDRAFT_PEER_INVALID")
        draft_id = params.integer("draft_id")
        if not draft_id:
            raise bad_request("TEXTDRAFT_ID_INVALID")
        if len(text) > MAX_TEXT:
            raise bad_request("MESSAGE_TOO_LONG")
        draft = Draft(
            draft_id,
            {"id": self._store.bot["id"], "name": self._store.bot["first_name"]},
            int(time.time()),
            text,
            entities,
            params.flag("can_stop"),
            params.flag("keep_on_stop"),
        )
        self._store.put_draft(chat.id, draft)
        return True

    async def edit_message_text(self, params: Params) -> Json:
        """https://core.telegram.org/bots/api#editmessagetext."""
        text, entities = _message_text(params)
        markup = keyboard_of(params)
        message = self._own(params)
        if "text" not in message.body:
            raise bad_request("there is no text in the message to edit")
        if len(text) > MAX_TEXT:
            raise bad_request("MESSAGE_TOO_LONG")
        kept = _without(message.body, "text", "entities", "reply_markup")
        return self._edit(message, kept | _text_body(text, entities) | markup)

    async def edit_message_reply_markup(self, params: Params) -> Json:
        """https://core.telegram.org/bots/api#editmessagereplymarkup."""
        markup = keyboard_of(params)
        message = self._own(params)
        return self._edit(message, _without(message.body, "reply_markup") | markup)

    async def delete_message(self, params: Params) -> bool:
        """https://core.telegram.org/bots/api#deletemessage."""
        chat = self._writable(params)
        message = self._store.message(chat.id, params.integer("message_id"))
        if message is None:
            raise bad_request("message to delete not found")
        if not message.outgoing and chat.type != "private":
            raise bad_request("message can't be deleted")
        self._store.delete_message(message)
        return True

    async def send_chat_action(self, params: Params) -> bool:
        """https://core.telegram.org/bots/api#sendchataction."""
        action = params.text("action")
        if action not in _ACTIONS:
            raise bad_request("wrong parameter action in request")
        chat = self._writable(params)
        self._store.hub.publish(chat.id, "typing", lambda: {"action": action})
        return True

    async def answer_callback_query(self, params: Params) -> bool:
        """https://core.telegram.org/bots/api#answercallbackquery."""
        text = params.text("text")
        if len(text) > MAX_CALLBACK_TEXT:
            raise bad_request("MESSAGE_TOO_LONG")
        self._store.answer_callback(
            params.text("callback_query_id"), text, params.flag("show_alert")
        )
        return True

    # Files

    async def send_photo(self, params: Params) -> Json:
        """https://core.telegram.org/bots/api#sendphoto."""
        return self._send_file(params, "photo")

    async def send_document(self, params: Params) -> Json:
        """https://core.telegram.org/bots/api#senddocument."""
        return self._send_file(params, "document")

    async def send_voice(self, params: Params) -> Json:
        """https://core.telegram.org/bots/api#sendvoice."""
        return self._send_file(params, "voice")

    def _send_file(self, params: Params, kind: str) -> Json:
        caption, entities = trim(*_formatted(params, "caption", "caption_entities"))
        markup = keyboard_of(params)
        chat = self._writable(params)
        content = self._reply(params, chat) | markup
        if len(caption) > MAX_CAPTION:
            raise bad_request("message caption is too long")
        if caption:
            content["caption"] = caption
        if caption and entities:
            content["caption_entities"] = entities
        upload = params.upload(kind)
        file = self._keep(upload, kind, params) if upload else self._kept(params.text(kind), kind)
        return self._store.add_message(chat, content, file=file).body

    def _keep(self, upload: Upload, kind: str, params: Params) -> File:
        if not upload.data:
            raise bad_request("file must be non-empty")
        file = File("", upload.name, kind, upload.mime, len(upload.data))
        if kind == "photo":
            size = media.image_size(upload.data)
            if size is None:
                raise bad_request("IMAGE_PROCESS_FAILED")
            file.mime, file.width, file.height = size
        elif kind == "voice":
            # What isn't OGG/Opus is still sent, but as a document, says the Bot API.
            if media.is_opus(upload.data):
                file.mime = "audio/ogg"
                file.duration = params.integer("duration") or media.opus_seconds(upload.data)
            else:
                file.kind = "document"
        return self._store.add_file(file, upload.data)

    def _kept(self, file_id: str, kind: str) -> File:
        if not file_id:
            raise bad_request(f"there is no {kind} in the request")
        file = self._store.files.get(file_id)
        if file is None:
            raise bad_request("wrong remote file identifier specified: Wrong padding in the string")
        if file.kind != kind:
            raise bad_request(f"can't use file of type {file.kind.title()} as {kind.title()}")
        return file

    async def get_file(self, params: Params) -> Json:
        """https://core.telegram.org/bots/api#getfile."""
        file = self._store.files.get(params.text("file_id"))
        if file is None:
            raise bad_request("invalid file_id")
        if file.size > MAX_DOWNLOAD:
            raise bad_request("file is too big")
        suffix = re.search(r"\.[A-Za-z0-9]{1,8}$", file.name)
        return {
            "file_id": file.id,
            "file_unique_id": file.id[:16],
            "file_size": file.size,
            "file_path": f"{file.kind}/{file.id}{suffix[0] if suffix else ''}",
        }

    # Commands

    async def set_my_commands(self, params: Params) -> bool:
        """https://core.telegram.org/bots/api#setmycommands."""
        commands = params.json("commands", "commands")
        if not isinstance(commands, list):
            raise bad_request("expected an Array of BotCommand")
        if len(commands) > MAX_COMMANDS:
            raise bad_request("BOT_COMMANDS_TOO_MUCH")
        kept = []
        for command in commands:
            if not isinstance(command, dict):
                raise bad_request("can't parse BotCommand: expected an Object")
            name, description = command.get("command"), command.get("description")
            if not isinstance(name, str) or not re.fullmatch("/?[a-z0-9_]{1,32}", name):
                raise bad_request("BOT_COMMAND_INVALID")
            if not isinstance(description, str) or not 1 <= len(description.strip()) <= 256:
                raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
            kept.append({"command": name.removeprefix("/"), "description": description})
        return self._save_commands(params, kept)

    async def get_my_commands(self, params: Params) -> list[Json]:
        """https://core.telegram.org/bots/api#getmycommands."""
        kept: list[Json] = self._store.setting("commands").get(_scope(params), [])
        return kept

    async def delete_my_commands(self, params: Params) -> bool:
        """https://core.telegram.org/bots/api#deletemycommands."""
        return self._save_commands(params, [])

    def _save_commands(self, params: Params, commands: list[Json]) -> bool:
        scopes = self._store.setting("commands") | {_scope(params): commands}
        self._store.set_setting("commands", scopes)
        return True

    # What several methods check

    def _writable(self, params: Params) -> Chat:
        text = params.text("chat_id")
        if not text:
            raise bad_request("chat_id is empty")
        chat = self._store.chats.get(params.integer("chat_id"))
        if chat is None:
            raise bad_request("chat not found")
        if chat.blocked and chat.type == "private":
            raise BotApiError(403, "Forbidden: bot was blocked by the user")
        if chat.blocked:
            raise BotApiError(403, "Forbidden: bot was kicked from the group chat")
        if chat.type == "private" and not chat.started:
            raise BotApiError(403, "Forbidden: bot can't initiate conversation with a user")
        return chat

    def _own(self, params: Params) -> Message:
        chat = self._writable(params)
        message = self._store.message(chat.id, params.integer("message_id"))
        if message is None:
            raise bad_request("message to edit not found")
        if not message.outgoing:
            raise bad_request("message can't be edited")
        return message

    def _edit(self, message: Message, body: Json) -> Json:
        if body == message.body:
            raise bad_request(_NOT_MODIFIED)
        self._store.edit_message(message, body)
        return message.body

    def _reply(self, params: Params, chat: Chat) -> Json:
        parameters = params.json("reply_parameters", "reply parameters")
        if parameters is None:
            return {}
        if not isinstance(parameters, dict):
            raise bad_request("object expected as reply parameters")
        replied = parameters.get("message_id")
        message = self._store.message(chat.id, replied) if isinstance(replied, int) else None
        if message:
            return {"reply_to_message": _without(message.body, "reply_to_message")}
        if parameters.get("allow_sending_without_reply"):
            return {}
        raise bad_request("message to be replied not found")


def _without(body: Json, *keys: str) -> Json:
    return {key: value for key, value in body.items() if key not in keys}


def _text_body(text: str, entities: list[Entity]) -> Json:
    return {"text": text} | ({"entities": entities} if entities else {})


def _scope(params: Params) -> str:
    scope = params.json("scope", "bot command scope")
    type_ = scope.get("type", "default") if isinstance(scope, dict) else "default"
    return f"{type_}/{params.text('language_code')}"


def _message_text(params: Params) -> tuple[str, list[Entity]]:
    text, entities = _formatted(params, "text", "entities")
    if not text:
        raise bad_request("message text is empty")
    text, entities = trim(text, entities)
    if not text:
        raise bad_request("text must be non-empty")
    return text, entities


def _formatted(params: Params, name: str, entities_name: str) -> tuple[str, list[Entity]]:
    text = params.text(name)
    mode = params.text("parse_mode").lower()
    if mode == "html":
        return parse_html(text)
    if mode and mode != "none":
        raise bad_request("unsupported parse_mode (the playground understands HTML only)")
    entities = params.json(entities_name, "entities") or []
    if not isinstance(entities, list) or not all(_is_entity(entity) for entity in entities):
        raise bad_request("can't parse entities: expected an Array of MessageEntity")
    return text, entities


def _is_entity(entity: object) -> bool:
    return (
        isinstance(entity, dict)
        and isinstance(entity.get("type"), str)
        and all(isinstance(entity.get(name), int) for name in ("offset", "length"))
    )
