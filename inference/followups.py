"""What a customer's text asks, in the light of what was said before: rules over its words."""

import re
from dataclasses import dataclass
from enum import StrEnum

from inference.aspects import find_aspects
from inference.text import bigrams, normalize

_MOST_PARTS = 3
_SHORTEST_PART = 5  # letters; less is no question of its own
_TELLING = 7  # letters of what may be looked up without the topic

# Where a question may end, and what joins a second one to it.
_END = re.compile(
    r"(?<=[?？])\s*(?=[^\s?？!.~ㅋㅎㅠㅜ)])|(?<=[다요죠까네야][.!])\s+(?=\S)|\n+|;\s*"
    r"|\s+(?=(?:그리고|또한|아울러|글구|글고)[\s,]+)"
)
_JOINER = re.compile(r"^(?:그리고|또한|아울러|글구|글고|추가로|그담에|또)[\s,]+")
_ASKS = re.compile(
    r"[?？]|(?:나요|까요|가요|은지|는지|던데요?|은가|인가|죠|건지|되나|하나요?|있나|없나|니까|어때요?|래요|여|예요|에요"
    r"|알려\s*줘|알려\s*주세요|궁금\S*|주세요|해요|돼요|되요|줘요?)[.!~\s]*$"
)

_SENTENCE_END = re.compile(r"(?<=[다요죠까네데])[.!?~ㅋㅎㅠㅜ…\s]++(?=\S)")

_MORE = re.compile(
    r"(?:(?:네|응|아|음|오|그럼|그거|그것|그건|이거|그\s*부분|방금\s*(?:거|것|말)?|거기)[,\s]*)*"
    r"(?:에\s*대해서?\s*)?(?:좀|조금|쪼금|한번)?(?:만)?\s*"
    r"(?:더|자세히|자세하게|구체적으로|상세히|상세하게|계속|이어서|추가로)"
    r"(?:\s*(?:더|좀|자세히|자세하게|구체적으로|상세히|상세하게))*"
    r"(?:\s*(?:알려|설명해?|설명|말해|말씀해?|얘기해|이야기해|가르쳐|풀어|해|적어|써|있)\S{0,8}(?:\s*(?:말해|설명해|얘기해|주|줘|줄|주실|없)\S{0,8})?)?"
    r"(?:요|여|용)?[\s.!?~ㅠㅜㅎㅋ]*"
)
_PRICE = re.compile(
    r"(?:(?:네|아|음|그럼|그러면|그거|그건|그게|이거|이건|그렇게|그\s*작업|그\s*공사|다|전부|하면|하는\s*데|해\s*주시면|맡기면)[,\s]*)*"
    r"(?:비용|가격|금액|견적|돈|값)?(?:은|는|이|가|도|만)?\s*(?:대충|대략|보통|다|총|한)?\s*"
    r"(?:얼마|얼만|비용|가격|견적|금액)\S{0,8}(?:\s*(?:드나요|들어요|되나요|돼요|나와요|나오나요|할까요|하나요|해요|정도\S{0,4}|쯤\S{0,4}|걸려요)){0,2}[\s.!?~]*+"
)
_REFERS = re.compile(
    r"^(?:네|응|아|음|오|근데|그런데|혹시)?[,\s]*"
    r"(?:그럼|그러면|그건|그거|그게|그걸|그것|그때|그\s|그렇게|그런|그래도|이건|이거|이게|거기|만약|그냥|왜[\s?]|왜요|그니까)"
)
_ELLIPSIS = re.compile(
    r"^(?:그럼|그러면|아|음|혹시)?[,\s]*(?P<what>[^?]{1,12}?)(?:은|는|도)\s*(?:요[\s?.!~]*|[\s?.!~]*$)"
)
_INSTEAD = re.compile(
    r"^(?P<no>(?:(?:아니[요오다야]?|아뇨|아|앗|제가 잘못 말했어요|잘못 말했어요)[,.\s]+)*)"
    r"(?P<old>[^\s,.?!][^,.?!]{0,14}?)\s*말고\s*(?P<new>[^,.?!]{1,15}?)"
    r"(?:이?요|이?에요|예요|인데요|으?로요?|은요|는요)?(?=[\s.?!~]|$)"
)
_COPULA = re.compile(r"(?:이?요|이?에요|예요|인데요)[\s.!?~]*$")
_NO = re.compile(
    r"^(?:아니[요오다]?|아뇨|그게\s*아니라|아니라)[,.\s]+(?P<new>.{1,20}?)(?:이?요|예요|이?에요|인데요)?[.!~\s]*$"
)
# Words that name nothing; one of the first kind must be there.
_POINTS = (
    "그럼|그러면|그건|그거|그게|그걸|그것|그때|그니까|그렇게|그래도|이건|이거|이게|거기|왜|어째서"
)
_EMPTY = re.compile(
    rf"(?:네|응|아|음|오|근데|그런데|혹시|도대체)|(?:{_POINTS})?(?:왜|어떻게|뭐|뭘|무슨|언제|어디|얼마나|안|못|더)?"
    r"(?:[그이][래런렇랬]\S*|(?!거실|하자|해충|해체|건조|건물|말림|말려)[하해되돼거건말뜻]\S{0,4}|[예에여]요|인가요|요|죠)?"
)
_ASIDE = re.compile(r"^(?:다른\s*(?:얘긴데|얘긴데요|질문인데|질문|얘기)|근데\s*다른)")

