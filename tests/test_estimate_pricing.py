"""The arithmetic of estimates: the trade's table, and what must hold of every estimate."""

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.estimate import pricing, rates
from bot.estimate.pricing import Estimate, IncompleteError, Item
from bot.estimate.slots import (
    SQM_A_PYEONG,
    AreaBasis,
    Brand,
    Building,
    Ceiling,
    PaperWidth,
    Slots,
    Timing,
    Unit,
    Wallpaper,
)

RATES = rates.load()

# What whole homes cost, walls and ceiling, in 만 원 (market, 2026-09).
MARKET = {
    Wallpaper.PAPER: {
        **{18: (80, 120), 24: (110, 150), 30: (140, 180)},
        **{34: (160, 210), 40: (200, 260), 50: (280, 350)},
    },
    Wallpaper.SILK: {
        **{18: (120, 160), 24: (160, 210), 30: (200, 260)},
        **{34: (240, 300), 40: (300, 380), 50: (400, 550)},
    },
}

areas = st.decimals(1, 1000, places=2).map(float)
slots = st.builds(
    Slots,
    wallpaper=st.sampled_from(Wallpaper),
    brand=st.none() | st.sampled_from(Brand),
    building=st.none() | st.sampled_from(Building),
    area=areas,
    unit=st.just(Unit.PYEONG),
    area_basis=st.none() | st.sampled_from(AreaBasis),
    ceiling=st.none() | st.sampled_from(Ceiling),
    remove_old=st.none() | st.booleans(),
    occupied=st.none() | st.booleans(),
    region=st.none() | st.sampled_from(["서울", "수원", "부산 해운대", "울릉도", "어딘가"]),
    paper_width=st.none() | st.sampled_from(PaperWidth),
    rooms=st.none() | st.integers(0, 20),
    extended=st.none() | st.booleans(),
    mould=st.none() | st.booleans(),
    putty=st.none() | st.booleans(),
    timing=st.none() | st.sampled_from(Timing),
)


def estimate(slots: Slots) -> Estimate:
    return pricing.estimate(slots, RATES)


@pytest.mark.parametrize("brand", [Brand.STANDARD, None])
def test_whole_homes_cost_what_the_market_says(brand: Brand | None) -> None:
    close = 0
    for wallpaper, cells in MARKET.items():
        for area, (low, high) in cells.items():
            work = Slots(wallpaper=wallpaper, area=area, unit=Unit.PYEONG, brand=brand)
            total = estimate(work).total
            assert total.low <= high * 10_000
            assert total.high >= low * 10_000
            close += abs((total.low + total.high) / 20_000 / ((low + high) / 2) - 1) <= 0.15
    assert close == 12


def test_the_worked_check_of_34_pyeong_in_silk() -> None:
    result = estimate(Slots(wallpaper=Wallpaper.SILK, area=34, unit=Unit.PYEONG))
    assert (result.papered.low, result.papered.high) == (85, 85)
    assert (result.rolls.low, result.rolls.high) == (17, 17)
    assert (result.days.low, result.days.high) == (5.5, 6)
    assert [line.item for line in result.lines] == [
        *(Item.WALLPAPER, Item.LABOUR, Item.SUNDRIES, Item.VAT)
    ]
    wallpaper = result.lines[0]
    assert (wallpaper.low, wallpaper.high) == (17 * 33_000, 17 * 45_000)


