"""`deepbot estimate`: the arithmetic, the reader and the quote without the bot."""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from bot.errors import BadInputError, OperatorError
from bot.estimate import pricing, rates, wording
from bot.estimate.drawing import Letterhead
from bot.estimate.pricing import Estimate
from bot.estimate.questions import BY_NAME
from bot.estimate.reading import read_slots
from bot.estimate.slots import MAX_PYEONG, MAX_ROOMS, MAX_WORDS, MIN_PYEONG, SLOTS, Slots
from bot.formatting import parse

_BOOLEANS = {
    **{"yes": True, "true": True, "네": True, "예": True},
    **{"no": False, "false": False, "아니요": False, "아니오": False},
}
_WRONG = {
    "area": f"{MIN_PYEONG}평에서 {MAX_PYEONG:,}평 사이의 면적이어야 해요.",
    "rooms": f"0에서 {MAX_ROOMS} 사이의 정수여야 해요.",
    "region": f"1자에서 {MAX_WORDS}자 사이여야 해요.",
}
_UNITS = {"pyeong": "pyeong", "평": "pyeong", "sqm": "sqm", "m2": "sqm", "㎡": "sqm"}
_YES_NO = "yes|no"


def _help(name: str) -> str:
    question = BY_NAME[name]
    choices = ", ".join(f"{c.name} {c.label}" for c in question.choices)
    return f"{question.label} ({name}): {choices}"


def _choice(name: str) -> Any:  # noqa: ANN401 - what typer takes
    return typer.Option(metavar="값", help=_help(name))


def _yes_no(text: str) -> Any:  # noqa: ANN401 - what typer takes
    return typer.Option(metavar=_YES_NO, help=f"{text}: yes 네, no 아니요")


