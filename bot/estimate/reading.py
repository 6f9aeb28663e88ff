"""Reads slots from what a customer writes or says, by rules alone.

Three steps: spelling is set right, areas are found (`areas.py`), and everything else by
patterns over the sentence without its spaces, since those are where people disagree most. What
a sentence takes back ("실크 말고 합지") is left out.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from bot.estimate.areas import find_area
from bot.estimate.numerals import parse_number
from bot.estimate.places import read_place
from bot.estimate.slots import (
    MAX_ROOMS,
    Brand,
    Building,
    Ceiling,
    PaperWidth,
    Slots,
    Timing,
    Wallpaper,
)
from bot.estimate.spelling import correct

Kind = TypeVar("Kind", bound=StrEnum)

# Said of something right before: it is not meant.
REJECTED = re.compile(
    r"(?:벽지)?(?:으?로|은|는|이|가|도|를|을|만|건|거는)?(?:너무|좀)?"
    r"(?:말고|아니(?!면)|아닌|아님|대신|빼[고주줘]|제외|보다|하려다|할까하다|했다가|하다가|했던|생각했|인가뭔가|하자는|올렸던"
    r"|비싸|부담|싫|안할|안해|못하|x|(?:있)?지(?:는|도|를)?(?:않|말)|진않|(?:할|을|ㄹ)?필요(?:는|가|도)?없)"
    r"|(?:으?로)?(?:할게)?요?,아니(?!면|요)"
)


@dataclass(frozen=True, slots=True)
class _Rule:
    """`pattern` in a sentence says that a slot has `value`."""

    value: Any
    pattern: re.Pattern[str]


def _rules(**patterns: str) -> list[_Rule]:
    return [_Rule(name, re.compile(pattern)) for name, pattern in patterns.items()]


_WALLPAPER = _rules(
    silk=r"(?<!거)(?<!침)실크(?!블라우스|스카프|로드)",
    paper=r"합지",
    mixed=r"혼합|반반",
)
_UNDECIDED = re.compile(
    r"할지|고민|뭐가|뭔지|뭘|어느|어떤게|중에|차이|비교|또는|아니면|vs|둘다|각각|설명|몰라|모르"
    r"|(?:합지|실크)이?나(?:합지|실크)"
)
_DECIDED = re.compile(r"결국|변경|바꾸기|바꿀|바꿔|하기로")  # then the last word counts
_BUILDING = _rules(
    commercial=r"상가(?!주택)|사무실|사무소|오피스(?!텔)|(?<!맘)(?<!네이버)카페|학원|식당|음식점|[가-힣]가게|가게(?!로|에서)"
    r"|매장(?!에?가[도서면]|방문|위치|주소|에서|이?어디)|점포|병원|의원|약국|미용실|네일샵|헬스장|교회|유치원|어린이집|[가-힣](?:샵|숍)|독서실|세탁소|정육점|한의원|치과|체육관|필라테스|부동산|호텔|모텔|펜션|공방|고시원"
    r"|스튜디오|노래방|(?:피시|피씨|pc)방|교습소|편의점|공장"
    r"|(?:치킨|김밥|고깃|고기|국밥|빵|꽃|밥|분식|술|호프|횟|국수|피자|만두|족발|탕)집",
    apartment=r"아파트|apt|주상복합|주공",
    house=r"빌라|단독(?!으로)|(?<!공동)주택|다세대|다가구|연립|한옥|타운하우스",
)
_BRAND = _rules(
    premium=r"프리미엄|고급(?!하|해|히|빌라|아파트|주택|주상|단지|스러)|최상급|하이엔드|(?:제일|가장|젤|최고로|좀더?)?(?:좋은|비싼)(?:걸|거|것|벽지|실크|합지)",
    standard=r"보급형|저가|가성비|기획(?:상품|벽지|형)|기본(?:형|벽지|으로|급)"
    r"|(?:싼|저렴한)(?:걸|거|것|벽지|실크|합지|제품|종류)"
    r"|일반(?:벽지|실크|합지|형|등급|브랜드|으로|급|제품|걸로|거로)|(?:등급|브랜드)(?:은|는)?일반",
    any=r"(?:브랜드|메이커|상표|회사|제조사)[^,]{0,8}?(?:상관|무관|아무|안따|안가|관계|신경안)"
    r"|아무(?:브랜드|메이커|회사)",
)
_WIDTH = _rules(narrow=r"소폭", wide=r"장폭|광폭")
_PART = r"(?:거실|홀|안방|작은방|큰방|주방|현관|방|복도|화장실)"
_CEILING = _rules(
    none=r"천장(?:까지|포함)?(?:은|는|을|도|이|만)?(?:따로|다|굳이)?"
    r"(?:안|빼|뺄|뺀|뺴|제외|말고|없|x|미포함|불포함|필요없|필요는없|생략|됐[어습]|놔두|그대로|하지(?:않|마|말))"
    r"|벽면?만(?!큼)",
    partial=r"천장(?:은|을|의)?[^,]{0,5}?(?:일부|부분|반만|절반|조금만)|(?:일부|부분)(?:적으로)?천장"
    rf"|{_PART}천장(?:만|은해|은하)|천장(?:은|을)?{_PART}만|{_PART}(?:만|쪽만)천장",
    full=r"천장(?:까지|포함|[도두](?!배)|이랑|하고|과|및|모두|전부|다|벽|같이|o|ㅇ|은?할|은?하|은?해|은포함|을포함)"
    r"|(?:벽|벽면)(?:이랑|하고|과|와|,|도)?천장|올도배",
)
_OLD = r"(?:철거|제거)"
_REMOVE_OLD = _rules(
    no=r"덧방|안뜯|덧붙|덧발|덧대|위에다?가?(?:그냥|바로|덧|도배|붙|바로)|그냥위에"
    rf"|{_OLD}(?:는|를|은|도)?(?:없이|안(?!방)|하지(?:않|말|마)|필요(?:는)?없|불필요|말고|x|빼)"
    rf"|{_OLD}(?:는|를|은|도)?(?:저희가|제가|우리가)?(?:다|이미|벌써|미리|모두)?(?:했|완료|된|됐|돼|되어|해놓|해놨|해뒀|해둔|한상태|끝)"
    r"|(?:이미|벌써|다)뜯었|뜯(?:지(?:는|도)?(?:않|말)|을필요)|뜯(?:겨|어)?(?:놨|놓|둔|뒀|냈|낸|져?있|진|은상태)|벽지(?:는|가|도)?(?:없는|다없)(?:상태|집)?",
    yes=rf"{_OLD}(?!(?:는|를|도|은)?(?:꼭)?(?:해야|필요)?(?:하나|한가|할까|되나|인가|비용?(?:은|이)?얼마))"
    r"|뜯(?:고|어|는|을|기|자)|벗겨|떼어?내|떼고",
)
_OCCUPIED = _rules(
    no=r"빈집|공실|비어|비워|비었|빈(?:아파트|상가|방|상태|사무실|가게|빌라|주택|곳)|입주(?:하기)?(?:직)?전"
    r"|입주(?:예정|청소)|이사(?:를)?(?:들어)?(?:가|오|하)?(?:기)?(?:직)?전|(?:짐|가구)(?:이|은|는|도|을)?"
    r"(?:하나도|다|전혀|아직|모두|싹|거의|아무것도)*(?:없|업|뺐|뺀|뺄|빼놨|빠진|빠졌|치울|치웠|치우)|세입자(?:가|는|도|분이)?(?:나가|나간|빠지|빠졌|뺐)"
    r"|이사(?:를)?나[가간갔]|안살|살고있지않|사람(?:이)?없",
    yes=r"(?:아파트|빌라|주택|집)에사는|빈집(?:이|은)?아니|비어있지않|거주(?:중|하고|하는|하면|상태)|살고있|살고잇|사는(?:중|집|상태|채)|살면서|생활하|(?:짐|가구|살림)(?:이|은|는|도)?"
    r"(?:다|좀|그대로|꽤|조금|아직|많이|가득)*(?:있|잇|많|차있|가득)|입주(?:해서|한지|해있|중)|영업(?:중|하면서|하고)",
)
_EXTENDED = _rules(
    no=r"비확장|확장(?:은|을|도)?(?:안|하지않|x|없|한적없|전)|확장형?(?:은|이)?아니",
    yes=r"(?<!가게)(?<!매장)확장(?!이전|오픈)",
)
_MOULD = _rules(
    no=r"곰팡이?(?:는|은|가|도|같은건)?(?:아직|전혀)?(?:없|안(?:폈|피었|생겼|났)|x)",
    yes=r"곰팡(?!이?가?안생기|이?방지)",
)
_PUTTY = _rules(
    no=r"퍼티(?:작업)?(?:는|은|도|가)?(?:안|필요없|필요는없|불필요|없|x)",
    yes=r"퍼티|평탄화|울퉁불퉁",
)
_MONTHS = r"(?:\d+|[두세네석넉]|서너|두세|두어|몇|여러|한두|[이삼사오육]|다섯|여섯)"
_TIMING = _rules(
    undecided=r"(?:날짜|시기|일정|언제)[^,]{0,8}?(?:미정|안정|못정|모르|정해지지|안잡)|미정",
    later=rf"내년|내후년|{_MONTHS}(?:달|개월)|하반기|연말|나중에|봄|여름(?!철)|가을|겨울(?!철)",
    month=r"이번달|다음달|담달|한달|이달|보름|다음주|담주|(?:2|3|이|삼|두|세)주(?!택|방|차)",
    urgent=r"급(?:해|하|함|히|합|한(?!건아))|빨리(?!연락|전화|답)|빠른시일|서둘|당장|내일(?!전화|통화|연락|방문|알려|말씀|다시)"
    r"|모레|이번주|(?:일|1)주일(?!넘|후|뒤|이상)",
)
_BOOLS = {"yes": True, "no": False}
_ROOM_COUNT = re.compile(
    r"방(?P<n>\d{1,2}|한|두|세|네|다섯|여섯|하나|둘|셋|넷)(?:개|칸|군데|곳)?(?:정도)?만"
    r"|방\d개중에?(?P<of>\d|한|두|세)개만"
    r"|(?P<one>안방|작은방|큰방|침실)만(?!빼|제외|말고)"
)
_WHOLE = re.compile(
    r"(?<!벽)(?<!벽은)(?<!천장)(?<!천장은)전체|통째|올도배|집(?:을)?(?:전부|다)(?:도배|해)"
)


def read_slots(text: str) -> Slots:
    """Return the slots that a sentence says, all others None."""
    spelled = correct(text)
    compact = re.sub(r"\s", "", re.sub(r"[,.·/!?~;]+", ",", spelled))
    area = find_area(spelled)
    found: dict[str, Any] = {
        "wallpaper": _read_wallpaper(compact),
        "brand": _last(compact, _BRAND, Brand),
        "building": _read_building(compact),
        "ceiling": _read_ceiling(compact),
        "remove_old": _first_bool(compact, _REMOVE_OLD),
        "occupied": _first_bool(compact, _OCCUPIED),
        "region": read_place(spelled),
        "paper_width": _read_width(compact),
        "rooms": _read_rooms(compact),
        "extended": _first_bool(compact, _EXTENDED),
        "mould": _first_bool(compact, _MOULD),
        "putty": _first_bool(compact, _PUTTY),
        "timing": _read_timing(compact),
    }
    if area and area.is_sane:
        found |= {"area": area.value, "unit": area.unit, "area_basis": area.basis}
    return Slots(**found)


def _meant(compact: str, rule: _Rule) -> list[int]:
    """Return where a rule's pattern stands without being taken back."""
    return [
        found.start()
        for found in rule.pattern.finditer(compact)
        if not REJECTED.match(compact, found.end())
    ]