# What stands for another of its kind: "합지 단점이 뭐예요?" – "실크는요?"
_KINDS = (
    ("합지", "실크", "방염", "페인트", "타일", "장판", "마루", "데코타일", "시트지", "천연벽지"),
    (
        "거실",
        "안방",
        "작은방",
        "아이 방",
        "주방",
        "부엌",
        "화장실",
        "욕실",
        "베란다",
        "현관",
        "천장",
    ),
    ("봄", "여름", "가을", "겨울", "장마철", "한겨울"),
)


class Lean(StrEnum):
    """How a text hangs on the turns before it."""

    NOT = "not"  # it says all itself
    MORE = "more"  # wants to hear more of the last answer
    PRICE = "price"  # what the last thing costs
    REFERS = "refers"  # names the last thing by a pronoun, or not at all
    MAYBE = "maybe"  # may lean: by itself if that finds something


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as read after a topic: how it leans, and what it asks when put in full.

    `other` is another way to put it, where words alone do not say which is meant.
    """

    lean: Lean
    full: str
    other: str = ""


def read(text: str, topic: str | None) -> Reading:
    """Read `text` after the question `topic`, None where nothing was asked before."""
    plain = normalize(text)
    if _MORE.fullmatch(plain):
        return Reading(Lean.MORE, topic or text)
    if _PRICE.fullmatch(plain):
        return Reading(Lean.PRICE, topic or text)
    if topic and (corrected := _correct(plain, normalize(topic))):
        return Reading(Lean.REFERS, *corrected)
    if _REFERS.match(plain) or is_bare(text):
        return Reading(Lean.REFERS, f"{topic} {text}" if topic else text)
    if topic is None or _ASIDE.match(plain):
        return Reading(Lean.NOT, text)
    return Reading(Lean.MAYBE, f"{topic} {text}")


def is_bare(text: str) -> bool:
    """Return whether a text names nothing at all: "그건 왜 그래요?"."""
    words = re.split(r"[\s,.?!~]+", normalize(text))
    return any(re.match(_POINTS, word) for word in words) and all(
        _EMPTY.fullmatch(word) for word in words
    )


def _correct(text: str, topic: str) -> tuple[str, str] | None:
    """Return what is asked once `text` has corrected the topic, and the new thing alone where that
    tells enough; None where nothing is corrected.
    """
    if found := _INSTEAD.match(text):
        old, new = found["old"].strip(), found["new"].strip()
        rest = text[found.end() :].strip(" .?!~")
        if (find_aspects(new) | find_aspects(rest)) - {"how"} or _is_question(rest):
            return f"{new} {rest}".strip(), ""  # it asks itself
        if found.end() == found.end("new"):  # what follows still names it
            new, rest = f"{new} {_COPULA.sub('', rest)}".strip(), ""
        named = re.compile(r"\s*".join(map(re.escape, old.replace(" ", ""))))
        if named.search(topic):
            return f"{named.sub(lambda _: new, topic)} {rest}".strip(), _if_telling(new)
        return (f"{_put(new, topic)} {rest}".strip(), _if_telling(new)) if found["no"] else None
    if found := _NO.match(text):
        return _put(found["new"], topic), _if_telling(found["new"])
    if (found := _ELLIPSIS.match(text)) and found.end() >= len(text) - 20:
        rest = text[found.end() :].strip()
        if swapped := _swap(found["what"].strip(), topic):
            return f"{swapped} {rest}".strip(), ""
        return (f"{topic} {text}", "") if "요" in found[0] else None
    return None


def _put(new: str, topic: str) -> str:
    return _swap(new, topic) or f"{new} {topic}"


def _if_telling(new: str) -> str:
    return new if len(new) >= _TELLING else ""


def _is_question(text: str) -> bool:
    return len("".join(text.split())) >= _SHORTEST_PART and bool(_ASKS.search(text))


def _swap(new: str, topic: str) -> str | None:
    """Return the topic with `new` for another of its kind, None where it names none."""
    for kind in _KINDS:
        if any(name in new for name in kind):
            for name in sorted(kind, key=len, reverse=True):
                named = re.search(rf"[가-힣]*{name}", topic)  # with what tells it apart: 강마루
                if named and name not in new:
                    return topic.replace(named[0], new)
    return None


def last_sentence(text: str) -> str:
    """Return the last sentence of a text, which asks where the first only leads up to it."""
    *_, last = _SENTENCE_END.split(text.strip())
    return last


def split(text: str) -> list[str]:
    """Return the questions of a text; what tells the situation stays with what it is told for."""
    parts: list[str] = []
    told = ""
    for piece in _END.split(text.strip()):
        part = _JOINER.sub("", piece.strip())
        if not part:
            continue
        told = f"{told} {part}".strip()
        if _is_question(part):
            parts.append(told)
            told = ""
    if told and parts:  # what follows the last question belongs to it
        parts[-1] = f"{parts[-1]} {told}"
    return parts if 1 < len(parts) <= _MOST_PARTS else [text]


def likeness(one: str, other: str) -> float:
    """Return the share of the letter pairs of `one` that `other` has."""
    mine = set(bigrams(normalize(one)))
    return len(mine & set(bigrams(normalize(other)))) / max(1, len(mine))
