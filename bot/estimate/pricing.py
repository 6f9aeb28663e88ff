"""The arithmetic of an estimate: slots and rates in, an itemised range in whole won out.

Pure functions; decimals throughout, so that ㎡ and 평, and the same areas, give the same won.
The formula (도배평수 / 5 × 롤당 벽지값 + 인건비 + 부자재) and each figure's source: `rates.toml`.
"""

import datetime
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from bot.estimate.places import province
from bot.estimate.rates import Rate, Rates, RateTable
from bot.estimate.slots import (
    AreaBasis,
    Brand,
    Building,
    Ceiling,
    PaperWidth,
    Slots,
    Timing,
    Wallpaper,
)

_HALF_DAY = Decimal("0.5")


class Item(StrEnum):
    """A line of the estimate."""

    WALLPAPER = "wallpaper"
    LABOUR = "labour"
    SUNDRIES = "sundries"
    REMOVAL = "removal"
    MOVING = "moving"
    EXTENDED = "extended"
    MOULD = "mould"
    PUTTY = "putty"
    URGENT = "urgent"
    VAT = "vat"


class Range(BaseModel):
    """An amount from `low` to `high`, in whole won."""

    model_config = ConfigDict(frozen=True)

    low: int
    high: int


class Line(Range):
    """One line of the estimate."""

    item: Item


class Quantity(BaseModel):
    """A quantity from `low` to `high`, such as rolls or days."""

    model_config = ConfigDict(frozen=True)

    low: float
    high: float


class Package(BaseModel):
    """What the same work would cost in another wallpaper; `chosen` is what was asked for."""

    model_config = ConfigDict(frozen=True)

    wallpaper: Wallpaper
    brand: Brand
    chosen: bool
    total: Range


class Estimate(BaseModel):
    """What the work costs: lines that add up to the total, and what was assumed."""

    model_config = ConfigDict(frozen=True)

    lines: list[Line]
    total: Range
    slots: Slots  # with what was assumed in the place of what nobody said
    assumed: list[str]  # the names of the slots that nobody said
    papered: Quantity  # 도배평: walls and ceiling
    rolls: Quantity
    days: Quantity  # of one worker
    packages: list[Package]
    rates_date: datetime.date


class IncompleteError(ValueError):
    """Wallpaper or area is not known: there is nothing to reckon with."""


# What is reckoned with where nobody said; the estimate names each.
_ASSUMED = Slots(
    brand=Brand.STANDARD,
    building=Building.APARTMENT,
    ceiling=Ceiling.FULL,
    paper_width=PaperWidth.WIDE,
    rooms=0,
    remove_old=False,
    occupied=False,
    extended=False,
    mould=False,
    putty=False,
)
_PACKAGES = (
    (Wallpaper.PAPER, Brand.STANDARD),
    (Wallpaper.SILK, Brand.STANDARD),
    (Wallpaper.SILK, Brand.PREMIUM),
)


def estimate(slots: Slots, rates: Rates) -> Estimate:
    """Return the estimate for `slots`. Raises `IncompleteError` without wallpaper or area."""
    if slots.wallpaper is None or slots.area is None:
        raise IncompleteError
    full = _ASSUMED.filled(slots)
    if full.area_basis is None:
        basis = AreaBasis.SUPPLY if full.building == Building.APARTMENT else AreaBasis.EXCLUSIVE
        full = full.model_copy(update={"area_basis": basis})
    low, high = _End(full, rates, _low), _End(full, rates, _high)
    lines = [
        Line(item=item, low=amount, high=high.amounts[item]) for item, amount in low.amounts.items()
    ]
    return Estimate(
        lines=lines,
        total=_total(full, rates),
        slots=full,
        assumed=[name for name, value in full.said().items() if getattr(slots, name) is None],
        papered=Quantity(low=float(low.papered), high=float(high.papered)),
        rolls=Quantity(low=low.rolls, high=high.rolls),
        days=Quantity(low=float(low.days), high=float(high.days)),
        packages=_packages(full, rates),
        rates_date=rates.date,
    )


def _packages(slots: Slots, rates: Rates) -> list[Package]:
    assert slots.wallpaper  # noqa: S101 - `estimate` checks
    chosen = (slots.wallpaper, slots.brand or Brand.STANDARD)
    packages = _PACKAGES if chosen in _PACKAGES else (chosen, *_PACKAGES)
    return [
        Package(
            wallpaper=wallpaper,
            brand=brand,
            chosen=chosen == (wallpaper, brand),
            total=_total(slots.model_copy(update={"wallpaper": wallpaper, "brand": brand}), rates),
        )
        for wallpaper, brand in packages
    ]


def _total(slots: Slots, rates: Rates) -> Range:
    low, high = (sum(_End(slots, rates, pick).amounts.values()) for pick in (_low, _high))
    return Range(low=low, high=high)


_Pick = Callable[[Rate], Decimal]


def _low(rate: Rate) -> Decimal:
    return rate.low


