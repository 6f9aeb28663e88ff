"""Draws quotes in a process of its own: a font is taken apart in Python for half a second each."""

from dataclasses import asdict, dataclass
from typing import Literal

from bot.estimate.pricing import Estimate
from bot.helper import Helper, HelperError, Order, serve

Kind = Literal["png", "pdf"]

_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What a quote says beside the estimate; all but the day may be empty."""

    day: str
    number: str = ""
    shop: str = ""
    phone: str = ""


class DrawingError(Exception):
    """A quote could not be drawn."""


class DrawingProcess:
    """The bot's end; one quote is drawn at a time."""

    def __init__(self) -> None:
        self._helper = Helper("bot.estimate.drawing", limit_s=_LIMIT_S)

    async def draw(self, kind: Kind, estimate: Estimate, head: Letterhead) -> bytes:
        """Return a quote as PNG or PDF. Raises `DrawingError`."""
        order = {"kind": kind, "estimate": estimate.model_dump(mode="json"), "head": asdict(head)}
        try:
            _, drawn = await self._helper.ask(order)
        except HelperError as error:
            raise DrawingError from error
        return drawn

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        await self._helper.close()


def _draw(order: Order, _: bytes) -> tuple[Order, bytes]:
    from bot.estimate.quote import draw_card, draw_pdf  # what the bot's process need not load

    draw = draw_card if order["kind"] == "png" else draw_pdf
    return {}, draw(Estimate.model_validate(order["estimate"]), Letterhead(**order["head"]))


if __name__ == "__main__":
    serve(_draw)
