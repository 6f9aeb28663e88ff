"""What every request to the pages has to pass: the host's name, the session, the role, the form's
token; and the headers of every answer.
"""

import hashlib
import hmac
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from sqlalchemy import Connection

from bot.admin.roles import Role
from bot.settings import is_loopback
from db import access
from db.database import Database

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Explain = Callable[[int], web.Response]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "media-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
        "base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # else browsers hide from us where a form came from
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # a shared computer keeps nothing of what customers wrote
}
_ATTEMPTS, _ATTEMPTS_S = 10, 60.0  # wrong links that one address may try, and in which time
_MOST_ADDRESSES = 10_000
_CHANGING = {"POST"}
_SAFE_SITES = {"same-origin", "none"}


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is signed in; `form_token` proves that a form came from our pages."""

    telegram_id: int
    role: Role
    form_token: str

    def may(self, role: Role) -> bool:
        """Return whether this person has a role, or a higher one."""
        return self.role >= role


PERSON = web.RequestKey("person", Person)


class Door:
    """Lets requests in, and nobody else's.

    `url` is how the shop's people reach the pages: other names than its own and this machine's
    are refused, so that no foreign page can be pointed here.
    """

    def __init__(
        self, database: Database, roles: Mapping[int, Role], url: str, explain: Explain
    ) -> None:
        self._database = database
        self._roles = roles
        self._explain = explain
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._is_secure = parts.scheme == "https"
        # Browsers take this prefix only from https, for the whole host and no other.
        self._cookie = "__Host-deepbot" if self._is_secure else "deepbot"
        self._failures: dict[str, deque[float]] = defaultdict(deque)

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn every outcome into a page with our headers."""
        try:
            response = await self._pass(request, handler)
        except web.HTTPException as error:
            response = self._explain(error.status)
        except Exception as error:
            log.exception("admin_page_failed", error=type(error).__name__)
            response = self._explain(500)
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        host = _read_host(f"//{request.host}")
        if host != self._host and not is_loopback(host):
            raise web.HTTPMisdirectedRequest
        if request.method in _CHANGING:
            site = request.headers.get("Sec-Fetch-Site", "same-origin")
            origin = request.headers.get("Origin")
            if site not in _SAFE_SITES or (origin and _read_host(origin) not in {host, self._host}):
                raise web.HTTPForbidden
        return await handler(request)

    def let_in(self, role: Role, handler: Handler) -> Handler:
        """Return a handler for those alone who are signed in with a role."""

        async def check(request: web.Request) -> web.StreamResponse:
            person = await self._recognize(request)
            if person is None:
                raise web.HTTPUnauthorized
            if request.method in _CHANGING:
                form = await request.post()
                if not hmac.compare_digest(
                    str(form.get("form_token", "")).encode(), person.form_token.encode()
                ):
                    raise web.HTTPForbidden
            if not person.may(role):
                await self._database.insist(
                    lambda c: access.note(c, person.telegram_id, "refused", request.path)
                )
                raise web.HTTPForbidden
            request[PERSON] = person
            return await handler(request)

        return check

    async def _recognize(self, request: web.Request) -> Person | None:
        token = request.cookies.get(self._cookie)
        if not token:
            return None
        telegram_id = await self._database.insist(lambda c: access.whose(c, token))
        role = self._roles.get(telegram_id) if telegram_id is not None else None
        if telegram_id is None or role is None:
            return None
        return Person(telegram_id, role, _form_token(token))

    async def sign_in(self, request: web.Request) -> web.Response:
        """Use up the link's token and hand out the cookie of a session."""
        link, session = request.match_info["token"], access.make_token()
        allowed = list(self._roles)
        if not await self._database.insist(lambda c: access.sign_in(c, link, session, allowed)):
            # A right link is let in however many wrong ones came: behind a proxy all have one
            # address, and nobody is to shut the others out.
            recent = self._recent_failures(request.remote or "")
            if len(recent) >= _ATTEMPTS:
                raise web.HTTPTooManyRequests
            recent.append(time.monotonic())
            raise web.HTTPGone
        response = redirect("/conversations")
        response.set_cookie(
            self._cookie,
            session,
            max_age=round(access.SESSION_LIFE.total_seconds()),
            secure=self._is_secure,
            httponly=True,
            samesite="Strict",
        )
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session."""
        token = request.cookies[self._cookie]
        person = request[PERSON]

        def end(connection: Connection) -> None:
            access.sign_out(connection, token)
            access.note(connection, person.telegram_id, "sign_out")

        await self._database.insist(end)
        response = redirect("/")
        response.del_cookie(self._cookie, secure=self._is_secure, httponly=True, samesite="Strict")
        return response

    def _recent_failures(self, address: str) -> deque[float]:
        now = time.monotonic()
        if len(self._failures) > _MOST_ADDRESSES:
            self._failures.clear()
        recent = self._failures[address]
        while recent and recent[0] < now - _ATTEMPTS_S:
            recent.popleft()
        return recent


def _read_host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def redirect(path: str) -> web.Response:
    """Return an answer that leads the browser to another of our pages."""
    return web.Response(status=303, headers={"Location": path})


def _form_token(session_token: str) -> str:
    """Return what only our own pages in this session know."""
    return hmac.new(session_token.encode(), b"form", hashlib.sha256).hexdigest()
