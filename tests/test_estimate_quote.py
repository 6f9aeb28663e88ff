"""The quote: what its PDF says, and that its pages and its card show it."""

import asyncio
import io
import sys
from pathlib import Path

import psutil
import pypdfium2
import pytest
from PIL import Image

from bot.estimate import pricing, quote, rates, wording
from bot.estimate.drawing import DrawingProcess, Letterhead
from bot.estimate.pricing import Estimate
from bot.estimate.slots import Slots

HEAD = Letterhead("2026-11-25", "20261125-57", "행복 도배", "02-123-4567")
FULL = Slots.model_validate(
    {
        **{"wallpaper": "mixed", "paper_width": "wide", "brand": "premium", "building": "house"},
        **{"area": 84.97, "unit": "sqm", "area_basis": "exclusive", "ceiling": "partial"},
        **{"rooms": 3, "remove_old": True, "occupied": True, "extended": True, "mould": True},
        **{"putty": True, "region": "서울 마포구 망원동 <i>123</i>", "timing": "urgent"},
    }
)
LEAST = Slots.model_validate({"wallpaper": "paper", "area": 1, "unit": "pyeong"})


def estimate(slots: Slots) -> Estimate:
    return pricing.estimate(slots, rates.load())


@pytest.mark.parametrize("slots", [FULL, LEAST])
def test_the_pdf_says_all_of_the_estimate_on_one_page(slots: Slots) -> None:
    result = estimate(slots)
    pdf = pypdfium2.PdfDocument(quote.draw_pdf(result, HEAD))
    assert len(pdf) == 1
    text = pdf[0].get_textpage().get_text_range()
    for line in result.lines:
        assert wording.ITEMS[line.item] in text
        assert f"{line.low:,}" in text
        assert f"{line.high:,}" in text
    for part in (
        *(f"{result.total.low:,}", f"{result.total.high:,}", wording.total(result.total)),
        *(HEAD.number, HEAD.day, HEAD.shop, HEAD.phone, "2026-09-01", wording.VISIT),
        *(wording.package(package) for package in result.packages),
        *(answer for _, answer in wording.answers(slots)),
    ):
        assert part in text, part


def test_the_page_and_the_card_are_drawn(tmp_path: Path) -> None:
    result = estimate(FULL)
    page = pypdfium2.PdfDocument(quote.draw_pdf(result, HEAD))[0].render(scale=1).to_pil()
    card = Image.open(io.BytesIO(quote.draw_card(result, HEAD)))
    assert card.format == "PNG"
    assert 800 <= card.width <= 1280
    for image in (page, card):
        colours = image.convert("RGB").getcolors(1 << 20)
        assert colours
        background = max(colours)[1]
        assert background == (255, 255, 255)
        inked = 1 - max(colours)[0] / (image.width * image.height)
        assert 0.02 < inked < 0.4


def test_a_card_keeps_to_its_one_page_whatever_it_shows() -> None:
    full, least = (
        Image.open(io.BytesIO(quote.draw_card(estimate(slots), HEAD))) for slots in (FULL, LEAST)
    )
    assert full.width == least.width
    assert least.height < full.height < full.width * 150 / 120  # the page it is drawn on


@pytest.mark.parametrize("place", ["😀🏠 마포", "\u202e거꾸로", "가" * 60, "\u0e01\u0e02 ไทย"])
def test_characters_without_a_glyph_break_nothing(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    slots = FULL.model_copy(update={"region": place})
    assert quote.draw_pdf(estimate(slots), HEAD).startswith(b"%PDF")
    assert quote.draw_card(estimate(slots), HEAD).startswith(b"\x89PNG")
    assert place[0] not in caplog.text  # a customer's words stay out of the log


async def test_quotes_are_drawn_in_a_process_that_may_die() -> None:
    drawing = DrawingProcess()
    try:
        assert (await drawing.draw("pdf", estimate(FULL), HEAD)).startswith(b"%PDF")
        (child,) = children()
        child.kill()
        assert (await drawing.draw("png", estimate(FULL), HEAD)).startswith(b"\x89PNG")
        (again,) = children()
        assert again.pid != child.pid
    finally:
        await drawing.close()
    assert children() == []


async def test_the_drawing_process_ends_with_the_bot() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bot.estimate.drawing", stdin=asyncio.subprocess.PIPE
    )
    assert process.stdin
    process.stdin.close()  # as when whoever held it is killed
    async with asyncio.timeout(20):
        assert await process.wait() == 0


def children() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if "bot.estimate.drawing" in child.cmdline()
    ]
