"""What a text wants: an estimate, an answer to a question, or neither."""

import re

from bot.estimate.reading import read_slots
from bot.estimate.spelling import correct

_PRICE = re.compile(r"얼마|얼만|견적|비용|가격|금액|시세|예산|싸게|값")
_KNOWLEDGE = re.compile(
    r"차이|뭐(?:가|예|에|죠|고|지)|뭔가|뭘|무엇|무슨|왜|어떻게|어떤게|장점|단점|추천|나을까|나아|낫나|낫죠"
    r"|괜찮(?:나|을까|은가|아요\?)|얼마나(?:걸|오래|가)|며칠|몇일|해도되|해도괜|방법|원인|이유가|알려주|궁금"
    r"|기준(?:이|은)?(?:뭐|무엇|어떻)"
)
_ASKING = re.compile(
    r"[?？]|(?:나요|까요|가요|은지|는지|던데요?|은가|인가|죠|건지|되나|하나요?|있나|없나|니까)[.\s~]*$"
)
_ASKING_PLAINLY = re.compile(r"[?？]|(?:나요|까요|가요)[.\s~]*$")  # no end of a name
_WANTS = re.compile(
    r"견적(?:을|좀|도|만|서|서를)?(?:한번|대충|대략|미리|다시|빨리|간단히|무료로)*"
    r"(?:내|뽑|받|부탁|주세|주실|줘|해줘|해주|알려|계산|신청|문의|요청|원해|원합|보고싶|볼래|볼게|시작|확인|필요해|필요합|이요|요)"
    r"|도배(?:하는데|하면|하려면|를하면|비용|가격|견적)?(?:은|이|도|좀)?(?:다|대략|대충|보통)?(?:얼마|비용|가격|문의|어떻게(?:되|돼|될))"
)
_IS_JUST_ESTIMATE = re.compile(r"(?:도배)?견적(?:이요|요|좀|문의)?")
# How estimates come about is a question for the consultation, and so is what became of one.
_ABOUT_ESTIMATES = re.compile(
    r"어떻게(?!되|돼|될)|무엇|뭐|왜|방법|기준(?:이|은)|며칠|얼마나걸|유료|공짜|믿|차이|다르|달라"
)
_NOT_WANTED = re.compile(r"견적.{0,4}(?:필요없|취소|받았|드렸)|매매|전세값|월세|집값|시세차")
_CHANGES = re.compile(
    r"(?:면|으?로|빼고|까지)(?:는|은)?(?:요|은요|는요)?$"
    r"|(?:면|으?로|빼고|빼면)(?:다시)?(?:얼마(?:예|에|인|죠|나올|쯤|정도|$)|견적|계산|할게|해주|해줘|바꿔|바꿀|변경|가격|비용)"
    r"|(?:빼|넣어|포함해|추가해)(?:주세|줘)|(?:빼|포함|추가)(?:서|해서|하고)?(?:계산|얼마|다시계산)|바꿔(?:주|서|줘)|변경해"
)
_NOT_A_CHANGE = re.compile(r"연락|전화|방문|올게|(?:나요|되나요|할까요|해요\?)[?.]*$")


def _compact(text: str) -> str:
    return re.sub(r"[\s.,!~]", "", correct(text))


def is_question(text: str) -> bool:
    """Return whether a text asks something."""
    return bool(_ASKING.search(text) or _KNOWLEDGE.search(_compact(text)))


def asks_plainly(text: str) -> bool:
    """Return whether a text ends as a question, where a name or an answer might end alike."""
    return bool(_ASKING_PLAINLY.search(text))


def asks_price(text: str) -> bool:
    """Return whether a text asks what something costs."""
    return bool(_PRICE.search(_compact(text)))


def is_knowledge_question(text: str) -> bool:
    """Return whether a text asks for knowledge about wallpapering, not for a price."""
    compact = _compact(text)
    return bool(_KNOWLEDGE.search(compact) and not _PRICE.search(compact))


def changes_estimate(text: str) -> bool:
    """Return whether a text, just after a sum, asks for the same work otherwise ("합지면요?")."""
    compact = _compact(text)
    if not _CHANGES.search(compact.replace("?", "")) or is_knowledge_question(text):
        return False
    if _NOT_A_CHANGE.search(compact) and not _PRICE.search(compact):
        return False
    said = read_slots(text).said()
    return bool(said) and not {"area", "building"} <= said.keys()


def wants_estimate(text: str) -> bool:
    """Return whether a text, outside of a form, asks for an estimate of somebody's own work."""
    if not _PRICE.search(re.sub(r"\s", "", text)):  # most texts: no need to look closer
        return False
    compact = _compact(text)
    if _ABOUT_ESTIMATES.search(compact) or _NOT_WANTED.search(compact):
        return False
    if _WANTS.search(compact) or _IS_JUST_ESTIMATE.fullmatch(compact):
        return True
    slots = read_slots(text)
    return slots.area is not None or len(slots.said()) >= 2
