"""Conversations: find them, read them as they go on, hear what was said, step in."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Literal

from aiohttp import web
from sqlalchemy import Connection

from bot import texts
from bot.admin import wording
from bot.admin.door import PERSON, Door, redirect
from bot.admin.roles import Role
from bot.admin.view import View
from db import access, conversations, handoffs, recordings, search, talks
from db.conversations import Cursor, Filter
from db.database import Database
from db.models import Mark, utc_now
from db.queries import is_id
from db.talks import Talk

_ID = r"{id:\d{1,9}}"
_INDEXED = 30  # conversations that a list waits for to be seen as they are
_MOST_WORDS = 4_000  # characters of an admin's message
_MOST_QUERY = 200
_YEARS = (1970, 9000)  # that a time of any zone can be reckoned from
_HAS: dict[str, Literal["voice", "estimate"]] = {"voice": "voice", "estimate": "estimate"}
_RATINGS: dict[str, Literal[1, -1]] = {"up": 1, "down": -1}
_REVIEWED = {"yes": True, "no": False}
# What a browser may take a recording for, by how its file begins.
_SOUNDS = (
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (4, b"ftyp", "audio/mp4"),
    (0, b"RIFF", "audio/wav"),
)

_Step = Callable[[Connection, Talk, int], bool]


class TalkPages:
    """The pages of conversations."""

    def __init__(self, database: Database, view: View) -> None:
        self._database = database
        self._view = view

    def add_routes(self, app: web.Application, door: Door) -> None:
        """Add the pages to an application."""
        app.add_routes(
            [
                web.get("/conversations", door.let_in(Role.VIEWER, self._list)),
                web.get(f"/conversations/{_ID}", door.let_in(Role.VIEWER, self._show)),
                web.get(f"/conversations/{_ID}/entries", door.let_in(Role.VIEWER, self._follow)),
                web.get(f"/recordings/{_ID}", door.let_in(Role.VIEWER, self._play)),
                web.post(f"/conversations/{_ID}/take", door.let_in(Role.REVIEWER, self._take)),
                web.post(f"/conversations/{_ID}/say", door.let_in(Role.REVIEWER, self._say)),
                web.post(f"/conversations/{_ID}/back", door.let_in(Role.REVIEWER, self._give_back)),
            ]
        )

    async def _list(self, request: web.Request) -> web.Response:
        query, person = request.query, request[PERSON]
        wanted = read_filter(query)
        before = _read_cursor(query.get("before", ""))

        def find(connection: Connection) -> conversations.Page:
            search.catch_up(connection, _INDEXED)
            if wanted.text:
                access.note(connection, person.telegram_id, "search")
            return conversations.find(connection, wanted, before=before)

        page = await self._database.insist(find)
        kept = {key: value for key, value in query.items() if key != "before" and value}
        return self._view.page(
            request,
            "conversations",
            page=page,
            after=_write_cursor(page.after) if page.after else "",
            query=kept,
            Mark=Mark,
            is_filtered=wanted != Filter(),
        )

    async def _show(self, request: web.Request) -> web.Response:
        id_, person = int(request.match_info["id"]), request[PERSON]
        await self._database.insist(
            lambda c: access.note(c, person.telegram_id, "read", f"conversation {id_}")
        )
        return await self._render(request, "conversation", 0)

    async def _follow(self, request: web.Request) -> web.Response:
        """Return what has come or changed from a message on, for a page that is open."""
        first, person = request.query.get("from", ""), request[PERSON]
        if not is_id(first) or int(first) == 0:
            read = f"conversation {request.match_info['id']}"
            await self._database.insist(lambda c: access.note(c, person.telegram_id, "read", read))
        return await self._render(request, "entries", int(first) if is_id(first) else 0)

    async def _render(self, request: web.Request, name: str, first_id: int) -> web.Response:
        id_ = int(request.match_info["id"])

        def read(
            connection: Connection,
        ) -> tuple[Talk, list[conversations.Entry], handoffs.OpenHandoff | None]:
            talk = talks.find(connection, id_)
            if talk is None:
                raise web.HTTPNotFound
            entries = conversations.read(connection, id_, after_id=max(0, first_id - 1))
            return talk, entries, handoffs.find_open(connection, talk.bot_id, talk.chat_id)

        talk, entries, handoff = await self._database.insist(read)
        return self._view.page(
            request,
            name,
            talk=talk,
            entries=entries,
            handoff=handoff,
            most=_MOST_WORDS,
            update_id=handoffs.new_update_id(),  # a form that is sent twice says it once
        )

    async def _play(self, request: web.Request) -> web.Response:
        message_id, person = int(request.match_info["id"]), request[PERSON]

        def read(connection: Connection) -> bytes | None:
            access.note(connection, person.telegram_id, "listen", f"message {message_id}")
            return recordings.sound(connection, message_id)

        sound = await self._database.insist(read)
        if sound is None:
            raise web.HTTPNotFound
        return web.Response(
            body=sound,
            content_type=name_sound(sound),
            headers={"Content-Disposition": f'attachment; filename="voice-{message_id}"'},
        )

    async def _take(self, request: web.Request) -> web.Response:
        def take(connection: Connection, talk: Talk, admin_id: int) -> bool:
            return handoffs.take(
                connection,
                talk.bot_id,
                talk.chat_id,
                talk.customer_id,
                admin_id,
                utc_now(),
                told=texts.HUMAN_TAKES_OVER,
            )

        return await self._step_in(request, "take", take)

    async def _say(self, request: web.Request) -> web.Response:
        form = await request.post()
        words = str(form.get("text", "")).replace("\r\n", "\n").strip()
        number = re.fullmatch("-[0-9]{1,19}", str(form.get("update_id", "")))
        if not words or len(words) > _MOST_WORDS or number is None:
            raise web.HTTPBadRequest
        update_id = max(int(number[0]), -(2**62))

        def say(connection: Connection, talk: Talk, admin_id: int) -> bool:
            try:
                handoffs.say(connection, talk.id, admin_id, words, update_id)
            except handoffs.NotTakenError:
                return False
            return True

        return await self._step_in(request, "say", say)

    async def _give_back(self, request: web.Request) -> web.Response:
        def give(connection: Connection, talk: Talk, admin_id: int) -> bool:
            open_now = handoffs.find_open(connection, talk.bot_id, talk.chat_id)
            if open_now is None or open_now.admin_id != admin_id:
                return False
            handoffs.give_back(
                connection, talk.bot_id, talk.chat_id, utc_now(), told=texts.HUMAN_GIVES_BACK
            )
            return True

        return await self._step_in(request, "give_back", give)

    async def _step_in(self, request: web.Request, action: str, step: _Step) -> web.Response:
        """Do something in a conversation's chat, and show it."""
        id_, person = int(request.match_info["id"]), request[PERSON]

        def change(connection: Connection) -> int | None:
            talk = talks.find(connection, id_)
            if talk is None:
                return None
            # The customer may have begun another since: there it goes on.
            talk = talk._replace(id=talks.current(connection, talk))
            access.note(connection, person.telegram_id, action, f"conversation {talk.id}")
            return talk.id if step(connection, talk, person.telegram_id) else 0

        done = await self._database.insist(change)
        if done is None:
            raise web.HTTPNotFound
        if not done:
            raise web.HTTPConflict
        return redirect(f"/conversations/{done}")


