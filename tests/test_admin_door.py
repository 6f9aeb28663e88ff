"""Who gets into the admin pages, and how; and who does not."""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from bot import texts
from bot.admin.roles import roles_of
from bot.admin.server import create_app
from bot.library import Library
from bot.settings import Settings
from db.database import Database
from db.models import AdminSession, Answer, AuditEntry, LoginLink, utc_now
from tests.modelserver import ModelServer
from tests.pages import ADMIN, NOBODY, REVIEWER, VIEWER, Pages, open_pages
from tests.playground import running
from tests.processes import bot_process, run, started
from tests.shop import ask, open_shop

READING = ["/conversations", "/estimates", "/knowledge", "/numbers"]
# Every change, with the least role that may do it.
CHANGING = {
    "/conversations/1/take": REVIEWER,
    "/conversations/1/say": REVIEWER,
    "/conversations/1/back": REVIEWER,
    "/review/1": REVIEWER,
    "/knowledge/new": REVIEWER,
    "/knowledge/entry/k001": REVIEWER,
    "/knowledge/entry/k001/remove": ADMIN,
    "/knowledge/import": ADMIN,
    "/estimates/1": REVIEWER,
    "/adapters/share": ADMIN,
    "/adapters/promote": ADMIN,
    "/adapters/back": ADMIN,
}


@pytest.fixture
async def pages(database: Database, database_url: str) -> AsyncIterator[Pages]:
    async with open_pages(database, database_url) as pages:
        yield pages


async def test_a_link_signs_in_once(pages: Pages) -> None:
    link = await pages.link(ADMIN)
    async with httpx.AsyncClient(base_url=pages.url) as first:
        # What a messenger opens for a preview uses up nothing.
        assert "로그인" in (await first.get(link)).text
        signed_in = await first.post(link)
        assert signed_in.headers["location"] == "/conversations"
        cookie = signed_in.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await first.get("/conversations")).status_code == 200
    async with httpx.AsyncClient(base_url=pages.url) as second:
        again = await second.post(link)
        assert again.status_code == 410
        assert "이미 썼거나" in again.text
        assert (await second.get("/conversations")).status_code == 401


async def test_a_link_is_good_for_ten_minutes_and_the_newest_alone(pages: Pages) -> None:
    old, new = await pages.link(ADMIN), await pages.link(ADMIN)
    async with httpx.AsyncClient(base_url=pages.url) as client:
        assert (await client.post(old)).status_code == 410
        past = update(LoginLink).values(expires_at=utc_now())
        await pages.database.run(lambda c: c.execute(past))
        assert (await client.post(new)).status_code == 410


async def test_a_session_ends(pages: Pages) -> None:
    async with pages.visit(ADMIN) as admin:
        assert (await admin.post("/logout")).status_code == 303
        assert (await admin.get("/conversations")).status_code == 401
    async with pages.visit(ADMIN) as admin:
        past = update(AdminSession).values(expires_at=utc_now())
        await pages.database.run(lambda c: c.execute(past))
        assert (await admin.get("/conversations")).status_code == 401


async def test_neither_links_nor_cookies_can_be_read_from_the_database(pages: Pages) -> None:
    link = await pages.link(ADMIN)
    async with httpx.AsyncClient(base_url=pages.url) as client:
        kept = await pages.database.run(lambda c: c.scalars(select(LoginLink.token_hash)).all())
        assert kept
        assert not [token for token in kept if token in link]
        await client.post(link)
        kept = await pages.database.run(lambda c: c.scalars(select(AdminSession.token_hash)).all())
        assert kept
        assert not [token for token in kept if token in client.cookies.values()]


async def test_links_cannot_be_guessed_for_long(pages: Pages) -> None:
    async with httpx.AsyncClient(base_url=pages.url) as client:
        answers = [(await client.post(f"/login/wrong{n}")).status_code for n in range(12)]
        assert answers == [410] * 10 + [429] * 2
        # Nobody shuts those out who have a right one.
        assert (await client.post(await pages.link(ADMIN))).status_code == 303