@given(slots)
def test_every_estimate_is_sane_and_adds_up(work: Slots) -> None:
    result = estimate(work)
    for end in ("low", "high"):
        amounts = [getattr(line, end) for line in result.lines]
        assert all(type(amount) is int and amount >= 0 for amount in amounts)
        assert sum(amounts) == getattr(result.total, end)
    *taxed, vat = result.lines
    assert (vat.item, vat.low) == (Item.VAT, sum(line.low for line in taxed) // 10)
    assert all(line.low <= line.high for line in [*result.lines, result.total])
    assert result.total.high < 10**10
    assert result.papered.low <= result.papered.high
    assert result.days.low <= result.days.high
    assert Estimate.model_validate(result.model_dump(mode="json")) == result
    (chosen,) = [package for package in result.packages if package.chosen]
    assert (chosen.wallpaper, chosen.brand) == (result.slots.wallpaper, result.slots.brand)
    assert chosen.total == result.total
    assert len(result.packages) in {3, 4}


@given(slots, areas)
def test_more_area_never_costs_less(work: Slots, other: float) -> None:
    small, large = sorted([work.area or 0, other])
    less = estimate(work.model_copy(update={"area": small})).total
    more = estimate(work.model_copy(update={"area": large})).total
    assert less.low <= more.low
    assert less.high <= more.high


@given(slots)
def test_some_rooms_never_cost_more_than_the_whole(work: Slots) -> None:
    whole = estimate(work.model_copy(update={"rooms": 0})).total
    totals = [estimate(work.model_copy(update={"rooms": n})).total for n in range(1, 21)]
    assert [t.low for t in totals] == sorted(t.low for t in totals)
    assert all(t.low <= whole.low and t.high <= whole.high for t in totals)


@pytest.mark.parametrize(
    ("region", "factor"),
    [(None, 1), ("서울 마포구", "1.02"), ("해운대", "0.93"), ("강릉", "0.91"), ("어딘가", "0.91")],
)
def test_the_region_changes_the_wage_and_nothing_else(region: str | None, factor: str) -> None:
    work = Slots(wallpaper=Wallpaper.SILK, area=34, unit=Unit.PYEONG)
    base, there = estimate(work), estimate(work.model_copy(update={"region": region}))
    assert there.lines[1].low == int(base.lines[1].low * Decimal(factor))
    assert there.lines[0] == base.lines[0]


@given(slots)
def test_sqm_and_pyeong_agree(work: Slots) -> None:
    sqm = float(Decimal(str(work.area)) * SQM_A_PYEONG)
    same = work.model_copy(update={"area": sqm, "unit": Unit.SQM})
    first, second = estimate(work), estimate(same)
    assert first.lines == second.lines
    assert first.packages == second.packages


@given(slots)
def test_each_extra_costs_more_never_less(work: Slots) -> None:
    bare = work.model_copy(
        update=dict.fromkeys(("remove_old", "occupied", "extended", "mould", "putty"), False)
    )
    for name in ("remove_old", "occupied", "extended", "mould", "putty"):
        dearer = estimate(bare.model_copy(update={name: True})).total
        assert dearer.low > estimate(bare).total.low
    urgent = estimate(bare.model_copy(update={"timing": Timing.URGENT})).total
    calm = estimate(bare.model_copy(update={"timing": Timing.LATER})).total
    assert urgent.low > calm.low


@given(slots)
def test_less_ceiling_costs_less(work: Slots) -> None:
    by_ceiling = [
        estimate(work.model_copy(update={"ceiling": ceiling})).total
        for ceiling in (Ceiling.NONE, Ceiling.PARTIAL, Ceiling.FULL)
    ]
    assert [t.low for t in by_ceiling] == sorted(t.low for t in by_ceiling)
    assert [t.high for t in by_ceiling] == sorted(t.high for t in by_ceiling)


def test_what_nobody_said_is_assumed_and_named() -> None:
    result = estimate(Slots(wallpaper=Wallpaper.PAPER, area=24, unit=Unit.PYEONG))
    assert result.slots.building == Building.APARTMENT
    assert {"building", "ceiling", "rooms", "area_basis"} <= set(result.assumed)
    said = Slots(wallpaper=Wallpaper.PAPER, area=24, unit=Unit.PYEONG, building=Building.HOUSE)
    assert "building" not in estimate(said).assumed


@pytest.mark.parametrize("missing", [{"wallpaper": None}, {"area": None, "unit": None}])
def test_without_wallpaper_or_area_there_is_no_estimate(missing: dict[str, None]) -> None:
    work = Slots(wallpaper=Wallpaper.SILK, area=34, unit=Unit.PYEONG).model_copy(update=missing)
    with pytest.raises(IncompleteError):
        estimate(work)


def test_every_rate_has_unit_source_and_date() -> None:
    for name in rates.RateTable.model_fields:
        rate = getattr(RATES.rates, name)
        assert rate.unit
        assert rate.source
    assert RATES.date.isoformat() == "2026-09-01"


def test_a_shops_own_rates_count(tmp_path: Path) -> None:
    text = rates.starter_path().read_text(encoding="utf-8")
    own = tmp_path / "rates.toml"
    own.write_text(
        text.replace("low = 280_000\nhigh = 320_000", "low = 560_000\nhigh = 640_000"),
        encoding="utf-8",
    )
    work = Slots(wallpaper=Wallpaper.SILK, area=34, unit=Unit.PYEONG)
    before, after = estimate(work), pricing.estimate(work, rates.load(own))
    assert after.lines[1].low == 2 * before.lines[1].low
    assert after.lines[0] == before.lines[0]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("low = 280_000", "low = 900_000", "day_wage: "),
        ("low = 280_000", "low = -1", "day_wage.low: "),
        ("[rates.day_wage]", "[rates.day_wages]", "day_wage"),
        ("low = 26\n", "low = 10\n", "a_day_paper: "),
        ("low = 55_000", "low = 20_000", "roll_silk_premium"),
        ("high = 70_000", "high = 40_000", "roll_silk_premium"),
        ("low = 0.5\n", "low = 0.2\n", "silk_share_of_mixed"),
        ("high = 0.85", "high = 1.2", "비율은 1"),
        ("[rates.waste]", "[rates.waste", "TOML"),
    ],
)
def test_wrong_rates_are_refused_in_one_line(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = rates.starter_path().read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "rates.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(rates.RatesError) as error:
        rates.load(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(rates.RatesError, match="없어요"):
        rates.load(tmp_path / "none.toml")
