"""Pictures of the admin pages for the README: `python -m tests.screenshots docs/images`.

A shop of its own is opened for them; what its customers say is made up.
"""

import argparse
import asyncio
import shutil
import tempfile
from pathlib import Path

from playwright.async_api import Browser, ViewportSize, async_playwright

from db import search
from tests.browsing import FLAGS
from tests.modelserver import ModelServer
from tests.pages import ADMIN, Pages, open_pages
from tests.shop import Shop, ask, open_shop, say
from tests.sounds import encode, tone
from tests.speechserver import SpeechServer

_PHONE, _DESKTOP = ViewportSize(width=390, height=760), ViewportSize(width=1200, height=760)
_SAID = {
    2001: ["벽지에 곰팡이가 생겼는데 어떻게 해야 하나요?", "합지와 실크 벽지는 뭐가 다른가요?"],
    2002: ["도배 후 환기는 어떻게 하나요?", "달에서도 도배가 되나요?"],
    2003: ["장판 위에 우드 타일을 덧댈 수 있나요?", "상담원 연결해 주세요"],
}


async def _talk(shop: Shop) -> None:
    for customer_id, texts in _SAID.items():
        for text in texts:
            await say(shop.customer(customer_id), text)
    await shop.customer(2001).press_text("👎 아쉬워요")
    await ask(shop.customer(2004), "아파트 32평 전체 실크로 도배 견적 내 주세요")
    sent = await shop.customer(2001).voice(encode(tone(3.0), "ogg"))
    await shop.customer(2001).wait_for(2, after=sent.id)
    await shop.wait_until_idle()
    await shop.database.run(lambda c: search.catch_up(c, 100))


async def _take(browser: Browser, pages: Pages, folder: Path) -> None:
    for size, suffix in ((_DESKTOP, ""), (_PHONE, "-phone")):
        context = await browser.new_context(viewport=size)
        page = await context.new_page()
        await page.goto(f"{pages.url}{await pages.link(ADMIN)}")
        await page.get_by_role("button", name="로그인").click()
        for name in ("conversations", "review", "estimates", "numbers", "knowledge"):
            await page.goto(f"{pages.url}/{name}")
            await page.screenshot(path=folder / f"admin-{name}{suffix}.png")
        await page.goto(f"{pages.url}/conversations?customer=1")
        await page.locator(".talks a").first.click()
        await page.wait_for_timeout(500)
        await page.screenshot(path=folder / f"admin-conversation{suffix}.png")
        await context.close()


async def _main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite:///{place}/shop.db"
        async with SpeechServer().serve() as speech, ModelServer().serve() as model:
            speech.text = "이음매가 벌어졌는데 왜 그런가요"
            settings = {"admins": [ADMIN], "answer_policy": "careful", **speech.settings()}
            async with (
                open_shop(url, model, **settings) as shop,
                open_pages(shop.database, url) as pages,
                async_playwright() as playwright,
            ):
                await _talk(shop)
                browser = await playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=list(FLAGS)
                )
                await _take(browser, pages, folder)
                await browser.close()


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    asyncio.run(_main(folder))


if __name__ == "__main__":
    main()