@pytest.mark.parametrize("path", [*READING, "/", "/review", "/log", "/knowledge.csv"])
async def test_nobody_sees_anything_without_signing_in(pages: Pages, path: str) -> None:
    async with pages.visit() as stranger:
        answer = await stranger.client.get(path, follow_redirects=True)
        assert answer.status_code == 401
        assert "/admin" in answer.text


async def test_who_has_no_role_any_more_is_out(database: Database, database_url: str) -> None:
    async with open_pages(database, database_url) as pages, pages.visit(VIEWER) as viewer:
        assert (await viewer.get("/conversations")).status_code == 200
        cookies = dict(viewer.client.cookies)
    async with (
        open_pages(database, database_url, viewers=[]) as pages,
        httpx.AsyncClient(base_url=pages.url, cookies=cookies) as client,
    ):
        assert (await client.get("/conversations")).status_code == 401
        assert (await client.post(await pages.link(NOBODY))).status_code == 410


async def test_a_change_needs_the_forms_token(pages: Pages) -> None:
    async with pages.visit(ADMIN) as admin, pages.visit(REVIEWER) as other:
        for path in CHANGING:
            assert (await admin.client.post(path)).status_code == 403, path
            forged = {"form_token": "0" * 64}
            assert (await admin.client.post(path, data=forged)).status_code == 403, path
            foreign = {"form_token": await other.form_token()}
            assert (await admin.client.post(path, data=foreign)).status_code == 403, path


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
)
async def test_a_change_from_another_site_is_refused(pages: Pages, headers: dict[str, str]) -> None:
    async with pages.visit(ADMIN) as admin:
        token = {"form_token": await admin.form_token()}
        answer = await admin.client.post("/logout", data=token, headers=headers)
        assert answer.status_code == 403
        assert (await admin.get("/conversations")).status_code == 200


async def test_another_name_is_not_answered(pages: Pages) -> None:
    async with pages.visit(ADMIN) as admin:
        answer = await admin.client.get("/conversations", headers={"Host": "evil.example"})
        assert answer.status_code == 421


async def test_each_role_may_do_its_own_and_no_more(pages: Pages) -> None:
    roles = {VIEWER: 1, REVIEWER: 2, ADMIN: 3}
    for person, rank in roles.items():
        async with pages.visit(person) as visitor:
            for path in READING:
                assert (await visitor.get(path)).status_code == 200
            for path, least in CHANGING.items():
                refused = (await visitor.post(path)).status_code == 403
                assert refused == (rank < roles[least]), (person, path)
            assert ((await visitor.get("/log")).status_code == 403) == (rank < 3)
            assert ((await visitor.get("/knowledge.csv")).status_code == 403) == (rank < 3)
            assert ((await visitor.get("/review")).status_code == 403) == (rank < 2)
    query = select(AuditEntry.subject).where(
        AuditEntry.telegram_id == VIEWER, AuditEntry.action == "refused"
    )
    denied = await pages.database.run(lambda c: list(c.scalars(query)))
    assert set(denied) >= {*CHANGING, "/log", "/review"}


