"""The chat page in a real browser, over the real bot."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from bot import texts
from inference.speech.sound import decode
from tests.browsing import page_at
from tests.modelserver import ModelServer
from tests.shop import open_shop
from tests.speechserver import SpeechServer

pytestmark = pytest.mark.browser

MOULD = "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'browser.db'}"


async def send(page: Page, text: str) -> None:
    await page.get_by_test_id("composer").fill(text)
    await page.get_by_test_id("send").click()


def bot_messages(page: Page | Locator) -> Locator:
    return page.locator('[data-testid="message"][data-from="bot"][data-final="true"]')


def growing(page: Page) -> Locator:
    return page.locator('[data-testid="message"][data-from="bot"][data-final="false"] .text')


async def test_start_ask_see_it_grow_rate_look_at_sources_reload(
    browser: Browser, sqlite_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "먼저 원인을 찾고 닦아 말린 뒤 도배하세요. " * 8
    model.token_s = 0.05
    async with (
        open_shop(sqlite_url, model, answer_check=False) as shop,
        page_at(browser, shop.url) as page,
    ):
        await page.get_by_test_id("start").click()
        await expect(bot_messages(page).first).to_contain_text("딥봇이에요")
        await page.get_by_test_id("inline-button").filter(has_text="상담하기").click()
        await expect(bot_messages(page).nth(1)).to_contain_text(texts.CONSULT)

        await send(page, MOULD)
        await expect(growing(page)).to_contain_text("먼저")
        early = await growing(page).inner_text()
        await expect(bot_messages(page)).to_have_count(3, timeout=15_000)
        answer = bot_messages(page).nth(2)
        await expect(answer.locator(".text")).to_have_text(model.reply("").strip())
        assert 0 < len(early) < len(model.reply(""))

        await answer.get_by_test_id("inline-button").filter(has_text="👍").click()
        await expect(page.get_by_test_id("toast")).to_contain_text("고마워요")
        await expect(answer.get_by_test_id("inline-button").first).to_have_text("👍 좋아요 ✓")
        await answer.get_by_test_id("inline-button").filter(has_text="출처").click()
        await expect(bot_messages(page).nth(3)).to_contain_text("DB_001")

        await page.reload()
        await expect(bot_messages(page)).to_have_count(4)
        await expect(page.locator('[data-from="customer"] .text').first).to_have_text("/start")


async def test_an_estimate_by_buttons_ends_in_a_picture_and_a_file(
    browser: Browser, sqlite_url: str, model: ModelServer
) -> None:
    async with open_shop(sqlite_url, model) as shop, page_at(browser, shop.url) as page:
        await send(page, "34평 아파트 실크로 천장까지 얼마예요?")
        await expect(bot_messages(page).first).to_contain_text("어느 등급")
        buttons = page.get_by_test_id("inline-button")
        await buttons.filter(has_text=re.compile("^일반$")).click()
        await expect(bot_messages(page).nth(1)).to_contain_text("공급(분양)")
        await expect(bot_messages(page).first.get_by_test_id("inline-button")).to_have_count(0)
        await buttons.filter(has_text="지금 견적 보기").click()
        await expect(bot_messages(page).nth(2)).to_contain_text("245만~333만 원")
        picture = bot_messages(page).nth(3).locator("img").first
        await expect(picture).to_be_visible(timeout=20_000)
        assert await picture.evaluate("image => image.naturalWidth") > 800
        await expect(bot_messages(page).nth(4)).to_contain_text("도배견적_")


async def test_the_commands_menu_opens_and_sends(
    browser: Browser, sqlite_url: str, model: ModelServer
) -> None:
    async with open_shop(sqlite_url, model) as shop, page_at(browser, shop.url) as page:
        await page.get_by_test_id("composer").focus()
        await page.get_by_role("button", name="명령 메뉴").click()
        await page.wait_for_timeout(300)
        await page.get_by_text("도움말", exact=True).click()
        await expect(bot_messages(page).first).to_contain_text("이런 것을 할 수 있어요")


async def test_stopping_half_way_stops_the_model(
    browser: Browser, sqlite_url: str, model: ModelServer
) -> None:
    model.reply = lambda _: "끝나지 않는 답변이 이어집니다 " * 300
    model.token_s = 0.03
    async with (
        open_shop(sqlite_url, model, answer_check=False) as shop,
        page_at(browser, shop.url) as page,
    ):
        await send(page, MOULD)
        await expect(growing(page)).to_contain_text("끝나지 않는")
        await page.get_by_test_id("stop-draft").click()
        await model.wait_until_cancelled(1)
        await expect(bot_messages(page).first).to_contain_text(texts.STOPPED)
        assert model.finished == 0


async def test_two_customers_side_by_side_do_not_wait(
    browser: Browser, sqlite_url: str, model: ModelServer
) -> None:
    model.reply = lambda asked: "느린 답 " * 300 if "곰팡이" in asked else "빠른 답"
    model.token_s = 0.05
    async with (
        open_shop(sqlite_url, model, answer_check=False) as shop,
        page_at(browser, shop.url) as page,
    ):
        await send(page, MOULD)
        await expect(growing(page)).to_contain_text("느린")
        await page.get_by_test_id("add-customer").click()
        rows = page.get_by_test_id("chat-row")
        await expect(rows).to_have_count(2)
        await rows.first.hover()
        await rows.first.locator(".beside").click()
        panes = page.get_by_test_id("pane")
        await expect(panes).to_have_count(2)
        second = page.get_by_role("region", name="손님 2와 딥봇의 대화")
        await second.get_by_test_id("composer").fill("타일 위에 도배해도 되나요?")
        await second.get_by_test_id("composer").press("Enter")
        await expect(bot_messages(second).first.locator(".text")).to_have_text("빠른 답")
        await expect(growing(page)).to_have_text(re.compile("^느린 답"))
        assert model.finished == 1


async def test_hostile_text_stays_text(
    browser: Browser, sqlite_url: str, model: ModelServer
) -> None:
    evil = "<img src=x onerror=\"document.title='pwned'\"><script>document.title='pwned'</script>"
    model.reply = lambda _: evil
    async with (
        open_shop(sqlite_url, model, answer_check=False) as shop,
        page_at(browser, shop.url) as page,
    ):
        await send(page, evil)  # declined, but shown as the customer's own
        await expect(bot_messages(page)).to_have_count(1)
        await send(page, MOULD)
        await expect(bot_messages(page).last.locator(".text")).to_have_text(evil)
        assert "pwned" not in await page.title()
        assert await page.locator(".text img, .text script").count() == 0


async def test_a_recorded_question_is_answered_aloud(
    browser: Browser, sqlite_url: str, model: ModelServer
) -> None:
    async with (
        SpeechServer("도배 후 환기는 어떻게 하나요").serve() as speech,
        open_shop(sqlite_url, model, answer_policy="careful", **speech.settings()) as shop,
        page_at(browser, shop.url) as page,
    ):
        await send(page, "/voice")
        await page.get_by_role("button", name=texts.BUTTON_SPOKEN.partition(" ")[2]).click()
        await expect(bot_messages(page).nth(1)).to_contain_text("음성으로도 들려")
        await page.get_by_test_id("record").click()
        await page.wait_for_timeout(1200)
        await page.get_by_test_id("record-send").click()
        await expect(bot_messages(page).nth(3)).to_contain_text("도배 후 환기는 어떻게 하나요")
        await expect(bot_messages(page).nth(4)).to_contain_text("창문")
        player = bot_messages(page).nth(5).locator(".voice")
        await player.get_by_role("button", name="재생").click()
        await expect(player.get_by_role("button", name="멈춤")).to_be_visible()
        (chat,) = await shop.playground.chats()
        sent = [m for m in await shop.customer(chat["id"]).messages() if m.sender != "bot"]
        voice = sent[-1].file
        assert voice
        assert voice["kind"] == "voice"
        sound = await shop.playground.download(voice["url"])
        assert sound.startswith(b"OggS")
        assert decode(sound, most_s=60).dBFS > -30  # the file that the microphone plays
        assert speech.seconds == [pytest.approx(decode(sound, most_s=60).duration_seconds, abs=0.1)]


async def test_the_page_fits_a_phone(browser: Browser, sqlite_url: str, model: ModelServer) -> None:
    model.reply = lambda _: "가" * 600 + " 끝"
    async with (
        open_shop(sqlite_url, model, answer_check=False) as shop,
        page_at(browser, shop.url, phone=True) as page,
    ):
        await expect(page.get_by_test_id("composer")).to_be_visible()
        await send(page, MOULD)
        await expect(bot_messages(page).first.locator(".text")).to_have_text(re.compile("끝$"))
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await page.evaluate(overflow) <= 0