def _last(compact: str, rules: list[_Rule], kind: type[Kind]) -> Kind | None:
    """Return the value that is said last: people correct themselves forward."""
    hits = [(at, rule.value) for rule in rules for at in _meant(compact, rule)]
    return kind(max(hits)[1]) if hits else None


def _read_wallpaper(compact: str) -> Wallpaper | None:
    named = {rule.value for rule in _WALLPAPER if _meant(compact, rule)}
    if "mixed" in named and named != {"mixed"}:
        return Wallpaper.MIXED
    named.discard("mixed")
    if len(named) == 2:
        if _DECIDED.search(compact):
            return _last(compact, _WALLPAPER[:2], Wallpaper)
        return None if _UNDECIDED.search(compact) else Wallpaper.MIXED
    return Wallpaper(named.pop()) if named else None


def _read_width(compact: str) -> PaperWidth | None:
    """Of two widths the one that is chosen in so many words."""
    named = {rule.value for rule in _WIDTH if _meant(compact, rule)}
    if len(named) == 2:
        chosen = re.search(r"(소폭|장폭|광폭)(?:합지)?으로", compact)
        named = {"narrow" if chosen[1] == "소폭" else "wide"} if chosen else set()
    return PaperWidth(named.pop()) if named else None


def _read_building(compact: str) -> Building | None:
    """A shop in a house is a shop; else what is said last."""
    commercial, *homes = _BUILDING
    if _meant(compact, commercial):
        return Building.COMMERCIAL
    return _last(compact, homes, Building)


def _read_ceiling(compact: str) -> Ceiling | None:
    none, partial, full = ([m.start() for m in rule.pattern.finditer(compact)] for rule in _CEILING)
    if partial:
        return Ceiling.PARTIAL
    # Where both begin at one place ("천장도 안 할 거예요"), the longer, denying one is meant.
    hits = [(at, 1, Ceiling.NONE) for at in none] + [(at, 0, Ceiling.FULL) for at in full]
    return max(hits)[2] if hits else None


def _first_bool(compact: str, rules: list[_Rule]) -> bool | None:
    return next((_BOOLS[rule.value] for rule in rules if _meant(compact, rule)), None)


_NOT_THE_WORK = re.compile(r"결제|매출|할부|월세")  # what else happens next month


def _read_timing(compact: str) -> Timing | None:
    if _NOT_THE_WORK.search(compact):
        return None
    return next((Timing(rule.value) for rule in _TIMING if _meant(compact, rule)), None)


def _read_rooms(compact: str) -> int | None:
    if found := _ROOM_COUNT.search(compact):
        count = 1 if found["one"] else int(parse_number(found["n"] or found["of"]) or 0)
        return count if 1 <= count <= MAX_ROOMS else None
    return 0 if _WHOLE.search(compact) else None