def _high(rate: Rate) -> Decimal:
    return rate.high


class _End:
    """One end of the range: each rate picked at that end."""

    def __init__(self, slots: Slots, rates: Rates, pick: _Pick) -> None:
        self._slots = slots
        self._table: RateTable = rates.rates
        self._pick = pick
        self.floor, self.papered = self._areas()
        silk = self._silk_share()
        rolls = [
            *self._rolls(self.papered * silk, Wallpaper.SILK),
            *self._rolls(self.papered * (1 - silk), Wallpaper.PAPER),
        ]
        self.rolls = sum(count for count, _ in rolls)
        self.days = self._days(silk)
        paid = sum((count * price for count, price in rolls), Decimal(0))
        self.amounts = self._amounts(rates, silk, paid)

    def _rate(self, name: str) -> Decimal:
        return self._pick(getattr(self._table, name))

    def _areas(self) -> tuple[Decimal, Decimal]:
        """Return the floor that is worked on, in 평, and its walls and ceiling, in 도배평."""
        slots = self._slots
        floor = slots.pyeong
        assert floor is not None  # noqa: S101 - `estimate` checks
        papered = floor * self._rate(f"walls_{slots.building}_{slots.area_basis}")
        if slots.rooms:
            rooms = slots.rooms * self._rate("room")
            walls = rooms * self._rate(f"walls_{slots.building}_{AreaBasis.EXCLUSIVE}")
            floor, papered = min(floor, rooms), min(papered, walls)
        if slots.ceiling == Ceiling.NONE:
            papered *= self._rate("without_ceiling")
        elif slots.ceiling == Ceiling.PARTIAL:
            papered *= self._rate("with_part_of_ceiling")
        return floor, papered

    def _silk_share(self) -> Decimal:
        if self._slots.wallpaper == Wallpaper.MIXED:
            return self._rate("silk_share_of_mixed")
        return Decimal(self._slots.wallpaper == Wallpaper.SILK)

    def _rolls(self, papered: Decimal, wallpaper: Wallpaper) -> list[tuple[int, Decimal]]:
        """Return the rolls for an area and the price of one, empty where there is no area."""
        if not papered:
            return []
        is_narrow = wallpaper == Wallpaper.PAPER and self._slots.paper_width == PaperWidth.NARROW
        covers = self._rate("roll_covers_narrow" if is_narrow else "roll_covers_wide")
        count = int((papered / covers).to_integral_value(ROUND_CEILING))
        return [(count, self._roll_price(wallpaper, is_narrow=is_narrow))]

    def _roll_price(self, wallpaper: Wallpaper, *, is_narrow: bool) -> Decimal:
        if is_narrow:
            return self._rate("roll_paper_narrow")
        line = "roll_silk" if wallpaper == Wallpaper.SILK else "roll_paper_wide"
        standard, premium = f"{line}_standard", f"{line}_premium"
        match self._slots.brand:
            case Brand.PREMIUM:
                return self._rate(premium)
            case Brand.ANY:  # from the ordinary to where the premium ones begin
                return self._pick(
                    Rate.model_construct(
                        low=getattr(self._table, standard).low,
                        high=getattr(self._table, premium).low,
                    )
                )
            case _:
                return self._rate(standard)

    def _days(self, silk: Decimal) -> Decimal:
        """Return worker-days, in whole half days; nobody comes for less than a day."""
        exact = self.papered * silk / self._rate("a_day_silk")
        exact += self.papered * (1 - silk) / self._rate("a_day_paper")
        halves = (exact / _HALF_DAY).to_integral_value(ROUND_CEILING)
        return max(Decimal(1), halves * _HALF_DAY)

    def _amounts(self, rates: Rates, silk: Decimal, wallpaper: Decimal) -> dict[Item, int]:
        slots, rate = self._slots, self._rate
        factor = Decimal(1)
        if slots.region:
            factor = rates.regions.factors.get(province(slots.region) or "", rates.regions.other)
        labour = self.days * rate("day_wage") * factor
        sundries = self.papered * (
            silk * rate("sundries_silk") + (1 - silk) * rate("sundries_paper")
        )
        amounts = {Item.WALLPAPER: wallpaper, Item.LABOUR: labour, Item.SUNDRIES: sundries}
        base = wallpaper + labour + sundries
        if slots.remove_old:
            amounts[Item.REMOVAL] = self.floor * rate("removal") + rate("waste")
        if slots.occupied:
            amounts[Item.MOVING] = rate("moving")
        if slots.extended:
            amounts[Item.EXTENDED] = base * rate("extended")
        if slots.mould:
            amounts[Item.MOULD] = rate("mould")
        if slots.putty:
            amounts[Item.PUTTY] = self.floor * rate("putty")
        if slots.timing == Timing.URGENT:
            amounts[Item.URGENT] = labour * rate("urgent")
        won = {item: _won(amount) for item, amount in amounts.items()}
        return {**won, Item.VAT: _won(sum(won.values()) * rate("vat"))}


def _won(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_FLOOR))