async def test_every_answer_says_what_may_run(pages: Pages) -> None:
    async with pages.visit(ADMIN) as admin:
        for path in [*READING, "/nothing-here", "/static/admin.js", "/healthz"]:
            headers = (await admin.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
        for path in READING:  # nothing that this policy would keep from running
            page = await admin.read(path)
            assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=", page)


@pytest.mark.parametrize("path", ["/nothing", "/conversations/999999", "/static/../server.py"])
async def test_what_is_not_there_is_said_in_korean(pages: Pages, path: str) -> None:
    async with pages.visit(ADMIN) as admin:
        answer = await admin.get(path)
        assert answer.status_code == 404
        assert "찾을 수 없어요" in answer.text


async def test_no_page_is_open_to_strangers_but_those_to_sign_in(
    database: Database, database_url: str
) -> None:
    settings = Settings(database_url=SecretStr(database_url), admins=[ADMIN])
    app = create_app(
        database,
        Library(None, database),
        roles_of(settings),
        url=settings.pages_url,
        shop_name="",
        shop_phone="",
    )
    paths = {
        (route.method, re.sub("{[^/]*}+", "1", route.resource.canonical))
        for route in app.router.routes()
        if route.resource and route.method != "HEAD"
    }
    assert len(paths) > 25
    open_to_all = {("GET", "/healthz"), ("GET", "/"), ("GET", "/login/1"), ("POST", "/login/1")}
    async with open_pages(database, database_url) as pages, pages.visit() as stranger:
        for method, path in paths - open_to_all:
            if path.startswith("/static"):
                continue
            answer = await stranger.client.request(method, path)
            assert answer.status_code == 401, (method, path)


@pytest.mark.parametrize(
    "headers",
    [{"Host": "["}, {"Origin": "http://["}, {"Cookie": "deepbot=\xff"}, {"Cookie": "deepbot="}],
)
async def test_a_broken_header_is_no_failure(pages: Pages, headers: dict[str, str]) -> None:
    async with pages.visit() as stranger:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        answer = await stranger.client.post("/logout", headers=raw)
        assert answer.status_code in {400, 401, 403, 421}


async def test_behind_a_proxy_with_https(database: Database, database_url: str) -> None:
    url = "https://desk.example.kr"
    async with (
        open_pages(database, database_url, admin_url=url) as pages,
        httpx.AsyncClient(base_url=pages.url) as client,
    ):
        # As a proxy passes it on that keeps the browser's Origin and not its Host.
        signed_in = await client.post(await pages.link(ADMIN), headers={"Origin": url})
        assert signed_in.status_code == 303
        cookie = signed_in.headers["set-cookie"]
        assert cookie.startswith("__Host-deepbot=")
        assert "Secure" in cookie
        foreign = {"Origin": "https://evil.example"}
        assert (await client.post(await pages.link(ADMIN), headers=foreign)).status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"admin_url": "http://desk.example.kr"},
        {"admin_url": "https://desk.example.kr/pages"},
        {"admin_listen": "0.0.0.0:8090"},
    ],
)
def test_pages_are_not_opened_to_a_network_without_https(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ADMIN_"):
        Settings(**wrong)


async def test_the_bot_sends_the_link_to_the_shops_people_alone(
    database_url: str, model: ModelServer
) -> None:
    async with open_shop(database_url, model, admins=[ADMIN]) as shop:
        (sent,) = await ask(shop.customer(ADMIN), "/admin")
        link = re.search(r"(/login/\S+)", sent.text)
        assert link
        await shop.wait_until_idle()
        kept = [f"{a.text} {a.more} {a.keyboard}" for a in await shop.rows(select(Answer))]
        assert not [text for text in kept if "/login/" in text]
        async with open_pages(shop.database, database_url) as pages, pages.visit() as admin:
            assert (await admin.client.post(link[1])).status_code == 303
            assert (await admin.get("/conversations")).status_code == 200
        (refused,) = await ask(shop.customer(NOBODY), "/admin")
        assert refused.text == texts.UNKNOWN_COMMAND


async def test_the_command_opens_the_pages_beside_a_bot(
    tmp_path: Path, database_url: str, model: ModelServer
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shop = {"ADMINS": str(ADMIN), "ADMIN_LISTEN": f"127.0.0.1:{port}"}
    async with (
        running() as telegram,
        bot_process(telegram, model, database_url, tmp_path, **shop),
        started("admin", cwd=tmp_path, DATABASE_URL=database_url, **shop) as pages,
    ):
        assert pages.stdout
        async with asyncio.timeout(30):
            assert b"/admin" not in await pages.stdout.readline()
            assert b"/admin" in await pages.stdout.readline()
        (sent,) = await ask(telegram.playground.customer(ADMIN), "/admin")
        link = re.search(r"http://\S+", sent.text)
        assert link
        async with httpx.AsyncClient(follow_redirects=True) as client:
            page = await client.post(link[0])
            assert page.status_code == 200
            assert "/admin" in page.text  # what they wrote is there, the way in is not
            assert "/login/" not in page.text
        pages.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            await pages.wait()


async def test_the_command_says_in_one_line_what_is_missing(tmp_path: Path) -> None:
    code, _, errors = await run("admin", cwd=tmp_path)
    assert code == 1
    (line,) = errors.strip().splitlines()
    assert "ADMINS" in line
