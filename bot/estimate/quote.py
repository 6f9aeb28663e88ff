"""The quote to keep: a PDF of one page, and a card that Telegram shows as a picture.

Both are drawn by fpdf2 with an embedded Korean font; the card is a small page, rendered.
"""

import importlib.metadata
import logging
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path

import pypdfium2
from fpdf import FPDF
from fpdf.enums import TableBordersLayout, XPos, YPos
from fpdf.fonts import FontFace

from bot.estimate import wording
from bot.estimate.drawing import Letterhead
from bot.estimate.pricing import Estimate, Package, Range

_FONT, _BOLD = "NanumGothic.ttf", "NanumGothicBold.ttf"
_INK, _GREY, _LINE = (33, 37, 41), (110, 117, 125), (214, 219, 224)
_ACCENT, _PALE = (176, 88, 42), (250, 243, 238)
_CARD_MM = (120.0, 150.0)
_CARD_SCALE = 2.6  # pixels a point: about 880 pixels wide, which phones show sharp

# fpdf2 names in its log the characters that a font lacks, and they are a customer's.
logging.getLogger("fpdf").setLevel(logging.ERROR)
logging.getLogger("fontTools").setLevel(logging.ERROR)


def draw_pdf(estimate: Estimate, head: Letterhead) -> bytes:
    """Return the quote as a PDF of A4 pages."""
    pdf = _new_page((210.0, 297.0), margin=15.0)
    pdf.set_title(f"도배 견적서 {head.number}".strip())
    _text(pdf, "도배 견적서", 22, bold=True)
    number = f"견적번호 {head.number}" if head.number else ""
    known = (number, head.day, head.shop, head.phone)
    _text(pdf, " · ".join(part for part in known if part), 9.5, _GREY)
    pdf.ln(4)

    pdf.set_fill_color(*_PALE)
    pdf.set_text_color(*_ACCENT)
    pdf.set_font("Nanum", "B", 17)
    pdf.cell(0, 16, f"  {wording.total(estimate.total)}", fill=True)
    pdf.set_xy(pdf.l_margin, pdf.get_y())
    pdf.set_font("Nanum", "", 9.5)
    pdf.cell(0, 16, "부가세 포함   ", align="R")
    pdf.ln(17)

    _heading(pdf, "공사 내용")
    given, assumed = wording.given(estimate), wording.assumed(estimate)
    rows = [(label, text) for label, text in wording.answers(estimate.slots, given)]
    _table(pdf, None, rows, (40, 140), aligns=("LEFT", "LEFT"))
    if assumed:
        pdf.ln(1.5)
        _text(pdf, f"말씀하지 않아 이렇게 본 것: {assumed}", 9, _GREY)

    _heading(pdf, "금액 (원)")
    lines = [
        (wording.ITEMS[line.item], f"{line.low:,}", f"{line.high:,}") for line in estimate.lines
    ]
    total = ("합계", f"{estimate.total.low:,}", f"{estimate.total.high:,}")
    _table(
        pdf,
        ("항목", "적게", "많게"),
        [*lines, total],
        (88, 46, 46),
        aligns=("LEFT", "RIGHT", "RIGHT"),
        last_bold=True,
    )

    _heading(pdf, "벽지를 바꾸면")
    _draw_packages(pdf, estimate.packages, width=180.0, row=7.5, size=10.0)

    _heading(pdf, "계산의 근거")
    for line in (
        wording.quantities(estimate),
        f"단가 기준일 {estimate.rates_date.isoformat()}",
        wording.VISIT,
    ):
        _text(pdf, f"·  {line}", 9.5)
    return bytes(pdf.output())


def draw_card(estimate: Estimate, head: Letterhead) -> bytes:
    """Return the estimate in short as a PNG."""
    pdf = _new_page(_CARD_MM, margin=9.0)
    pdf.set_auto_page_break(False)
    width = _CARD_MM[0] - 18.0
    _text(pdf, "도배 견적" + (f"  ·  {head.shop}" if head.shop else ""), 12, _GREY, bold=True)
    pdf.ln(1)
    _text(pdf, wording.total(estimate.total), 25, _ACCENT, bold=True)
    _text(pdf, wording.shorten(wording.brief(estimate), 90), 10.5)
    pdf.ln(3)
    _rule(pdf, width)
    for name, amount in _shortened(estimate):
        _pair(pdf, name, wording.won(amount), width)
    pdf.ln(1)
    _rule(pdf, width)
    _text(pdf, "벽지를 바꾸면", 10.5, _GREY, bold=True)
    pdf.ln(1)
    _draw_packages(pdf, estimate.packages, width=width, row=9.0, size=10.0)
    pdf.ln(2)
    _text(pdf, f"부가세 포함 · 단가 기준일 {estimate.rates_date.isoformat()}", 8.5, _GREY)
    _text(pdf, wording.VISIT, 8.5, _GREY)
    return _render(bytes(pdf.output()), pdf.get_y() + pdf.l_margin)


