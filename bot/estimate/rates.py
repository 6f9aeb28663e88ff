"""The shop's rates, read from a TOML file; each has its unit, source and date."""

import datetime
import tomllib
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Positive = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class RatesError(Exception):
    """A file of rates cannot be used; the text is one Korean sentence for the operator."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Strict):
    """One rate. `low` is what makes the estimate's low end, `high` its high end."""

    low: Positive
    high: Positive
    unit: str = Field(min_length=1)
    source: str = Field(min_length=1)
    date: datetime.date


class Rising(Rate):
    """A rate that costs more the higher it is."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low > self.high:
            msg = "low가 high보다 커요"
            raise ValueError(msg)
        return self


class Falling(Rate):
    """A rate that costs less the higher it is: what a roll covers, what a day gets done."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low < self.high:
            msg = "한 롤이나 하루에 하는 도배평은 low(싼 쪽)가 high보다 작을 수 없어요"
            raise ValueError(msg)
        return self


class Fixed(Rate):
    """A rate that is no price: one figure at both ends."""

    @model_validator(mode="after")
    def _check_equal(self) -> Self:
        if self.low != self.high:
            msg = "low와 high가 같아야 해요"
            raise ValueError(msg)
        return self


class RateTable(_Strict):
    """Every rate by its name in the file."""

    roll_paper_wide_standard: Rising
    roll_paper_wide_premium: Rising
    roll_paper_narrow: Rising
    roll_silk_standard: Rising
    roll_silk_premium: Rising
    roll_covers_wide: Falling
    roll_covers_narrow: Falling
    silk_share_of_mixed: Fixed
    day_wage: Rising
    a_day_paper: Falling
    a_day_silk: Falling
    sundries_paper: Rising
    sundries_silk: Rising
    removal: Rising
    waste: Rising
    moving: Rising
    extended: Rising
    mould: Rising
    putty: Rising
    urgent: Rising
    vat: Rising
    walls_apartment_supply: Rising
    walls_apartment_exclusive: Rising
    walls_house_supply: Rising
    walls_house_exclusive: Rising
    walls_commercial_supply: Rising
    walls_commercial_exclusive: Rising
    without_ceiling: Rising
    with_part_of_ceiling: Rising
    room: Rising

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        shares = (self.silk_share_of_mixed, self.without_ceiling, self.with_part_of_ceiling)
        if any(share.high > 1 for share in shares):
            msg = "비율은 1을 넘을 수 없어요"
            raise ValueError(msg)
        for line in ("roll_paper_wide", "roll_silk"):
            standard, premium = getattr(self, f"{line}_standard"), getattr(self, f"{line}_premium")
            if premium.low < standard.low or premium.high < standard.high:
                msg = f"{line}_premium이 {line}_standard보다 싸요"
                raise ValueError(msg)
        return self


class Regions(_Strict):
    """What the day wage is multiplied with, by 시·도; `other` for those without a line."""

    source: str = Field(min_length=1)
    date: datetime.date
    other: Positive
    factors: dict[str, Positive]


class Rates(_Strict):
    """All that the arithmetic needs."""

    rates: RateTable
    regions: Regions

    @property
    def date(self) -> datetime.date:
        """The day of the newest rate."""
        rates: list[Rate] = [getattr(self.rates, name) for name in RateTable.model_fields]
        return max(rate.date for rate in rates)


def starter_path() -> Path:
    """Return the rates that come with the project."""
    return Path(str(files("bot.estimate").joinpath("rates.toml")))


def load(path: Path | None = None) -> Rates:
    """Read rates, the project's own by default. Raises `RatesError`."""
    path = path or starter_path()
    try:
        with path.open("rb") as file:
            return Rates.model_validate(tomllib.load(file, parse_float=Decimal))
    except FileNotFoundError as error:
        msg = f"단가 파일이 없어요: {path}"
        raise RatesError(msg) from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"단가 파일을 읽을 수 없어요: {path}"
        raise RatesError(msg) from error
    except tomllib.TOMLDecodeError as error:
        msg = f"단가 파일이 TOML이 아니에요: {path} ({error})"
        raise RatesError(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        msg = f"단가 파일이 잘못됐어요: {path}, {where}: {first['msg']}"
        raise RatesError(msg) from error