def estimate(
    wallpaper: Annotated[str | None, _choice("wallpaper")] = None,
    paper_width: Annotated[str | None, _choice("paper_width")] = None,
    brand: Annotated[str | None, _choice("brand")] = None,
    building: Annotated[str | None, _choice("building")] = None,
    area: Annotated[str | None, typer.Option(metavar="수", help="면적 (area): 예: 34")] = None,
    unit: Annotated[
        str, typer.Option(metavar="값", help="면적의 단위 (unit): pyeong 평, sqm ㎡")
    ] = "pyeong",
    area_basis: Annotated[str | None, _choice("area_basis")] = None,
    ceiling: Annotated[str | None, _choice("ceiling")] = None,
    rooms: Annotated[
        str | None,
        typer.Option(metavar="수", help=f"범위 (rooms): 0 전체, 1~{MAX_ROOMS} 방 몇 개"),
    ] = None,
    remove_old: Annotated[str | None, _yes_no("기존 벽지 철거 (remove_old)")] = None,
    occupied: Annotated[str | None, _yes_no("거주 중 (occupied)")] = None,
    extended: Annotated[str | None, _yes_no("발코니 확장 (extended)")] = None,
    mould: Annotated[str | None, _yes_no("곰팡이 (mould)")] = None,
    putty: Annotated[str | None, _yes_no("퍼티 (putty)")] = None,
    region: Annotated[str | None, typer.Option(help="지역 (region): 예: 서울, 수원")] = None,
    timing: Annotated[str | None, _choice("timing")] = None,
    read: Annotated[
        str | None,
        typer.Option(
            metavar="문장|-",
            help="문장에서 읽은 것만 출력; -는 표준 입력에서 한 줄에 한 문장(JSON)",
        ),
    ] = None,
    rates_file: Annotated[
        Path | None, typer.Option("--rates", help="단가 파일 (TOML); 비우면 RATES 또는 기본 단가")
    ] = None,
    pdf: Annotated[Path | None, typer.Option(help="견적서를 이 PDF 파일로도")] = None,
    png: Annotated[Path | None, typer.Option(help="견적 그림을 이 PNG 파일로도")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON 한 줄로 출력")] = False,
) -> None:
    """도배 견적을 계산합니다. 벽지(--wallpaper)와 면적(--area)은 꼭 있어야 합니다.

    영어 이름 대신 우리말도 받습니다: --wallpaper 실크. 종료 코드: 0 계산함, 2 잘못된 값.
    """
    if read is not None:
        _read(read, as_json=as_json)
        return
    given: dict[str, Any] = {
        **{
            name: _value(name, text)
            for name, text in (
                ("wallpaper", wallpaper),
                ("paper_width", paper_width),
                ("brand", brand),
                ("building", building),
                ("area_basis", area_basis),
                ("ceiling", ceiling),
                ("timing", timing),
            )
        },
        **{
            name: _truth(name, text)
            for name, text in (
                ("remove_old", remove_old),
                ("occupied", occupied),
                ("extended", extended),
                ("mould", mould),
                ("putty", putty),
            )
        },
        "area": _number("area", area),
        "unit": _unit(unit) if area is not None else None,
        "rooms": _number("rooms", rooms),
        "region": region,
    }
    try:
        result = pricing.estimate(Slots(**given), rates.load(rates_file))
    except ValidationError as error:
        where = str((*error.errors()[0]["loc"], "area")[0])
        raise BadInputError(f"{where}: {_WRONG[where]}") from None
    except pricing.IncompleteError:
        msg = "벽지(--wallpaper)와 면적(--area)을 알려 주세요. 자세한 것은 --help를 보세요."
        raise BadInputError(msg) from None
    except rates.RatesError as error:
        raise OperatorError(str(error)) from error
    if pdf or png:
        _draw(result, pdf, png)
    if as_json:
        _say(json.dumps(_as_dict(result), ensure_ascii=False))
    else:
        _say(parse(wording.result(result)).text)


def _draw(result: Estimate, pdf: Path | None, png: Path | None) -> None:
    from bot.estimate import quote  # slow to import

    head = Letterhead(day=date.today().isoformat())
    for path, draw in ((pdf, quote.draw_pdf), (png, quote.draw_card)):
        if path:
            path.write_bytes(draw(result, head))


def _value(name: str, text: str | None) -> str | None:
    """Return the value a choice stands for, by its English name or its Korean label."""
    if text is None:
        return None
    for choice in BY_NAME[name].choices:
        if text in {choice.name, choice.label}:
            return str(choice.values[name])
    taken = ", ".join(f"{c.name}({c.label})" for c in BY_NAME[name].choices)
    raise BadInputError(f"--{name.replace('_', '-')} {text}: {taken} 가운데 하나여야 해요.")


def _number(name: str, text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        raise BadInputError(f"--{name} {text}: 수여야 해요.") from None


def _truth(name: str, text: str | None) -> bool | None:
    if text is None:
        return None
    if text not in _BOOLEANS:
        raise BadInputError(f"--{name.replace('_', '-')} {text}: yes 또는 no여야 해요.")
    return _BOOLEANS[text]


def _unit(text: str) -> str:
    if text not in _UNITS:
        raise BadInputError(f"--unit {text}: pyeong(평) 또는 sqm(㎡)이어야 해요.")
    return _UNITS[text]


def _read(text: str, *, as_json: bool) -> None:
    if text == "-":
        for line in sys.stdin.buffer:
            _say(_slots_line(line.decode(errors="replace").rstrip("\r\n")))
    elif as_json:
        _say(_slots_line(text))
    else:
        _say(wording.summary(read_slots(text)))


def _slots_line(text: str) -> str:
    return json.dumps(_slots(read_slots(text)), ensure_ascii=False)


def _slots(slots: Slots) -> dict[str, Any]:
    dumped = slots.model_dump(mode="json")
    if slots.area is not None and slots.area.is_integer():
        dumped["area"] = int(slots.area)
    return {name: dumped[name] for name in SLOTS}


def _as_dict(result: Estimate) -> dict[str, Any]:
    dumped = result.model_dump(mode="json")
    return {
        "slots": _slots(result.slots),
        "items": [
            {"label": wording.ITEMS[line.item], **line.model_dump(mode="json")}
            for line in result.lines
        ],
        "total": dumped["total"],
        "packages": dumped["packages"],
        "assumptions": {
            "papered_pyeong": dumped["papered"],
            "rolls": dumped["rolls"],
            "worker_days": dumped["days"],
            "assumed_slots": dumped["assumed"],
        },
        "rates_date": dumped["rates_date"],
        "note": wording.VISIT,
    }


def _say(line: str) -> None:
    print(line, flush=True)
