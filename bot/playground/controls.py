"""The endpoints that make trouble and watch the bot: /api/faults, /api/limits, /api/calls."""

from http import HTTPStatus

from aiohttp import web

from bot.playground.customers import json_body
from bot.playground.errors import CustomerError
from bot.playground.faults import Fault, Faults
from bot.playground.records import Json

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "method": str,
    "status": int,
    "retry_after": int,
    "times": int,
    "drop": bool,
    "after": bool,
    "chat_id": (int, type(None)),
    "delay_s": (int, float),
    "description": str,
}


class Controls:
    """Serves the faults and limits over HTTP."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def add_routes(self, app: web.Application) -> None:
        """Serve the controls in an application."""
        app.add_routes(
            [
                web.post("/api/faults", self._add_fault),
                web.delete("/api/faults", self._clear_faults),
                web.post("/api/limits", self._set_limits),
                web.get("/api/calls", self._calls),
            ]
        )

    async def _add_fault(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        for name, value in body.items():
            if name not in _FIELDS or not isinstance(value, _FIELDS[name]):
                raise CustomerError(400, f"알 수 없는 항목이거나 잘못된 값입니다: {name}")
        fault = Fault(**body)
        if fault.status and (fault.status < 400 or fault.status not in set(HTTPStatus)):
            raise CustomerError(400, "status는 400 이상의 HTTP 상태 번호여야 합니다.")
        self._faults.faults.append(fault)
        return web.json_response({"ok": True})

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._faults.faults.clear()
        return web.json_response({"ok": True})

    async def _set_limits(self, request: web.Request) -> web.Response:
        body = await json_body(request)
        self._faults.set_limits(_rate(body, "per_chat_s"), _rate(body, "overall_s"))
        return web.json_response({"ok": True})

    async def _calls(self, request: web.Request) -> web.Response:
        try:
            chat_id = int(request.query["chat_id"]) if "chat_id" in request.query else None
        except ValueError as error:
            raise CustomerError(400, "chat_id는 정수여야 합니다.") from error
        return web.json_response(self._faults.calls(request.query.get("method", ""), chat_id))


def _rate(body: Json, name: str) -> float | None:
    rate = body.get(name)
    if rate is None:
        return None
    if isinstance(rate, bool) or not isinstance(rate, int | float) or rate <= 0:
        raise CustomerError(400, f"{name}는 0보다 큰 수이거나 null이어야 합니다.")
    return float(rate)
