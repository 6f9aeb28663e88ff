"""The shop's people at work in a real browser, over the real bot."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from bot import texts
from tests.browsing import page_at
from tests.modelserver import ModelServer
from tests.pages import ADMIN, open_pages
from tests.shop import ask, open_shop, say

pytestmark = pytest.mark.browser

QUESTION = "곰팡이가 핀 벽지 위에 우리 가게 코팅제를 발라도 되나요?"
CORRECTED = "우리 가게 코팅제는 곰팡이를 닦고 이틀 말린 뒤에만 바르세요."


@pytest.mark.timeout(180)
async def test_find_correct_teach_take_over_give_back_export(
    browser: Browser,
    tmp_path: Path,
    model: ModelServer,
) -> None:
    url = f"sqlite:///{tmp_path / 'browser.db'}"
    async with (
        open_shop(url, model, admins=[ADMIN], answer_policy="careful") as shop,
        open_pages(shop.database, url) as pages,
    ):
        customer = shop.customer(1)
        assert CORRECTED not in (await say(customer, QUESTION)).text
        (invited,) = await ask(shop.customer(ADMIN), "/admin")
        await shop.wait_until_idle()
        link = re.search(r"/login/\S+", invited.text)
        assert link
        async with page_at(browser, f"{pages.url}{link[0]}") as page:
            await page.get_by_role("button", name="로그인").click()

            # Find a conversation by a part of a word.
            await page.get_by_role("searchbox").fill("곰팡")
            await page.get_by_role("button", name="찾기").click()
            await page.get_by_role("link", name=QUESTION[:20]).click()
            await expect(page.locator(".bubble.customer")).to_contain_text(QUESTION)

            # Correct the answer, and make it knowledge.
            await page.get_by_role("link", name="검토하기").click()
            await page.get_by_label("고쳐야 해요").check()
            await page.get_by_label("사실이 틀림").check()
            await page.get_by_label("고친 답").fill(CORRECTED)
            await page.get_by_role("button", name="저장").click()
            await expect(page.locator(".diff ins").first).to_be_visible()
            await page.get_by_role("link", name="이 답을 지식으로 만들기").click()
            await page.get_by_role("button", name="저장").click()
            await expect(page.get_by_role("status")).to_contain_text("저장했어요")
            async with asyncio.timeout(60):
                while CORRECTED not in (await say(customer, QUESTION)).text:
                    await asyncio.sleep(1)

            # Take the chat over, talk, give it back; the customer's words appear by themselves.
            await page.get_by_role("link", name="대화", exact=True).click()
            await page.get_by_role("link", name=QUESTION[:20]).click()
            await page.get_by_role("button", name="직접 답하기").click()
            await page.get_by_label("손님에게 보낼 말").fill("안녕하세요, 사장이에요.")
            await page.get_by_role("button", name="보내기").click()
            async with asyncio.timeout(20):
                while (await customer.messages())[-1].text != "안녕하세요, 사장이에요.":
                    await asyncio.sleep(0.2)
            said = await customer.send("사장님, 내일 오실 수 있나요?")
            await expect(page.locator("#chat")).to_contain_text("내일 오실 수 있나요?")
            assert [m for m in await customer.messages() if m.id > said.id] == []
            await page.get_by_role("button", name="봇에게 돌려주기").click()
            (back,) = await customer.wait_for(1, after=said.id)
            assert back.text == texts.HUMAN_GIVES_BACK
            assert CORRECTED in (await say(customer, QUESTION)).text

            # Export.
            await shop.wait_until_idle()
            await page.get_by_role("link", name="대화", exact=True).click()
            await page.get_by_text("학습용으로 내려받기").click()
            async with page.expect_download() as downloading:
                await page.get_by_role("button", name="JSONL 내려받기").click()
            path = await (await downloading.value).path()
            exported = await asyncio.to_thread(path.read_text, encoding="utf-8")
            lines = [json.loads(line) for line in exported.splitlines()]
            chosen = [line["chosen"] for line in lines if "chosen" in line]
            assert chosen == [[{"role": "assistant", "content": CORRECTED}]]


async def test_a_phone_shows_the_pages_whole(
    browser: Browser,
    tmp_path: Path,
    model: ModelServer,
) -> None:
    url = f"sqlite:///{tmp_path / 'browser.db'}"
    async with (
        open_shop(url, model, admins=[ADMIN], answer_policy="careful") as shop,
        open_pages(shop.database, url) as pages,
    ):
        await say(shop.customer(1), "긴말" * 200)
        await say(shop.customer(1), QUESTION)
        await shop.wait_until_idle()
        start = f"{pages.url}{await pages.link(ADMIN)}"
        async with page_at(browser, start, phone=True) as page:
            await page.get_by_role("button", name="로그인").click()
            for path in ("", "/1"):
                await page.goto(f"{pages.url}/conversations{path}")
                assert await page.evaluate("document.documentElement.scrollWidth") <= 360
            for path in ("review", "estimates", "knowledge", "numbers", "log"):
                await page.goto(f"{pages.url}/{path}")
                assert await page.evaluate("document.documentElement.scrollWidth") <= 360, path
