"""What a text wants: an estimate, an answer to a question, or neither."""

import re

from bot.estimate.reading import read_slots
from bot.estimate.spelling import correct

_PRICE = re.compile(r"얼마|얼만|견적|비용|가격|금액|시세|예산|싸게|값")
_KNOWLEDGE = re.compile(
    r"차이|뭐(?:가|예|에|죠|고|지)|뭔가|뭘|무엇|무슨|왜|어떻게|어떤게|장점|단점|추천|나을까|나아|나은|낫나|낫죠"
    r"|괜찮(?:나|을까|은가|아요\?)|얼마나(?:걸|오래|가)|며칠|몇일|해도되|해도괜|방법|원인|이유|알려주|궁금|기준"
)
_ASKING = re.compile(
    r"[?？]|(?:나요|까요|가요|은지|는지|ㄹ지|던데|ㄴ가|은가|인가|죠|건지|되나|하나|있나|없나|니까)[.\s~]*$"
)
_WANTS = re.compile(
    r"견적(?:을|좀|도|만|서|서를)?(?:한번|대충|대략|미리|다시|빨리|간단히)*"
    r"(?:내|뽑|받|부탁|주세|주실|줘|해줘|해주|알려|계산|신청|문의|요청|원해|원합|보고싶|볼래|볼게|시작|확인|필요|이요|요)"
)
_IS_JUST_ESTIMATE = re.compile(r"(?:도배)?견적(?:이요|요|좀|문의)?")
# How estimates come about is a question for the consultation.
_ABOUT_ESTIMATES = re.compile(
    r"어떻게|무엇|뭐|왜|방법|기준|며칠|얼마나걸|유료|무료|공짜|믿|차이|다르|달라"
)


def _compact(text: str) -> str:
    return re.sub(r"[\s.,!~]", "", correct(text))


def is_question(text: str) -> bool:
    """Return whether a text asks something."""
    return bool(_ASKING.search(text) or _KNOWLEDGE.search(_compact(text)))


def is_knowledge_question(text: str) -> bool:
    """Return whether a text asks for knowledge about wallpapering, not for a price."""
    compact = _compact(text)
    return bool(_KNOWLEDGE.search(compact) and not _PRICE.search(compact))


_CHANGES = re.compile(r"(?:면|으?로)(?:요|은요|은|는요)?$|얼마|바꿔|바꾸|바꿀|변경|말고|다시")


def changes_estimate(text: str) -> bool:
    """Return whether a text, just after a sum, asks for the same work otherwise ("합지면요?")."""
    said = read_slots(text).said()
    is_other_work = {"area", "building"} <= said.keys()
    asks_to = _CHANGES.search(re.sub(r"[?？]", "", _compact(text)))
    return bool(said and asks_to) and not is_other_work and not is_knowledge_question(text)


def wants_estimate(text: str) -> bool:
    """Return whether a text, outside of a form, asks for an estimate of somebody's own work."""
    if not _PRICE.search(re.sub(r"\s", "", text)):  # most texts: no need to look closer
        return False
    compact = _compact(text)
    if _ABOUT_ESTIMATES.search(compact):
        return False
    if _WANTS.search(compact) or _IS_JUST_ESTIMATE.fullmatch(compact):
        return True
    slots = read_slots(text)
    return slots.area is not None or len(slots.said()) >= 2
