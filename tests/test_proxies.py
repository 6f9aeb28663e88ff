"""The Caddyfiles of the containers, in the very Caddy: what gets through, and what does not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from bot.admin.roles import Role
from bot.admin.server import create_app
from bot.demo import run_demo
from bot.library import Library
from bot.settings import Settings
from db import access
from db.database import Database
from inference.client import ModelClient, ModelError
from tests.containers import DEPLOY, caddy, free_port
from tests.modelserver import MODEL, ModelServer

WEBHOOK_HOST, ADMIN_HOST = "bot.example.kr", "desk.example.kr"


@dataclass
class Upstream:
    """A service behind a proxy: it answers 200 and remembers what reached it."""

    port: int = 0
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        await request.read()
        self.seen.append((request.method, request.path, request.host))
        return web.Response(text="inside")

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Upstream"]:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self.take)
        async with TestServer(app) as server:
            self.port = server.port or 0
            yield self


def read(name: str, changes: dict[str, str]) -> str:
    """Return a Caddyfile with other ports and hosts in the places of those of the containers."""
    text = (DEPLOY / name).read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


# Before the bot and the admin pages


@dataclass
class Front:
    http: int
    https: int
    webhook: Upstream

    async def wait_for_certificates(self) -> None:
        for host in (ADMIN_HOST, WEBHOOK_HOST):
            async with asyncio.timeout(10):
                while True:
                    try:
                        await self.ask("HEAD", host, "/static/none")
                        break
                    except httpx.ConnectError:
                        await asyncio.sleep(0.05)

    async def ask(self, method: str, host: str, path: str, **options: bytes) -> httpx.Response:
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - its own authority
            return await client.request(
                method,
                f"https://127.0.0.1:{self.https}{path}",
                headers={"Host": host},
                extensions={"sni_hostname": host},
                **options,  # type: ignore[arg-type]
            )


@asynccontextmanager
async def front(folder: Path, admin_port: int) -> AsyncIterator[Front]:
    http, https, health = free_port(), free_port(), free_port()
    async with Upstream().serve() as webhook:
        changes = {
            "8080": str(http),
            "8443": str(https),
            "8082": str(health),
            "admin off": "admin off\n\tlocal_certs\n\tskip_install_trust",  # no authority is near
            "admin:8090": f"127.0.0.1:{admin_port}",
            "dynamic a webhook 8081": f"dynamic a localhost {webhook.port}",
        }
        files = {
            "Caddyfile": read("proxy.Caddyfile", changes),
            "sites/admin.Caddyfile": read("sites/admin.Caddyfile", changes),
            "sites/webhook.Caddyfile": read("sites/webhook.Caddyfile", changes),
        }
        environment = {"ADMIN_URL": f"https://{ADMIN_HOST}", "WEBHOOK_HOST": WEBHOOK_HOST}
        async with caddy(folder, files, health, **environment):
            opened = Front(http, https, webhook)
            await opened.wait_for_certificates()
            yield opened


async def test_telegram_reaches_one_path_and_nothing_else(tmp_path: Path) -> None:
    async with Upstream().serve() as admin, front(tmp_path, admin.port) as proxy:
        answer = await proxy.ask("POST", WEBHOOK_HOST, "/telegram", content=b"{}")
        assert answer.text == "inside"
        assert proxy.webhook.seen == [("POST", "/telegram", WEBHOOK_HOST)]
        for method, path in (
            ("GET", "/telegram"),
            ("POST", "/"),
            ("POST", "/telegram/"),
            ("POST", "/telegram/../metrics"),
            ("GET", "/metrics"),
            ("GET", "/readyz"),
            ("GET", "/healthz"),
            ("GET", "/conversations"),
        ):
            assert (await proxy.ask(method, WEBHOOK_HOST, path)).status_code == 404, path
        large = await proxy.ask("POST", WEBHOOK_HOST, "/telegram", content=bytes(2**21))
        assert large.status_code == 413
        assert len(proxy.webhook.seen) == 1
        assert {method for method, _, _ in admin.seen} == {"HEAD"}  # of the waiting alone


async def test_the_pages_have_a_host_of_their_own_and_others_have_none(tmp_path: Path) -> None:
    async with Upstream().serve() as admin, front(tmp_path, admin.port) as proxy:
        answer = await proxy.ask("GET", ADMIN_HOST, "/conversations")
        assert answer.text == "inside"
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert admin.seen[-1] == ("GET", "/conversations", ADMIN_HOST)
        await proxy.ask("POST", ADMIN_HOST, "/telegram")
        assert proxy.webhook.seen == []
        with pytest.raises(httpx.ConnectError):  # no certificate
            await proxy.ask("GET", "other.example.kr", "/")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.http}") as plain:
            sent_on = await plain.get("/x", headers={"Host": ADMIN_HOST})
            assert sent_on.headers["location"] == f"https://{ADMIN_HOST}/x"
            assert (await plain.get("/", headers={"Host": "other.example.kr"})).status_code == 404


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_the_pages_let_people_in_through_the_proxy(
    tmp_path: Path, database: Database
) -> None:
    url = f"https://{ADMIN_HOST}"
    library = Library(None, database)
    app = create_app(database, library, {7: Role.ADMIN}, url=url, shop_name="", shop_phone="")
    async with TestServer(app) as server, front(tmp_path, server.port or 0) as proxy:
        token = access.make_token()
        await database.run(lambda c: access.offer_link(c, 7, token))
        async with httpx.AsyncClient(
            base_url=f"https://127.0.0.1:{proxy.https}",
            headers={"Host": ADMIN_HOST, "Origin": url, "Sec-Fetch-Site": "same-origin"},
            verify=False,  # noqa: S501 - its own authority
        ) as person:
            sni = {"sni_hostname": ADMIN_HOST}
            foreign = {"Origin": "https://elsewhere.example.kr"}
            path = f"/login/{token}"
            refused = await person.post(path, headers=foreign, extensions=sni)
            assert refused.status_code == 403
            entered = await person.post(path, extensions=sni)
            assert entered.headers["location"] == "/conversations"
            assert "__Host-deepbot" in entered.headers["set-cookie"]
            assert (await person.get("/conversations", extensions=sni)).status_code == 200


# Before vLLM


@asynccontextmanager
async def model_door(folder: Path, upstream: str) -> AsyncIterator[str]:
    port, health = free_port(), free_port()
    changes = {":8000": f":{port}", "8082": str(health)}
    files = {"Caddyfile": read("model.Caddyfile", changes)}
    async with caddy(folder, files, health, MODEL_UPSTREAM=upstream):
        yield f"http://127.0.0.1:{port}"


async def test_the_model_is_asked_and_nothing_else_of_vllm_is_reached(tmp_path: Path) -> None:
    async with (
        Upstream().serve() as vllm,
        model_door(tmp_path, f"127.0.0.1:{vllm.port}") as url,
        httpx.AsyncClient(base_url=url) as client,
    ):
        assert (await client.post("/v1/chat/completions", json={})).text == "inside"
        assert (await client.get("/v1/models")).text == "inside"
        assert len(vllm.seen) == 2
        for method, path in (
            ("GET", "/v1/chat/completions"),
            ("POST", "/v1/models"),
            ("POST", "/v1/load_lora_adapter"),
            ("POST", "/v1/unload_lora_adapter"),
            ("POST", "/v1/completions"),
            ("POST", "/v1/chat/completions/../load_lora_adapter"),
            ("POST", "/v1/chat/completions/%2e%2e/%2e%2e/tokenize"),
            ("POST", "//v1/load_lora_adapter"),
            ("GET", "/metrics"),
            ("GET", "/health"),
            ("GET", "/version"),
            ("POST", "/tokenize"),
        ):
            assert (await client.request(method, path)).status_code == 404, path
        assert len(vllm.seen) == 2


async def test_answers_stream_through_the_door_and_a_stop_reaches_the_model(
    tmp_path: Path, model: ModelServer
) -> None:
    model.reply = lambda _: "하나 둘 셋"
    model.token_s = 0.3
    host = model.url.removeprefix("http://").removesuffix("/v1")
    async with model_door(tmp_path, host) as url, ModelClient(f"{url}/v1", MODEL) as client:
        loop = asyncio.get_running_loop()
        stream = client.stream([{"role": "user", "content": "?"}], max_tokens=9)
        times = [loop.time() async for _ in stream]
        assert times[2] - times[0] > 0.5  # a piece when it is there, not all at the end
        model.reply = lambda _: "길게 " * 100
        stopped = client.stream([{"role": "user", "content": "?"}], max_tokens=9)
        await anext(stopped)
        await stopped.aclose()
        await model.wait_until_cancelled(1)
        model.hang = True  # and also before it has said a word
        asked = client.stream([{"role": "user", "content": "?"}], max_tokens=9)
        waiting = asyncio.ensure_future(anext(asked))
        await model.wait_until_asked(3)
        waiting.cancel()
        await model.wait_until_cancelled(2)


async def test_a_model_that_is_away_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    async with (
        model_door(tmp_path, f"127.0.0.1:{free_port()}") as url,
        ModelClient(f"{url}/v1", MODEL) as client,
    ):
        with pytest.raises(ModelError):
            await anext(client.stream([{"role": "user", "content": "?"}], max_tokens=9))


# Before the demo


async def test_the_demo_is_used_through_its_door(tmp_path: Path, model: ModelServer) -> None:
    page, admin, health = free_port(), free_port(), free_port()
    behind_page, behind_admin = free_port(), free_port()
    said: asyncio.Queue[str] = asyncio.Queue()
    settings = Settings(
        model_url=model.url,
        model_name=MODEL,
        database_url=SecretStr(f"sqlite:///{tmp_path / 'demo.db'}"),
    )
    changes = {
        ":18765": f":{page}",
        ":18766": f":{admin}",
        "127.0.0.1:8765": f"127.0.0.1:{behind_page}",
        "127.0.0.1:8766": f"127.0.0.1:{behind_admin}",
        "8082": str(health),
    }
    files = {"Caddyfile": read("demo.Caddyfile", changes)}
    demo = asyncio.create_task(
        run_demo(
            settings,
            port=behind_page,
            admin_port=behind_admin,
            folder=tmp_path / "demo",
            say=said.put_nowait,
        )
    )
    try:
        async with asyncio.timeout(30):
            await said.get()
            link = (await said.get()).split()[2]
        assert link.startswith(f"http://127.0.0.1:{behind_admin}/login/")
        async with caddy(tmp_path, files, health), httpx.AsyncClient() as browser:
            assert "딥봇" in (await browser.get(f"http://127.0.0.1:{page}/")).text
            foreign = {"Host": "playground.example.kr"}
            refused = await browser.get(f"http://127.0.0.1:{page}/", headers=foreign)
            assert refused.status_code == 403
            outside = link.replace(str(behind_admin), str(admin))
            assert (await browser.post(outside)).status_code == 303
            pages = await browser.get(f"http://127.0.0.1:{admin}/conversations")
            assert pages.status_code == 200
    finally:
        demo.cancel()
        await asyncio.gather(demo, return_exceptions=True)
