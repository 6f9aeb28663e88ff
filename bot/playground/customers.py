"""The JSON API that acts as the customers; the page, the tests and curl use it.

README.md beside this file lists the endpoints.
"""

import asyncio
import mimetypes
import time
from contextlib import suppress
from urllib.parse import quote

from aiohttp import web

from bot.playground import media
from bot.playground.errors import CustomerError
from bot.playground.events import encode
from bot.playground.formatting import commands_in, split_text
from bot.playground.params import loads
from bot.playground.records import Chat, File, Json, Message, clean_name
from bot.playground.store import Store
from bot.playground.updates import Updates

KEEP_ALIVE_S = 15.0

# Everything else is handed over as a download, so that no uploaded page runs in this origin.
_SHOWN = {"audio/ogg", "image/png", "image/jpeg", "application/pdf"}


async def json_body(request: web.Request) -> Json:
    """Return the request's JSON object, or refuse."""
    try:
        body = loads(await request.read())
    except ValueError as error:
        raise CustomerError(400, "JSON을 읽을 수 없습니다.") from error
    if not isinstance(body, dict):
        raise CustomerError(400, "JSON 객체를 보내 주세요.")
    return body


class Customers:
    """What customers do, and what they see."""

    def __init__(self, store: Store, updates: Updates) -> None:
        self._store = store
        self._updates = updates

    def add_routes(self, app: web.Application) -> None:
        """Serve the customers' API in an application."""
        chat = r"/api/chats/{chat_id:-?[1-9]\d{0,14}}"
        app.add_routes(
            [
                web.get("/api/chats", self._chats),
                web.post("/api/chats", self._new_chat),
                web.get(f"{chat}/messages", self._history),
                web.post(f"{chat}/messages", self._send),
                web.post(f"{chat}/voice", self._voice),
                web.post(f"{chat}/photo", self._photo),
                web.post(f"{chat}/document", self._document),
                web.post(f"{chat}/buttons", self._press),
                web.post(f"{chat}/stop", self._stop),
                web.post(f"{chat}/block", self._block),
                web.get(f"{chat}/events", self._events),
                web.get("/api/files/{file_id}", self._file),
                web.get("/api/commands", self._commands),
            ]
        )

    # Chats

    async def _chats(self, _: web.Request) -> web.Response:
        return web.json_response([_chat_view(chat) for chat in self._store.chats.values()])

    async def _new_chat(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        name, type_ = body.get("name", ""), body.get("type", "private")
        if not isinstance(name, str) or type_ not in ("private", "group"):
            raise CustomerError(400, "name은 글자, type은 private 또는 group이어야 합니다.")
        return web.json_response(_chat_view(self._store.new_chat(name.strip()[:64], type_)))

    async def _block(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        blocked = body.get("blocked")
        if not isinstance(blocked, bool):
            raise CustomerError(400, "blocked는 true 또는 false여야 합니다.")
        chat = self._chat(request)
        if blocked != chat.blocked:
            chat.blocked = blocked
            self._store.save_chat(chat)
            self._updates.put("my_chat_member", self._member_change(chat, _sender(chat, body)))
        return web.json_response(_chat_view(chat))

    def _member_change(self, chat: Chat, user_id: int) -> Json:
        gone: Json = {"status": "left"}
        if chat.type == "private":
            gone = {"status": "kicked", "until_date": 0}
        states = [{"status": "member"}, gone]
        old, new = states if chat.blocked else reversed(states)
        return {
            "chat": chat.body(),
            "from": self._store.user(user_id),
            "date": int(time.time()),
            "old_chat_member": {"user": self._store.bot, **old},
            "new_chat_member": {"user": self._store.bot, **new},
        }

    # Messages

    async def _history(self, request: web.Request) -> web.Response:
        return web.json_response(self._store.history(int(request.match_info["chat_id"])))

    async def _send(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        text, raw = body.get("text", ""), body.get("raw", {})
        if not isinstance(text, str) or not isinstance(raw, dict):
            raise CustomerError(400, "text는 글자, raw는 객체여야 합니다.")
        parts = split_text(text.strip())
        if not parts and not raw:
            raise CustomerError(400, "보낼 글이 비어 있습니다.")
        chat = self._writing_chat(request)
        if "edit" in body:
            return self._edit(chat, body["edit"], parts)
        user_id = _sender(chat, body)
        for part in parts or [""]:
            message = self._receive(chat, _text_body(part) | raw, user_id)
        return web.json_response(message.view(self._store.files))

    def _edit(self, chat: Chat, message_id: object, parts: list[str]) -> web.Response:
        message = self._message(chat, message_id)
        if message.outgoing or "text" not in message.body:
            raise CustomerError(409, "고칠 수 있는 것은 손님이 보낸 글뿐입니다.")
        if len(parts) != 1:
            raise CustomerError(400, "고친 글은 1자 이상 4,096자 이하여야 합니다.")
        kept = {key: value for key, value in message.body.items() if key != "entities"}
        self._store.edit_message(message, kept | _text_body(parts[0]))
        self._updates.put("edited_message", message.body)
        return web.json_response(message.view(self._store.files))

    def _receive(
        self, chat: Chat, content: Json, user_id: int, file: File | None = None
    ) -> Message:
        message = self._store.add_message(chat, content, user_id, file)
        self._updates.put("message", message.body)
        return message

    async def _voice(self, request: web.Request) -> web.Response:
        data = await _data(request)
        if not media.is_opus(data):
            data = await media.to_opus(data)
        seconds = media.opus_seconds(data)
        file = File("", "voice.ogg", "voice", "audio/ogg", len(data), seconds)
        return self._receive_file(request, file, data)

    async def _photo(self, request: web.Request) -> web.Response:
        data = await _data(request)
        size = media.image_size(data)
        if size is None:
            raise CustomerError(400, "사진은 PNG나 JPEG여야 합니다.")
        mime, width, height = size
        name = "photo.png" if mime == "image/png" else "photo.jpg"
        file = File("", name, "photo", mime, len(data), None, width, height)
        return self._receive_file(request, file, data)

    async def _document(self, request: web.Request) -> web.Response:
        data = await _data(request)
        name = clean_name(request.query.get("name", ""))
        mime = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return self._receive_file(request, File("", name, "document", mime, len(data)), data)

    def _receive_file(self, request: web.Request, file: File, data: bytes) -> web.Response:
        chat = self._writing_chat(request)
        kept = self._store.add_file(file, data)
        message = self._receive(chat, {}, _sender(chat, {}), kept)
        return web.json_response(message.view(self._store.files))

    # Buttons

    async def _press(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        chat = self._writing_chat(request)
        message, data = self._message(chat, body.get("message_id")), body.get("data")
        if not isinstance(data, str) or not message.has_button(data):
            raise CustomerError(404, "지금 이 메시지에는 그런 단추가 없습니다.")
        callback_id = self._store.add_callback(chat.id)
        query = {
            "id": callback_id,
            "from": self._store.user(_sender(chat, body)),
            "message": message.body,
            "chat_instance": str(chat.id),
            "data": data,
        }
        self._updates.put("callback_query", query)
        return web.json_response({"callback_query_id": callback_id})

    async def _stop(self, request: web.Request) -> web.Response:
        """https://core.telegram.org/bots/api#messagegenerationstopped."""
        body = await json_body(request)
        chat = self._writing_chat(request)
        draft = self._store.drafts.get(chat.id)
        if draft is None or draft.id != body.get("draft_id"):
            raise CustomerError(404, "지금 쓰고 있는 그 답이 없습니다.")
        if not draft.can_stop:
            raise CustomerError(409, "멈출 수 없는 답입니다.")
        self._store.stop_draft(chat.id, draft)
        # Newer than what bots get by default: only for those that name it.
        self._updates.put("stopped_message_generation", {"chat": chat.body(), "draft_id": draft.id})
        return web.json_response({"draft_id": draft.id})

    # What customers see

    async def _events(self, request: web.Request) -> web.StreamResponse:
        chat_id = int(request.match_info["chat_id"])
        headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        response = web.StreamResponse(headers=headers)
        # A reader who closes the page ends the stream; that is no error.
        with self._store.hub.watch(chat_id) as queue, suppress(ConnectionResetError):
            chunk: bytes | None = encode("history", {"messages": self._store.history(chat_id)})
            await response.prepare(request)
            while chunk is not None:
                await response.write(chunk)
                try:
                    chunk = await asyncio.wait_for(queue.get(), KEEP_ALIVE_S)
                except TimeoutError:
                    chunk = b": keep-alive\n\n"
        return response

    async def _file(self, request: web.Request) -> web.Response:
        file = self._store.files.get(request.match_info["file_id"])
        if file is None:
            raise CustomerError(404, "그런 파일이 없습니다.")
        shown = file.mime in _SHOWN
        disposition = "inline" if shown else "attachment"
        return web.Response(
            body=self._store.file_bytes(file.id),
            content_type=file.mime if shown else "application/octet-stream",
            headers={
                "Content-Disposition": f"{disposition}; filename*=UTF-8''{quote(file.name, '')}"
            },
        )

    async def _commands(self, _: web.Request) -> web.Response:
        kept = self._store.setting("commands")
        scopes = ("all_private_chats/ko", "all_private_chats/", "default/ko", "default/")
        return web.json_response(next((kept[s] for s in scopes if kept.get(s)), []))

    # What several handlers need

    def _chat(self, request: web.Request) -> Chat:
        return self._store.open_chat(int(request.match_info["chat_id"]))

    def _writing_chat(self, request: web.Request) -> Chat:
        chat = self._chat(request)
        if chat.blocked:
            raise CustomerError(409, "봇을 차단한 대화입니다. 먼저 차단을 푸세요.")
        return chat

    def _message(self, chat: Chat, message_id: object) -> Message:
        message = None
        if isinstance(message_id, int):
            message = self._store.message(chat.id, message_id)
        if message is None:
            raise CustomerError(404, "그런 메시지가 없습니다.")
        return message


def _chat_view(chat: Chat) -> Json:
    return {"id": chat.id, "name": chat.name, "type": chat.type, "blocked": chat.blocked}


def _text_body(text: str) -> Json:
    if not text:
        return {}
    entities = commands_in(text)
    return {"text": text} | ({"entities": entities} if entities else {})


def _sender(chat: Chat, body: Json) -> int:
    user = body.get("user", abs(chat.id))
    if chat.type == "private":
        return chat.id
    if not isinstance(user, int) or not 0 < user < 10**15:
        raise CustomerError(400, "user는 0보다 큰 정수여야 합니다.")
    return user


async def _data(request: web.Request) -> bytes:
    data = await request.read()
    if not data:
        raise CustomerError(400, "파일이 비어 있습니다.")
    return data