def read_filter(query: Mapping[str, str]) -> Filter:
    """Return what a list is filtered by; what is no choice of the page's filters nothing."""
    customer, state = query.get("customer", ""), query.get("state", "")
    return Filter(
        text=query.get("q", "").strip()[:_MOST_QUERY],
        since=_read_day(query.get("since", "")),
        until=_read_day(query.get("until", "")),
        customer_id=int(customer) if is_id(customer) else None,
        has=_HAS.get(query.get("has", "")),
        rating=_RATINGS.get(query.get("rating", "")),
        reviewed=_REVIEWED.get(query.get("reviewed", "")),
        label=label if (label := query.get("label", "")) in wording.LABELS else None,
        unsure=state == "unsure",
        failed=state == "failed",
        waiting=state == "waiting",
    )


def _write_cursor(cursor: Cursor) -> str:
    return f"{cursor.last_at.isoformat()}_{cursor.id}"


def _read_cursor(text: str) -> Cursor | None:
    at, _, id_ = text.rpartition("_")
    try:
        last_at = datetime.fromisoformat(at)
    except ValueError:
        return None
    return Cursor(last_at, int(id_)) if last_at.tzinfo and is_id(id_) else None


def _read_day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return day if _YEARS[0] <= day.year <= _YEARS[1] else None


def name_sound(sound: bytes) -> str:
    """Return the type of a recording; what is none of these a browser does not try to play."""
    for at, mark, name in _SOUNDS:
        if sound[at:].startswith(mark):
            return name
    return "application/octet-stream"
