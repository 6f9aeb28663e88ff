"""The playground's customers' API, its faults and limits, and what it refuses from outside."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
from telegram.error import BadRequest, NetworkError, RetryAfter
from yarl import URL

from bot.playground.client import Customer, PlaygroundError
from bot.playground.server import create_app, serve
from bot.playground.store import Store
from tests.playground import TOKEN, Running, bot_at


@pytest.fixture
async def web() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


# Faults and limits


async def test_fault_before_the_work(server: Running, customer: Customer) -> None:
    await server.playground.fault("sendMessage", status=429, retry_after=3, times=2)
    for _ in range(2):
        with pytest.raises(RetryAfter, match=r"Retry in .*3"):
            await server.bot.send_message(1001, "하나")
    await server.bot.send_message(1001, "둘")
    assert [m.text for m in await customer.messages()] == ["안녕하세요", "둘"]


async def test_fault_after_the_work(server: Running, customer: Customer) -> None:
    await server.playground.fault("sendMessage", status=502, after=True)
    with pytest.raises(NetworkError, match="Bad Gateway"):
        await server.bot.send_message(1001, "하나")
    assert (await customer.messages())[-1].text == "하나"


@pytest.mark.parametrize(("after", "arrived"), [(False, 1), (True, 2)])
async def test_dropped_connection(
    server: Running, customer: Customer, after: bool, arrived: int
) -> None:
    await server.playground.fault(drop=True, after=after)
    with pytest.raises(NetworkError):
        await server.bot.send_message(1001, "하나")
    assert len(await customer.messages()) == arrived
    assert (await server.playground.calls("sendMessage"))[-1]["status"] == 0


async def test_fault_for_one_chat_and_method(server: Running, customer: Customer) -> None:
    await server.playground.customer(1002).send("저도요")
    await server.playground.fault("SendMessage", status=500, chat_id=1002, times=9)
    await server.bot.send_message(1001, "이쪽은 됩니다")
    await server.bot.send_chat_action(1002, "typing")
    with pytest.raises(NetworkError, match="Internal Server Error"):
        await server.bot.send_message(1002, "이쪽은 안 됩니다")
    await server.playground.clear_faults()
    await server.bot.send_message(1002, "이제 됩니다")


async def test_delay_without_failure(server: Running, customer: Customer) -> None:
    await server.playground.fault("sendMessage", delay_s=0.3)
    started = time.monotonic()
    await server.bot.send_message(1001, "늦은 답")
    assert time.monotonic() - started >= 0.3


async def test_flood_control_of_one_chat(server: Running, customer: Customer) -> None:
    await server.playground.customer(1002).send("저도요")
    await server.playground.limit(per_chat_s=1)
    await server.bot.send_message(1001, "하나")
    for _ in range(2):  # the penalty stays
        with pytest.raises(RetryAfter):
            await server.bot.send_chat_action(1001, "typing")
    await server.bot.send_message(1002, "다른 대화는 됩니다")
    await server.bot.get_updates()
    await asyncio.sleep(1.05)
    await server.bot.send_message(1001, "둘")
    await server.playground.limit()
    for _ in range(5):
        await server.bot.send_message(1001, "이제 끝없이")


async def test_flood_control_over_all_chats(server: Running, customer: Customer) -> None:
    await server.playground.limit(overall_s=3)
    sends = [server.bot.send_message(1001, str(number)) for number in range(5)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert sum(isinstance(result, RetryAfter) for result in results) == 2


async def test_calls_are_logged_without_texts(server: Running, customer: Customer) -> None:
    await server.bot.send_message(1001, "비밀입니다")
    with pytest.raises(BadRequest):
        await server.bot.send_message(4242, "없음")
    calls = await server.playground.calls("sendMessage")
    shown = [(call["chat_id"], call["status"], call["text_length"]) for call in calls]
    assert shown == [(1001, 200, 5), (4242, 400, 2)]
    assert "비밀" not in str(calls)
    assert len(await server.playground.calls(chat_id=4242)) == 1


# Customers


async def test_long_text_arrives_in_parts(server: Running) -> None:
    customer = server.playground.customer(1001)
    lines = ["가" * 99] * 60
    last = await customer.send("\n".join(lines))
    first, second = await customer.messages()
    assert last.id == second.id
    assert f"{first.text}\n{second.text}".split("\n") == lines
    assert len(await server.bot.get_updates()) == 2


async def test_commands_are_found(server: Running) -> None:
    await server.playground.customer(1001).send("😀 /start@deepbot 값/값 https://a.b/c /도배")
    (update,) = await server.bot.get_updates()
    assert update.message
    assert [update.message.parse_entity(e) for e in update.message.entities] == ["/start@deepbot"]


async def test_raw_message_bodies(server: Running) -> None:
    customer = server.playground.customer(1001)
    await customer.send(raw={"location": {"latitude": 37.5, "longitude": 127.0}})
    await customer.send("답", raw={"reply_to_message": "?", "message_id": 99, "chat": {}})
    first, second = (await server.bot.get_updates(limit=1))[0], (await customer.messages())[1]
    assert first.message
    assert first.message.location
    assert (second.id, second.reply_to) == (2, None)


async def test_groups_have_several_people(server: Running) -> None:
    for user in (41, 42):
        await server.playground.customer(-7, user=user).send("저요")
    updates = await server.bot.get_updates()
    people = [u.effective_user.id for u in updates if u.effective_user]
    assert (people, updates[0].effective_chat and updates[0].effective_chat.type) == (
        [41, 42],
        "group",
    )


async def test_fresh_chats(server: Running, customer: Customer) -> None:
    named = await server.playground.new_chat("김도배")
    group = await server.playground.new_chat(kind="group")
    assert {named.chat_id, group.chat_id}.isdisjoint({1001})
    chats = await server.playground.chats()
    assert {chat["id"]: (chat["name"], chat["type"]) for chat in chats}[named.chat_id] == (
        "김도배",
        "private",
    )
    assert group.chat_id < 0


async def test_events_in_order(server: Running, customer: Customer) -> None:
    events = customer.events()
    name, history = await anext(events)
    assert (name, [m["text"] for m in history["messages"]]) == ("history", ["안녕하세요"])
    await server.bot.send_chat_action(1001, "typing")
    await server.bot.send_message_draft(1001, 3, "그")
    await server.bot.send_message_draft(1001, 4, "그게")
    sent = await server.bot.send_message(1001, "그게요")
    await server.bot.edit_message_text("그게요.", 1001, sent.message_id)
    await server.bot.delete_message(1001, sent.message_id)
    seen = [await anext(events) for _ in range(8)]
    await events.aclose()
    assert [(name, data.get("id")) for name, data in seen] == [
        ("typing", None),
        ("draft", -3),
        ("draft_gone", -3),
        ("draft", -4),
        ("draft_gone", -4),
        ("message", sent.message_id),
        ("edit", sent.message_id),
        ("delete", sent.message_id),
    ]
    assert (seen[1][1]["final"], seen[5][1]["final"]) == (False, True)


async def test_wait_for_sees_a_draft(server: Running, customer: Customer) -> None:
    waiting = asyncio.create_task(customer.wait_for(lambda shown: not shown[-1].final))
    await asyncio.sleep(0.05)
    await server.bot.send_message_draft(1001, 3, "그")
    assert (await waiting)[-1].text == "그"
    with pytest.raises(TimeoutError):
        await customer.wait_for(1, timeout=0.05)


async def test_open_streams_and_polls_end_with_the_server(web: aiohttp.ClientSession) -> None:
    async with serve(create_app(Store(), token=TOKEN), 0) as port:
        url = f"http://127.0.0.1:{port}"
        stream = await web.get(f"{url}/api/chats/1/events")
        await stream.content.readline()
        poll = asyncio.ensure_future(web.get(f"{url}/bot{TOKEN}/getUpdates?timeout=50"))
        await asyncio.sleep(0.1)
        started = time.monotonic()
    assert time.monotonic() - started < 5  # the long poll alone would take longer
    await stream.read()
    assert await (await poll).json() == {"ok": True, "result": []}


async def test_commands_are_shown(server: Running) -> None:
    await server.bot.set_my_commands([("price", "값 알아보기")])
    assert await server.playground.commands() == [
        {"command": "price", "description": "값 알아보기"}
    ]
    with pytest.raises(BadRequest, match="Bot_command_invalid"):
        await server.bot.set_my_commands([("도배", "한글 명령")])
    await server.bot.delete_my_commands()
    assert await server.playground.commands() == []


# Refusals of the customers' API


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/chats/1001/messages", b"{", 400),
        ("/api/chats/1001/messages", b"[]", 400),
        ("/api/chats/1001/messages", b'{"text": "\\ud800"}', 400),
        ("/api/chats/1001/messages", b'{"text": NaN}', 400),
        ("/api/chats/1001/messages", b"[" * 100_000, 400),
        ("/api/chats/1001/messages", b'{"text": "\xff"}', 400),
        ("/api/chats/1001/messages", b'{"text": 5}', 400),
        ("/api/chats/1001/messages", b'{"text": " "}', 400),
        ("/api/chats/1001/messages", b'{"text": "x", "edit": 999}', 404),
        ("/api/chats/-5/messages", b'{"text": "x", "user": "y"}', 400),
        ("/api/chats/1001/buttons", b'{"message_id": 1, "data": "x"}', 404),
        ("/api/chats/1001/stop", b'{"draft_id": 5}', 404),
        ("/api/chats/1001/voice", b"not a sound", 400),
        ("/api/chats/1001/voice", b"", 400),
        ("/api/chats/1001/photo", b"GIF89a", 400),
        ("/api/chats/0/messages", b"{}", 404),
        ("/api/chats/99999999999999999999/messages", b"{}", 404),
        ("/api/nothing", b"{}", 404),
        ("/api/chats", b'{"type": "channel"}', 400),
        ("/api/faults", b'{"status": 200}', 400),
        ("/api/faults", b'{"unknown": 1}', 400),
        ("/api/limits", b'{"per_chat_s": -1}', 400),
    ],
)
async def test_refusals_are_sentences(
    server: Running, web: aiohttp.ClientSession, path: str, body: bytes, status: int
) -> None:
    async with web.post(server.url + path, data=body) as response:
        answer = await response.json()
        assert response.status == status
    assert list(answer) == ["error"]
    assert answer["error"].endswith(("다.", "요.")) or ":" in answer["error"]
    assert await server.playground.customer(1001).messages() == []


async def test_stopping_needs_the_bots_leave(server: Running, customer: Customer) -> None:
    await server.bot.send_message_draft(1001, 5, "멈출 수 없는 글")
    with pytest.raises(PlaygroundError, match="409"):
        await customer.stop(5)


async def test_blocking_customers_are_silent(server: Running, customer: Customer) -> None:
    await customer.block()
    with pytest.raises(PlaygroundError, match="409"):
        await customer.send("들리나요")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.exe", "a.exe"),
        ('a"\r\nSet-Cookie: x=1\u202e.pdf', 'a"Set-Cookie: x=1.pdf'),
        ("..", "file"),
        ("", "file"),
        ("가" * 300 + ".hwp", "가" * 124 + ".hwp"),
    ],
)
async def test_hostile_file_names(
    server: Running, web: aiohttp.ClientSession, name: str, kept: str
) -> None:
    customer = server.playground.customer(1001)
    sent = await customer.document(b"<script>alert(1)</script>", name)
    assert sent.file
    assert sent.file["name"] == kept
    async with web.get(server.url + sent.file["url"]) as response:
        assert response.content_disposition
        assert response.content_disposition.filename == kept
        assert "Set-Cookie" not in response.headers
    (update,) = await server.bot.get_updates()
    assert update.message
    assert update.message.document
    file = await update.message.document.get_file()
    assert bytes(await file.download_as_bytearray()) == b"<script>alert(1)</script>"


async def test_uploaded_pages_are_downloads(
    server: Running, customer: Customer, web: aiohttp.ClientSession
) -> None:
    sent = await customer.document(b"<script>alert(1)</script>", "page.html")
    assert sent.file
    async with web.get(server.url + sent.file["url"]) as response:
        assert response.content_type == "application/octet-stream"
        assert response.headers["Content-Disposition"].startswith("attachment")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


# The outside


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
async def test_only_this_machine_and_this_page(
    server: Running, web: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    for path in ("/api/chats", f"/bot{TOKEN}/getMe"):
        async with web.get(server.url + path, headers=headers) as response:
            assert response.status == status
            assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    async with web.get(f"{server.url}/api/chats", headers={"Origin": server.url}) as response:
        assert response.status == 200


async def test_serves_loopback_only() -> None:
    with pytest.raises(ValueError, match="this machine only"):
        async with serve(create_app(Store(), token=TOKEN), 0, host="0.0.0.0"):  # noqa: S104 - to be refused
            pass


async def test_health_follows_the_bot(web: aiohttp.ClientSession) -> None:
    up = False
    async with serve(create_app(Store(), token=TOKEN, ready=lambda: up), 0) as port:
        url = f"http://127.0.0.1:{port}/healthz"
        async with web.get(url) as response:
            assert (response.status, await response.json()) == (503, {"status": "starting"})
        up = True
        async with web.get(url) as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})


async def test_static_files_stay_inside(server: Running, web: aiohttp.ClientSession) -> None:
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py"):
        url = URL(server.url + path, encoded=True)
        async with web.get(url) as response:
            assert response.status in (403, 404)


async def test_file_downloads_need_the_token(server: Running, customer: Customer) -> None:
    await customer.document(b"data", "a.txt")
    *_, update = await server.bot.get_updates()
    assert update.message
    assert update.message.document
    file = await update.message.document.get_file()
    assert file.file_path
    async with aiohttp.ClientSession() as session:
        async with session.get(file.file_path.replace(TOKEN, "7:WRONG")) as response:
            assert response.status == 401
        async with session.get(file.file_path) as response:
            assert await response.read() == b"data"


async def test_many_customers_at_once(server: Running) -> None:
    async with bot_at(server.url) as bot:

        async def talk(number: int) -> str:
            customer = server.playground.customer(number)
            sent = await customer.send(f"질문 {number}")
            await bot.send_message_draft(number, 1, "…")
            await bot.send_message(number, f"답 {number}")
            (answer,) = await customer.wait_for(1, after=sent.id)
            return answer.text

        numbers = range(2000, 2100)
        assert await asyncio.gather(*map(talk, numbers)) == [f"답 {n}" for n in numbers]
