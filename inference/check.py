"""Checks a model's answer against the entries it was given: a small model copies badly.

Rules, not a second model: numbers, prices, materials, negations, language and repetition.
"""

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from inference.prompts import is_refusal

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_PRICE = re.compile(
    r"\d[\d,.]*\s*(?:만|천|백)*\s*원|[일이삼사오육칠팔구십백천만]{2,}\s*원|할인|\d+\s*%\s*(?:싸|저렴)"
)
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_NEGATION = re.compile(
    r"지\s*(?:않|말|마|못)|안\s*(?:돼|되|됩|좋)|(?:^|\s)(?:안|못)\s|없|금지|금물|피하|피해|아니|아닙|삼가"
)
# It answers the question, whose words may be negated themselves; what follows is the claim.
_YES_OR_NO = re.compile(r"^(?:아니요|아뇨|네|예),\s+")
# What is said not to be done: the last syllables of the verb before "지 마/않/못" or "면 안 되".
_NEGATED_VERB = re.compile(
    r"([가-힣]+)지\s*(?:않|말|마|못)|([가-힣]+?)(?:면|서는|선)\s*안\s*(?:되|돼|된|됩)"
)
# Kana, Chinese, Cyrillic, Arabic and Thai letters, and what is left of a broken character.
_FOREIGN = re.compile(r"[\ufffd\u3040-\u30ff\u3400-\u9fff\u0400-\u04ff\u0600-\u06ff\u0e00-\u0e7f]")
_LATIN = re.compile(r"[A-Za-z]{2,}")
_HANGUL = re.compile(r"[가-힣]")
_LETTER = re.compile(r"[^\W\d_]")
_NOT_WORD = re.compile(r"[^0-9a-z가-힣]+")

# Named materials and agents: an answer that brings in another one is wrong, however fluent.
MATERIALS = (
    *("합지", "실크", "방염", "부직포", "초배", "한지", "석고보드", "합판", "콘크리트", "시멘트"),
    *("몰딩", "걸레받이", "장판", "마루", "타일", "페인트", "시트지", "퍼티", "실리콘", "본드"),
    *("바인더", "프라이머", "락스", "식초", "세제", "알코올", "과산화수소", "베이킹소다", "구연산"),
    *("단열재", "아이소핑크", "결로", "곰팡이", "누수", "전기", "차단기", "제습기", "보일러"),
)

_MIN_GROUNDED = 0.7  # share of a sentence's bigrams that the sources hold; echoing is no answer
_RUN = 16  # characters that a good answer says at most twice
_SAME_SENTENCE = 0.6  # from here on two sentences say the same, so must agree in negation


class Problem(StrEnum):
    """Why an answer was refused."""

    EMPTY = "empty"
    NUMBER = "number"
    PRICE = "price"
    MATERIAL = "material"
    NEGATION = "negation"
    LANGUAGE = "language"
    REPETITION = "repetition"
    UNGROUNDED = "ungrounded"


def split_sentences(text: str) -> list[str]:
    """Return the sentences of `text`, without the space between them."""
    return [part for part in _SENTENCE_END.split(text.strip()) if part]


def whole_sentences(text: str) -> str:
    """Return the part of a growing text that ends with a finished sentence."""
    ends = [match.start() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].strip() if ends else ""


def find_problem(answer: str, question: str, sources: Sequence[str]) -> Problem | None:
    """Return the first problem of `answer`, or None; without sources only what needs none."""
    if not answer.strip():
        return Problem.EMPTY
    # A customer's own figure is no source: "10만 원에 해 주세요" must not come back as a promise.
    if set(_prices(answer)) - set(_prices("\n".join(sources))):
        return Problem.PRICE
    if _FOREIGN.search(answer) or 2 * len(_HANGUL.findall(answer)) < len(_LETTER.findall(answer)):
        return Problem.LANGUAGE
    if _repeats(answer):
        return Problem.REPETITION
    known = "\n".join([question, *sources])
    return _find_disagreement(answer, known, sources) if sources else None


