"""An estimate while processes die and take turns: the form is in the database, nowhere else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bot.estimate import wording
from bot.playground.client import Customer
from bot.playground.client import Message as Shown
from tests.load.fleet import SECRET, free_ports
from tests.modelserver import ModelServer
from tests.playground import Running, running
from tests.processes import bot_process

# What is answered, how the next question begins, and whether it is a button.
WAY = [
    ("/estimate", "어떤 벽지"),
    ("실크", "어느 등급"),
    ("일반", "어떤 건물"),
    ("아파트", "몇 평"),
    ("서른네 평", "공급(분양)"),
    ("공급", "천장도"),
    ("포함", "어디까지"),
    ("전체", "기존 벽지"),
    ("덧방", "빈집"),
    ("빈집", "모두 골라"),
    ("없어요", "어느 지역"),
    ("부산", "언제쯤"),
    ("미정", "도배 견적"),
]


def final(messages: list[Shown], after: int) -> list[Shown]:
    return [m for m in messages if m.from_bot and m.final and m.id > after]


async def wait_for_question(customer: Customer, after: int, question: str) -> None:
    """Wait for a question; the one before may come once more, if its process died too early."""
    await customer.wait_for(
        lambda seen: any(question in m.text for m in final(seen, after)), timeout=30
    )


async def test_killed_at_every_step_the_estimate_goes_on(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    """Each step's process is killed as soon as the answer shows; the next one finds the form."""
    async with running() as telegram:
        customer = telegram.playground.customer(331)
        for answer, question in WAY:
            async with bot_process(telegram, model, database_url, tmp_path) as bot:
                sent = await customer.send(answer)
                await wait_for_question(customer, sent.id, question)
                bot.kill()
                await bot.wait()
        async with bot_process(telegram, model, database_url, tmp_path):
            # The quote, wherever it was cut off: a picture and a PDF in the end.
            await customer.wait_for(
                lambda seen: (
                    {"photo", "document"}
                    <= {m.file["kind"] for m in final(seen, sent.id) if m.file}
                )
            )
        (total, *_) = [m for m in final(await customer.messages(), sent.id) if question in m.text]
        assert wording.VISIT in total.text
        assert "249" not in total.text  # 부산 is cheaper than 서울


async def test_the_shop_is_told_once_though_the_process_dies_before_the_customer_hears(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    async with running() as telegram:
        admin, customer = telegram.playground.customer(339), telegram.playground.customer(333)
        async with bot_process(telegram, model, database_url, tmp_path, ADMINS="339") as bot:
            await admin.send("/start")
            sent = await customer.send("34평 실크 얼마예요?")
            await wait_for_question(customer, sent.id, "어느 등급")
            await customer.press_text(wording.NOW)
            await customer.wait_for(lambda seen: wording.CALL in str(seen[-1].buttons), timeout=30)
            for press, question in ((wording.CALL, "동의하시겠어요"), (wording.AGREE, "성함")):
                await customer.press_text(press)
                await wait_for_question(customer, sent.id, question)
            await customer.send("박서준")
            await wait_for_question(customer, sent.id, "전화번호를 알려")
            await telegram.playground.fault("sendMessage", chat_id=333, status=502, times=1000)
            await customer.send("010-2345-9876")
            await wait_for_question(admin, 0, "연락 요청")
            await asyncio.sleep(1)  # what was sent to the admin is noted by now
            bot.kill()
            await bot.wait()
        await telegram.playground.clear_faults()
        async with bot_process(telegram, model, database_url, tmp_path, ADMINS="339"):
            await wait_for_question(customer, sent.id, "끝자리 9876")
        told = [m for m in final(await admin.messages(), 0) if "연락 요청" in m.text]
        assert len(told) == 1


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_two_processes_take_alternate_answers(
    database_url: str, model: ModelServer, tmp_path: Path
) -> None:
    """Telegram's webhook is moved to the other process after each answer."""
    async with running() as telegram:
        ports = free_ports(2)
        urls = [f"http://127.0.0.1:{port}/telegram" for port in ports]
        async with (
            _replica(telegram, model, database_url, tmp_path, ports[0]),
            _replica(telegram, model, database_url, tmp_path, ports[1]),
        ):
            customer = telegram.playground.customer(332)
            for step, (answer, question) in enumerate(WAY):
                await telegram.bot.set_webhook(urls[step % 2], secret_token=SECRET)
                sent = await customer.send(answer)
                await wait_for_question(customer, sent.id, question)


@asynccontextmanager
async def _replica(
    telegram: Running, model: ModelServer, database_url: str, folder: Path, port: int
) -> AsyncIterator[None]:
    url = f"http://127.0.0.1:{port}/telegram"
    hook = {"WEBHOOK_URL": url, "WEBHOOK_SECRET": SECRET, "LISTEN": f"127.0.0.1:{port}"}
    async with bot_process(telegram, model, database_url, folder, "--webhook", **hook):
        async with asyncio.timeout(30):
            while (await telegram.bot.get_webhook_info()).url != url:
                await asyncio.sleep(0.1)
        yield
