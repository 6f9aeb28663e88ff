"""What a pair should not be learnt for. Rules and one comparison, so hints only: all are listed.

Rules that look at one text stand here; those that compare the texts of a row in `rows.py`, and
answers that belong to another row in `strangers.py`.
"""

import re
from enum import StrEnum


class Noise(StrEnum):
    """Why a pair is flagged."""

    EMPTY = "empty"
    ARTEFACT = "artefact"
    LANGUAGE = "language"
    GARBLED = "garbled"
    FORMULA = "formula"
    OPPOSITE = "opposite"
    UNANSWERED = "unanswered"
    STRANGER = "stranger"


MEANING = {
    Noise.EMPTY: "비었거나 너무 짧음",
    Noise.ARTEFACT: "만든 흔적 (수정된 답변, 코드, 주소, 가린 자리 …)",
    Noise.LANGUAGE: "한국어가 아님",
    Noise.GARBLED: "깨진 글자",
    Noise.FORMULA: "다른 답과 어긋나는 계산식",
    Noise.OPPOSITE: "반대를 답함 (장점과 단점, 이상과 이내 …)",
    Noise.UNANSWERED: "물은 것을 답하지 않음",
    Noise.STRANGER: "다른 질문의 답",
}

_FEWEST_ASKED, _FEWEST_TOLD = (
    2,
    6,
)  # letters; "곰팡이" is a question, "네, 됩니다." hardly an answer

_WORDY = re.compile(r"[^\W_]")  # letters and digits of whatever script
_HANGUL = re.compile(r"[가-힣]")
_ANY_LETTER = re.compile(r"[^\W\d_]")
# A model's own headings and remarks, and what only code and pages hold.
_HEADING = re.compile(
    r"^\W*(?:수정(?:된|한)?\s*(?:답변?|내용|버전|본)\s*[:：)\]]?|(?:답변|수정|질문|Answer|Q|A)\s*[:：])"
    r"|^\W*(?:답변|질문)\s+(?=네|아니|\S+[은는이가])|^#+\s*\S|(?:^|\s)##+\s*(?:수정|답변|질문)",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"(?:AI|인공지능|언어)\s*(?:언어\s*)?모델(?:로서|이라|이므로|입니다)|as an ai\b"
    r"|(?:위|아래|다음)(?:와 같이|에서|의)?\s*(?:답변을?|내용을?)\s*수정(?:했|하였|해)"
    r"|수정 (?:전|후)\s*[:：]",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"https?://|www\.|</?[a-zA-Z][^>]{0,40}>|```|\b[a-z]{2,}[A-Z]\w+|\[[a-z][a-z_-]+\]"
    r"|\bundefined\b|\bnull\b|\bNaN\b|\\[nt]"
)
_NAME_IN_CODE = re.compile(r"(?<![A-Za-z])[A-Z][a-z]+(?:[A-Z][a-z]+)+(?![A-Za-z])")
_MASKED = re.compile(r"\[(?:이메일|주민등록번호|카드번호|계좌번호|전화번호|주소|이름)\]")
_BRACKETED = re.compile(r"\([^)]*\)|‘[^’]*’|\"[^\"]*\"")  # there a term's English name may stand
_ENGLISH = re.compile(r"(?<![A-Za-z])[a-z]{3,}(?:[ ,.]+(?:[a-z]{2,})){1,}")
_OTHER_SCRIPT = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\u0400-\u04ff\u0600-\u06ff\u0e00-\u0e7f]{2,}"
)
_LEAST_HANGUL = 0.5  # of all letters
_BROKEN = re.compile(r"\ufffd|[\u00c0-\u00ff]{2,}|[ëìíêã][\u0080-\u00bf]|&(?:[a-z]+|#\d+);|\?{3,}")
# A letter that has lost its syllable: never beside another of its kind, as in "ㅋㅋ" or "ㅠㅠ".
_LOST_LETTER = re.compile(r"(?<=[가-힣])[ㄱ-ㅎㅏ-ㅣ](?=[가-힣])")


def judge(question: str, answer: str) -> Noise | None:
    """Return what is wrong with a question or with its answer, by themselves."""
    if len(_WORDY.findall(question)) < _FEWEST_ASKED or len(_WORDY.findall(answer)) < _FEWEST_TOLD:
        return Noise.EMPTY
    for text in (answer, question):
        if _BROKEN.search(text) or _LOST_LETTER.search(text):
            return Noise.GARBLED
    if _is_made(answer) or _CODE.search(question) or _HEADING.search(question):
        return Noise.ARTEFACT
    if _is_foreign(answer) or not _HANGUL.search(question):
        return Noise.LANGUAGE
    return None


def _is_made(answer: str) -> bool:
    rules = (_HEADING, _REMARK, _CODE, _MASKED)
    plain = _BRACKETED.sub(" ", answer)
    return any(rule.search(answer) for rule in rules) or _NAME_IN_CODE.search(plain) is not None


def _is_foreign(answer: str) -> bool:
    plain = _BRACKETED.sub(" ", answer)
    letters = len(_ANY_LETTER.findall(plain))
    return (
        len(_HANGUL.findall(plain)) < _LEAST_HANGUL * letters
        or _ENGLISH.search(plain) is not None
        or _OTHER_SCRIPT.search(plain) is not None
    )