def _shortened(estimate: Estimate) -> list[tuple[str, Range]]:
    """Return the lines with all extra work as one: the card has no room for more."""
    *work, vat = [(wording.ITEMS[line.item], line) for line in estimate.lines]
    usual, extra = work[:3], [line for _, line in work[3:]]
    if not extra:
        return [*usual, vat]
    more = Range(low=sum(line.low for line in extra), high=sum(line.high for line in extra))
    return [*usual, (f"추가 작업 {len(extra)}가지", more), vat]


def _draw_packages(
    pdf: FPDF, packages: list[Package], *, width: float, row: float, size: float
) -> None:
    """Draw each package as a bar from its low to its high, all on one scale from zero."""
    most = max(package.total.high for package in packages)
    label, amount = width * 0.32, width * 0.28
    room = width - label - amount
    for package in packages:
        x, y = pdf.l_margin, pdf.get_y()
        pdf.set_font("Nanum", "B" if package.chosen else "", size)
        pdf.set_text_color(*(_ACCENT if package.chosen else _INK))
        pdf.cell(label, row, wording.package(package))
        pdf.set_fill_color(*_LINE)
        pdf.rect(x + label, y + row / 2 - 0.3, room, 0.6, style="F")
        low, high = (room * end / most for end in (package.total.low, package.total.high))
        pdf.set_fill_color(*(_ACCENT if package.chosen else _GREY))
        pdf.rect(
            x + label + low,
            y + row / 2 - 1.7,
            max(high - low, 1.0),
            3.4,
            style="F",
            round_corners=True,
            corner_radius=1.2,
        )
        pdf.set_xy(x + label + room, y)
        pdf.cell(amount, row, wording.total(package.total), align="R")
        pdf.set_xy(x, y + row)
    pdf.set_text_color(*_INK)


def _new_page(size: tuple[float, float], margin: float) -> FPDF:
    pdf = FPDF(format=size)
    for style, name in (("", _FONT), ("B", _BOLD)):
        pdf.add_font("Nanum", style, _font(name))
    pdf.set_margins(margin, margin, margin)
    pdf.set_auto_page_break(True, margin)
    pdf.add_page()
    pdf.set_draw_color(*_LINE)
    return pdf


@cache
def _font(name: str) -> Path:
    """Return the path of a font; the package is not imported, since that sets up matplotlib."""
    package = importlib.metadata.distribution("koreanize-matplotlib")
    return Path(str(package.locate_file(f"koreanize_matplotlib/fonts/{name}")))


def _text(
    pdf: FPDF, text: str, size: float, colour: tuple[int, int, int] = _INK, *, bold: bool = False
) -> None:
    pdf.set_font("Nanum", "B" if bold else "", size)
    pdf.set_text_color(*colour)
    pdf.multi_cell(0, size * 0.5, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _heading(pdf: FPDF, text: str) -> None:
    pdf.ln(3.5)
    _text(pdf, text, 12, bold=True)
    pdf.ln(1)


def _rule(pdf: FPDF, width: float) -> None:
    pdf.line(pdf.l_margin, pdf.get_y(), pdf.l_margin + width, pdf.get_y())
    pdf.ln(2.5)


def _pair(pdf: FPDF, name: str, amount: str, width: float) -> None:
    pdf.set_font("Nanum", "", 10.5)
    pdf.set_text_color(*_INK)
    pdf.cell(width * 0.42, 6.6, name)
    pdf.cell(width * 0.58, 6.6, amount, align="R", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def _table(
    pdf: FPDF,
    head: tuple[str, ...] | None,
    rows: Sequence[tuple[str, ...]],
    widths: tuple[int, ...],
    *,
    aligns: tuple[str, ...],
    last_bold: bool = False,
) -> None:
    pdf.set_font("Nanum", "", 10)
    pdf.set_text_color(*_INK)
    pdf.set_fill_color(255)
    with pdf.table(
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        col_widths=widths,
        first_row_as_headings=head is not None,
        headings_style=FontFace(emphasis="BOLD", color=_GREY, fill_color=_PALE),
        line_height=5.7,
        text_align=aligns,
    ) as table:
        for row in [*([head] if head else []), *rows]:
            cells = table.row()
            style = FontFace(emphasis="BOLD") if last_bold and row is rows[-1] else None
            for text in row:
                cells.cell(text, style=style)


def _render(pdf: bytes, height: float) -> bytes:
    """Return the first page down to a height in mm as a PNG."""
    document = pypdfium2.PdfDocument(pdf)
    image = document[0].render(scale=_CARD_SCALE).to_pil()
    document.close()
    buffer = BytesIO()
    image = image.crop((0, 0, image.width, round(image.width * height / _CARD_MM[0])))
    image.save(buffer, "PNG", optimize=False)
    return buffer.getvalue()
