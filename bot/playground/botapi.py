"""The Bot API over HTTP: `/bot<token>/<method>` and `/file/bot<token>/<path>`.

https://core.telegram.org/bots/api#making-requests
"""

import asyncio
import json
import secrets

from aiohttp import web

from bot.playground.errors import BotApiError
from bot.playground.faults import Fault, Faults
from bot.playground.methods import Method, Methods
from bot.playground.params import Params, read_params
from bot.playground.store import Store
from bot.playground.updates import Updates


class BotApi:
    """Takes the bot's calls, lets faults and limits have their way, and notes each call."""

    def __init__(self, store: Store, updates: Updates, faults: Faults, token: str) -> None:
        self._store = store
        self._faults = faults
        self._token = token
        self._methods = Methods(store, updates).by_name

    def add_routes(self, app: web.Application) -> None:
        """Serve the Bot API in an application."""
        app.router.add_route("*", "/bot{token:[^/]+}/{method}", self._handle)
        app.router.add_get("/file/bot{token:[^/]+}/{path:.+}", self._download)

    async def _handle(self, request: web.Request) -> web.Response:
        self._check_token(request)
        name = request.match_info["method"].lower()
        if name not in self._methods:
            raise BotApiError(404, "Not Found: method not found")
        method, work = self._methods[name]
        params = await read_params(request)
        chat_id = params.integer("chat_id") if params.text("chat_id") else None
        fault = self._faults.take(method, chat_id) or Fault()
        try:
            response = await self._work(work, params, chat_id, fault)
        except BotApiError as error:
            response = refusal(error)
        if fault.drop and request.transport:
            request.transport.abort()
        text_length = len(params.text("text") or params.text("caption"))
        status = 0 if fault.drop else response.status
        self._faults.record(method, chat_id, status, text_length)
        return response

    async def _work(
        self, work: Method, params: Params, chat_id: int | None, fault: Fault
    ) -> web.Response:
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        failing = fault.drop or fault.status != 0
        if failing and not fault.after:
            raise fault.error()
        self._faults.check_limits(chat_id)
        response = _answer(await work(params))
        if failing:
            raise fault.error()
        return response

    def _check_token(self, request: web.Request) -> None:
        given = request.match_info["token"].encode(errors="replace")
        if not secrets.compare_digest(given, self._token.encode()):
            raise BotApiError(401, "Unauthorized")

    async def _download(self, request: web.Request) -> web.Response:
        self._check_token(request)
        file_id = request.match_info["path"].rsplit("/", 1)[-1].split(".", 1)[0]
        file = self._store.files.get(file_id)
        if file is None:
            raise BotApiError(404, "Not Found")
        return web.Response(
            body=self._store.file_bytes(file_id), content_type="application/octet-stream"
        )


def _answer(result: object) -> web.Response:
    if isinstance(result, list) and result and isinstance(result[0], str):
        text = f"[{','.join(result)}]"  # updates were encoded when they were queued
    else:
        text = json.dumps(result)
    return web.Response(
        body=f'{{"ok":true,"result":{text}}}'.encode(), content_type="application/json"
    )


def refusal(error: BotApiError) -> web.Response:
    """Return the answer for a refused call."""
    body: dict[str, object] = {
        "ok": False,
        "error_code": error.status,
        "description": error.description,
    }
    if error.retry_after:
        body["parameters"] = {"retry_after": error.retry_after}
    return web.json_response(body, status=error.status)
