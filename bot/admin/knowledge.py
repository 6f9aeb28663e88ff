"""Knowledge: list, search, edit, add, take out, import and export."""

import asyncio
import re
import secrets
import tempfile
from pathlib import Path

from aiohttp import web
from sqlalchemy import Connection

from bot.admin.door import PERSON, Door, redirect
from bot.admin.roles import Role
from bot.admin.view import View, read_page
from bot.library import Library
from bot.masking import mask
from db import access, reviews
from db import knowledge as rows
from db.database import Database
from db.knowledge import Saved
from db.queries import is_id, storable
from inference.knowledge import CATEGORIES, OTHER, Entry, KnowledgeError, files

_SHOWN = 50
_ID = r"{id:[^/]{1,64}}"
_MOST_CHARS = 20_000


class KnowledgePages:
    """The pages of what the shop knows."""

    def __init__(self, database: Database, library: Library, view: View) -> None:
        self._database = database
        self._library = library
        self._view = view

    def add_routes(self, app: web.Application, door: Door) -> None:
        """Add the pages to an application."""
        app.add_routes(
            [
                web.get("/knowledge", door.let_in(Role.VIEWER, self._list)),
                web.get("/knowledge.csv", door.let_in(Role.ADMIN, self._export)),
                web.post("/knowledge/import", door.let_in(Role.ADMIN, self._import)),
                web.get("/knowledge/new", door.let_in(Role.REVIEWER, self._new)),
                web.post("/knowledge/new", door.let_in(Role.REVIEWER, self._add)),
                web.get(f"/knowledge/entry/{_ID}", door.let_in(Role.VIEWER, self._show)),
                web.post(f"/knowledge/entry/{_ID}", door.let_in(Role.REVIEWER, self._change)),
                web.post(f"/knowledge/entry/{_ID}/remove", door.let_in(Role.ADMIN, self._remove)),
            ]
        )

    async def _list(self, request: web.Request) -> web.Response:
        query = request.query.get("q", "").strip()
        page = read_page(request)
        entries = await self._library.read()
        if query:
            entries = [entry for entry in entries if _holds(entry, query)]
        shown = entries[(page - 1) * _SHOWN : page * _SHOWN]
        return self._view.page(
            request,
            "knowledge",
            entries=shown,
            count=len(entries),
            query=query,
            page=page,
            more=len(entries) > page * _SHOWN,
            said=request.query.get("said", ""),
        )

    async def _show(self, request: web.Request) -> web.Response:
        entry = await self._find(request)
        return self._form(request, entry, is_new=False, answer_id="")

    async def _new(self, request: web.Request) -> web.Response:
        """Show an empty form, or what a corrected answer would make."""
        answer_id = request.query.get("answer", "")
        entry = Entry(_new_id(), (), OTHER, ())
        if is_id(answer_id):
            judged = await self._database.insist(lambda c: reviews.show(c, int(answer_id)))
            if judged is None:
                raise web.HTTPNotFound
            # What a customer said of themselves is no knowledge.
            question, answer = mask(judged.question), judged.corrected or judged.answer
            entry = Entry(entry.id, (question,), OTHER, (answer,))
        return self._form(request, entry, is_new=True, answer_id=answer_id)

    def _form(
        self,
        request: web.Request,
        entry: Entry,
        *,
        is_new: bool,
        answer_id: str,
        problem: str = "",
    ) -> web.Response:
        return self._view.page(
            request,
            "entry",
            status=400 if problem else 200,
            entry=entry,
            is_new=is_new,
            answer_id=answer_id,
            problem=problem,
            categories=CATEGORIES,
        )

    async def _add(self, request: web.Request) -> web.Response:
        id_ = str((await request.post()).get("id", ""))
        is_taken = any(entry.id == id_ for entry in await self._library.read())
        if is_taken or not re.fullmatch("shop-[0-9a-z]{1,16}", id_):
            id_ = _new_id()
        return await self._save(request, id_, is_new=True)

    async def _change(self, request: web.Request) -> web.Response:
        return await self._save(request, (await self._find(request)).id, is_new=False)

    async def _save(self, request: web.Request, id_: str, *, is_new: bool) -> web.Response:
        form, person = await request.post(), request[PERSON]
        questions = _lines(storable(str(form.get("questions", ""))))
        answers = _paragraphs(storable(str(form.get("answers", ""))))
        category = storable(str(form.get("category", OTHER))).strip()[:64] or OTHER
        answer_id = str(form.get("answer_id", ""))
        entry = Entry(id_, questions, category, answers)
        if problem := files.find_problem(entry):
            return self._form(
                request, entry, is_new=is_new, answer_id=answer_id, problem=f"{problem}."
            )
        saved = Saved(entry.id, entry.questions, entry.category, entry.answers)

        def write(connection: Connection) -> None:
            rows.save(connection, [saved])
            if is_id(answer_id):
                reviews.note_entry(connection, int(answer_id), entry.id)
            access.note(connection, person.telegram_id, "entry", entry.id)

        await self._database.insist(write)
        return redirect("/knowledge?said=saved")

    async def _remove(self, request: web.Request) -> web.Response:
        entry, person = await self._find(request), request[PERSON]

        def write(connection: Connection) -> None:
            rows.save(connection, [Saved(entry.id, removed=True)])
            access.note(connection, person.telegram_id, "entry_removed", entry.id)

        await self._database.insist(write)
        return redirect("/knowledge?said=removed")

    async def _import(self, request: web.Request) -> web.Response:
        form, person = await request.post(), request[PERSON]
        upload = form.get("file")
        if not isinstance(upload, web.FileField) or not upload.filename:
            raise web.HTTPBadRequest
        content = upload.file.read()
        suffix = Path(upload.filename).suffix.lower()[:8]
        try:
            entries = await asyncio.to_thread(_read, content, suffix)
        except KnowledgeError as error:
            raise web.HTTPBadRequest from error

        def write(connection: Connection) -> None:
            rows.save(
                connection, [Saved(e.id, e.questions, e.category, e.answers) for e in entries]
            )
            access.note(connection, person.telegram_id, "import", f"{len(entries)}")

        await self._database.insist(write)
        return redirect("/knowledge?said=imported")

    async def _export(self, request: web.Request) -> web.Response:
        entries, person = await self._library.read(), request[PERSON]
        await self._database.insist(
            lambda c: access.note(c, person.telegram_id, "export", "knowledge")
        )
        return web.Response(
            body=files.to_csv(entries).encode("utf-8-sig"),
            content_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="knowledge.csv"'},
        )

    async def _find(self, request: web.Request) -> Entry:
        id_ = request.match_info["id"]
        for entry in await self._library.read():
            if entry.id == id_:
                return entry
        raise web.HTTPNotFound


def _new_id() -> str:
    return f"shop-{secrets.token_hex(4)}"


def _holds(entry: Entry, query: str) -> bool:
    texts = (entry.id, entry.category, *entry.questions, *entry.answers)
    return any(query.casefold() in text.casefold() for text in texts)


def _lines(text: str) -> tuple[str, ...]:
    lines = (line.strip() for line in text[:_MOST_CHARS].splitlines())
    return tuple(dict.fromkeys(line for line in lines if line))


def _paragraphs(text: str) -> tuple[str, ...]:
    """Return answers, which an empty line parts."""
    text = text[:_MOST_CHARS].replace("\r\n", "\n")
    return tuple(part.strip() for part in text.split("\n\n") if part.strip())


def _read(content: bytes, suffix: str) -> list[Entry]:
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        taken = [row.entry for row in files.read(Path(file.name)) if not row.problem]
    if not taken:
        msg = "넣을 항목이 없어요."
        raise KnowledgeError(msg)
    return taken
