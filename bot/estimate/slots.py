"""What an estimate hangs on: the slots, their values, and areas in 평 and ㎡."""

from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SQM_A_PYEONG = Decimal("3.3058")  # by law 400/121 ㎡; the trade's figure
MIN_PYEONG, MAX_PYEONG = 1, 1000
MAX_AREA = 10_000.0  # of any unit: beyond what may be an area at all
MAX_ROOMS = 20
MAX_WORDS = 60  # characters of a place or a time that are kept


class Wallpaper(StrEnum):
    """The covering."""

    PAPER = "paper"
    SILK = "silk"
    MIXED = "mixed"


class PaperWidth(StrEnum):
    """The width of 합지."""

    NARROW = "narrow"
    WIDE = "wide"


class Brand(StrEnum):
    """The grade of the maker's line."""

    PREMIUM = "premium"
    STANDARD = "standard"
    ANY = "any"


class Building(StrEnum):
    """The kind of building: how much wall stands on a 평 of floor."""

    APARTMENT = "apartment"
    HOUSE = "house"
    COMMERCIAL = "commercial"


class Unit(StrEnum):
    """The unit of the area."""

    PYEONG = "pyeong"
    SQM = "sqm"


class AreaBasis(StrEnum):
    """공급 (with the shared parts) or 전용 (what is lived in)."""

    SUPPLY = "supply"
    EXCLUSIVE = "exclusive"


class Ceiling(StrEnum):
    """How much of the ceiling is papered."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"


class Timing(StrEnum):
    """When the work is wanted."""

    URGENT = "urgent"
    MONTH = "month"
    LATER = "later"
    UNDECIDED = "undecided"


class Slots(BaseModel):
    """What is known of the work; None where nobody said. `rooms` 0 is the whole place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wallpaper: Wallpaper | None = None
    brand: Brand | None = None
    building: Building | None = None
    area: float | None = Field(default=None, gt=0, le=MAX_AREA, allow_inf_nan=False)
    unit: Unit | None = None
    area_basis: AreaBasis | None = None
    ceiling: Ceiling | None = None
    remove_old: bool | None = None
    occupied: bool | None = None
    region: str | None = Field(default=None, min_length=1, max_length=MAX_WORDS)
    paper_width: PaperWidth | None = None
    rooms: int | None = Field(default=None, ge=0, le=MAX_ROOMS)
    extended: bool | None = None
    mould: bool | None = None
    putty: bool | None = None
    timing: Timing | None = None
    timing_words: str | None = Field(default=None, min_length=1, max_length=MAX_WORDS)

    @model_validator(mode="after")
    def _check_area(self) -> Self:
        if (self.area is None) != (self.unit is None):
            msg = "area and unit go together"
            raise ValueError(msg)
        if self.pyeong is not None and not MIN_PYEONG <= self.pyeong <= MAX_PYEONG:
            msg = f"평수는 {MIN_PYEONG}평에서 {MAX_PYEONG:,}평 사이여야 해요"
            raise ValueError(msg)
        return self

    @property
    def pyeong(self) -> Decimal | None:
        """The area in 평, to a hundredth, so that ㎡ and 평 lead to the same estimate."""
        if self.area is None or self.unit is None:
            return None
        return to_pyeong(self.area, self.unit)

    def filled(self, other: "Slots") -> "Slots":
        """Return these slots with all that `other` says in their place."""
        return self.model_copy(update=other.said())

    def said(self) -> dict[str, object]:
        """Return the slots that have a value."""
        return {name: value for name in SLOTS if (value := getattr(self, name)) is not None}


SLOTS = tuple(Slots.model_fields)


def to_pyeong(area: float, unit: Unit) -> Decimal:
    """Return an area in 평, to a hundredth."""
    exact = Decimal(str(area))
    if unit == Unit.SQM:
        exact /= SQM_A_PYEONG
    return exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