def find_change(reworded: str, original: str) -> Problem | None:
    """Return the first thing that other words for a text have changed in it, or None."""
    if not reworded.strip():
        return Problem.EMPTY
    if _FOREIGN.search(reworded) or not _HANGUL.search(reworded):
        return Problem.LANGUAGE
    if set(_NUMBER.findall(reworded)) != set(_NUMBER.findall(original)):
        return Problem.NUMBER
    if set(_LATIN.findall(reworded.lower())) != set(_LATIN.findall(original.lower())):
        return Problem.LANGUAGE
    if _find_materials(reworded) != _find_materials(original):
        return Problem.MATERIAL
    return Problem.NEGATION if _is_negated(reworded) != _is_negated(original) else None


def _find_disagreement(answer: str, known: str, sources: Sequence[str]) -> Problem | None:
    if set(_NUMBER.findall(answer)) - set(_NUMBER.findall(known)):
        return Problem.NUMBER
    if {word.lower() for word in _LATIN.findall(answer)} - {
        word.lower() for word in _LATIN.findall(known)
    }:
        return Problem.LANGUAGE
    if _find_materials(answer) - _find_materials(known):
        return Problem.MATERIAL
    # What a refusal names is the customer's: no source agrees or disagrees with it.
    claims = [sentence for sentence in split_sentences(answer) if not is_refusal(sentence)]
    if _turns_a_negation("\n".join(claims), "\n".join(sources)):
        return Problem.NEGATION
    held = _bigrams("\n".join(sources))
    said = [sentence for source in sources for sentence in split_sentences(source)]
    for sentence in claims:
        own = _bigrams(sentence)
        if own and len(own & held) / len(own) < _MIN_GROUNDED:
            return Problem.UNGROUNDED
        nearest = max(said, key=lambda other: _likeness(own, _bigrams(other)), default="")
        if _likeness(own, _bigrams(nearest)) >= _SAME_SENTENCE and _is_negated(
            sentence
        ) != _is_negated(nearest):
            return Problem.NEGATION
    return None


def _find_materials(text: str) -> set[str]:
    # 한지 is paper, but "가능한지" is not.
    found = {material for material in MATERIALS if material in text}
    return found if re.search(r"(?<![가-힣])한지", text) else found - {"한지"}


def _prices(text: str) -> list[str]:
    return [re.sub(r"\s", "", price) for price in _PRICE.findall(text)]


def _turns_a_negation(answer: str, source: str) -> bool:
    """Return whether a verb is negated in one of the two and only affirmed in the other."""
    said, known = _negated_verbs(answer), _negated_verbs(source)
    if said - known:
        return True
    return any(
        len(verb) > 1
        and verb in _NEGATED_VERB.sub("", answer)
        and verb not in _NEGATED_VERB.sub("", source)
        for verb in known
    )


def _negated_verbs(text: str) -> set[str]:
    return {(a or b)[-2:] for a, b in _NEGATED_VERB.findall(text)}


def _is_negated(sentence: str) -> bool:
    return _NEGATION.search(_YES_OR_NO.sub("", sentence)) is not None


def cut_repetition(text: str) -> str | None:
    """Return the sentences of a growing text before it began to repeat itself, None if it did not.

    What follows would go on so until the model's tokens end.
    """
    if not _repeats(text):
        return None
    kept = ""
    for match in _SENTENCE_END.finditer(text):
        if _repeats(text[: match.start()]):
            break
        kept = text[: match.start()]
    return kept.strip()


def _repeats(text: str) -> bool:
    """Return whether a sentence comes twice or a long run of characters three times."""
    sentences = [s for s in split_sentences(text) if len(s) > 8]
    if len(set(sentences)) < len(sentences):
        return True
    runs = Counter(text[i : i + _RUN] for i in range(len(text) - _RUN + 1))
    return any(count >= 3 for count in runs.values())


def _bigrams(text: str) -> set[str]:
    letters = _NOT_WORD.sub("", text.lower())
    return {letters[i : i + 2] for i in range(len(letters) - 1)}


def _likeness(a: set[str], b: set[str]) -> float:
    return len(a & b) / max(1, len(a | b))
