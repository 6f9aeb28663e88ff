"""Pages in a real browser, which must not complain."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
)


@asynccontextmanager
async def page_at(browser: Browser, url: str, *, phone: bool = False) -> AsyncIterator[Page]:
    size = {"width": 360, "height": 740} if phone else {"width": 1280, "height": 800}
    context = await browser.new_context(
        viewport={"width": size["width"], "height": size["height"]}, permissions=["microphone"]
    )
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    await page.goto(url)
    yield page
    await context.close()
    assert problems == []
