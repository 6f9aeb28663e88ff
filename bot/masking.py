"""Personal data out of texts: tokens in the place of numbers, addresses and a customer's names.

Rules, so neither all that is personal is found nor is all that is found personal. What they find
of `tests/data/personal.csv` is held by a test; the Korean libraries that were tried know neither
numbers as they are said nor most addresses as customers write them.
"""

import re
import unicodedata
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache


class Token(StrEnum):
    """What stands in the place of what was taken out."""

    EMAIL = "[이메일]"
    RESIDENT = "[주민등록번호]"
    CARD = "[카드번호]"
    ACCOUNT = "[계좌번호]"
    PHONE = "[전화번호]"
    ADDRESS = "[주소]"
    NAME = "[이름]"


def mask(text: str, *, names: Iterable[str] = ()) -> str:
    """Return `text` with tokens in the place of personal data and of `names`.

    Masking twice is masking once.
    """
    before, masked = "", unicodedata.normalize("NFC", text)
    named = _compile_names(frozenset(names))
    while masked != before:  # what stood beside something masked may be found only now
        before = masked
        for token, rule in _RULES:
            masked = _replace(rule, token, masked)
        if named:
            masked = named.sub(lambda found: found["token"] or Token.NAME, masked)
    return masked


def _replace(rule: re.Pattern[str], token: Token, text: str) -> str:
    """Return `text` with `token` for every match of a rule: for its group `it`, if it has one."""
    parts, at = [], 0
    for found in rule.finditer(text.translate(_PLAIN)):
        start, end = found.span("it" if "it" in rule.groupindex else 0)
        parts += [text[at:start], token]
        at = end
    return "".join([*parts, text[at:]])


class _Plain(dict[int, str]):
    """Each character as the rules know it, one for one: any digit, hyphen, space is the plain."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        digit, category = unicodedata.digit(char, None), unicodedata.category(char)
        if digit is not None:
            plain = str(digit)
        elif category == "Pd" or char in "ㅡ~∼〜·・−":
            plain = "-"
        elif category in {"Cf", "Cc", "Zs"} and char != "\n":
            plain = " "
        else:
            plain = unicodedata.normalize("NFKC", char)
            plain = plain if len(plain) == 1 else char
        self[code] = plain
        return plain


_PLAIN = _Plain()


# Numbers

_EMAIL = (
    r"[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}(?: ?(?:@|골뱅이|\(at\)) ?| at )"
    r"(?:[A-Za-z0-9-]{1,63}(?:(?: ?(?:\.|점|쩜|닷) ?| dot )[A-Za-z0-9-]{2,20}){1,4}"
    r"|[가-힣]{1,8}?(?:점|쩜|닷)(?:컴|넷|케이알|com|net|kr)|네이버|다음|한메일|지메일|네이트)"
)
_RESIDENT = (
    r"(?<!\d)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    r"(?: ?- ?[1-8](?:\d{6}|[*xX●]{1,6}|)| ?[1-8](?:\d{6}|[*xX●]{6}))(?!\d)"
)
_CARD = r"(?<!\d)(?:(?:\d{4}[ .-]{0,3}){3}\d{4}|3[47]\d\d[ .-]{0,3}\d{6}[ .-]{0,3}\d{5})(?!\d)"

# A mobile number may be said: 공일공에 일이삼사 다시 오육칠팔.
_SAID = "(?:[0-9공영일이삼사오육륙칠팔구]|하나|둘)"
_GAP = r"(?:[ \n()./,:*_-]|에|다시|대시){0,4}"
_ABROAD = rf"(?:\+ ?82|82(?=[ -])){_GAP}"
_PHONE = (
    r"(?<!\d)(?<!\d{4}[./-])(?!0\d[./]\d\d ?-)\(?"  # no date
    rf"(?:(?:(?:{_ABROAD})?[0공영]{_GAP}|{_ABROAD})(?:[1일]|하나){_GAP}[016789공영일육륙칠팔구]"
    rf"(?:{_GAP}{_SAID}){{7,8}}"
    rf"|(?:(?:{_ABROAD})?0|{_ABROAD})(?:2|3[1-3]|4[1-4]|5[1-5]|6[1-4]|70|50\d?)"
    r"[ )./_-]{0,3}\d{3,4}[ )./_-]{0,3}\d{4})(?!\d)"
)

# An account's number has any form: what tells it is the word beside.
_BANK = "계좌|통장|입금|송금|환불|예금|은행|뱅크|카뱅|농협|수협|신협|새마을금고|우체국"
_BANK_NAME = "국민|신한|우리|하나|기업|산업|외환|카카오|토스|제일|씨티"
_DATE = r"(?:19|20)\d\d[ -]{1,3}\d\d?[ -]{1,3}\d\d?(?!\d)"


def _account(gap: str) -> str:
    return rf"(?P<it>(?<![\d-])(?!{_DATE})(?!{_PHONE}(?!-?\d))\d(?:{gap}\d){{9,15}}(?!-?\d))"


# Addresses. An address's number is no measure: 테헤란로 152, but not 별로 2점, 실크로 34평.
_HOUSE = r"\d{1,4}(?:-\d{1,4})?(?!\d)"
_KIND = r"사무실|상가|빌딩|건물|아파트|오피스텔|원룸|투룸|빌라|주택|지하|[Bb]\d|\d{1,2}층"
_END = rf"(?=$|[,.!?)\n]|번지|(?:이에|예)요|입니다|이[고요라]|인데|에|으?로|요| ?(?:{_KIND}))"
_END_OR_SPACE = rf"(?:{_END}|(?= ))"

_NAMED = (
    "아파트|빌라|맨션|타운|마을|오피스텔"
    "|래미안|자이|푸르지오|힐스테이트|편한세상|롯데캐슬|아이파크|더샵"
)
_ESTATE = (
    rf"(?:[가-힣A-Za-z]{{0,8}}(?:{_NAMED})[가-힣]{{0,4}} ?)?"
    r"(?:(?:[가-힣]{2,5} )?\d{1,2}단지 ?)?"
)
_FLAT = (
    rf"{_ESTATE}(?:(?<!\d)\d{{1,4}}|(?<![가-힣])[가나다라마바사A-Za-z])동 ?\d{{3,4}}(?:호|{_END})"
    rf"|{_ESTATE}(?<![가-힣\d])\d{{3,4}}-\d{{3,4}}호"
)
_INSIDE = rf"(?:,? ?(?:{_FLAT}|\d{{3,4}}호))?"

# After a final consonant other than ㄹ the particle is 으로, so what ends in 로 is a road.
_CLOSED = "".join(
    chr(code) for code in range(ord("가"), ord("힣") + 1) if (code - ord("가")) % 28 not in {0, 8}
)
_OPEN = r"[가-힣]{2,10}(?<!실크|합지|벽지|빌라)(?<![으가세래체제트바])로 ?"
_ROAD = "|".join(
    (
        rf"[가-힣\d]{{1,10}}로 ?\d{{1,4}}(?:번|[가-하])?길 ?{_HOUSE}",
        rf"[가-힣\d]{{0,9}}(?:[{_CLOSED}]|[가-힣]{{2}}대|[가-힣]\d{{1,2}})로 ?"
        rf"{_HOUSE}{_END_OR_SPACE}",
        rf"(?<=[시군구동읍면] ){_OPEN}{_HOUSE}{_END_OR_SPACE}",
        rf"{_OPEN}(?:{_HOUSE}{_END}|\d{{1,4}}-\d{{1,4}}(?!\d){_END_OR_SPACE})",
        rf"[가-힣\d]{{2,10}}길 ?{_HOUSE}{_END}",
    )
)
_LOT = "|".join(
    (
        rf"[가-힣]{{1,6}}[읍면] [가-힣]{{1,6}}리 ?(?:산 ?)?{_HOUSE}",
        rf"[가-힣]{{1,6}}\d?[동가] ?(?:산 ?)?\d{{1,4}}-\d{{1,4}}(?!\d){_END_OR_SPACE}",
        r"[가-힣]{1,6}[동리] ?(?:산 ?)?\d{1,4}(?=번지)",
        rf"(?<=[시군구] )[가-힣]{{1,6}}동 ?\d{{1,4}}(?!\d){_END}",
    )
)

_RULES = [
    (token, re.compile(rule))
    for token, rule in (
        (Token.EMAIL, _EMAIL),
        (Token.RESIDENT, _RESIDENT),
        (Token.CARD, _CARD),
        (Token.ACCOUNT, rf"(?:{_BANK})[^\d\n]{{0,15}}?{_account('[ -]{0,3}')}"),
        (Token.ACCOUNT, rf"(?:{_BANK_NAME})[^\d\n]{{0,6}}?{_account('-?')}"),
        (Token.ACCOUNT, rf"{_account('[ -]{0,3}')}[^\d\n]{{0,8}}?(?:{_BANK})"),
        (Token.ACCOUNT, rf"{_account('-?')} ?(?:{_BANK_NAME})"),
        (Token.PHONE, _PHONE),
        (Token.ACCOUNT, r"(?<!\d)\d{10,}"),
        (Token.ADDRESS, rf"(?:{_ROAD}|{_LOT}){_INSIDE}|{_FLAT}"),
    )
]


# Names

_SURNAMES = "남궁|황보|제갈|선우|독고|사공|서문"
_CALLED = "(?=이?네|이? ?(?:엄마|아빠|씨|님)|(?:이에|예)요|입니다|이?라고)"


@lru_cache(maxsize=1024)
def _compile_names(names: frozenset[str]) -> re.Pattern[str] | None:
    """Return what finds names: whole, their words, and what a Korean is called without 김."""
    forms: set[str] = set()
    for name in names:
        words = re.findall(r"[^\W\d]\w+", unicodedata.normalize("NFC", name))
        forms |= {r"\s*".join(map(re.escape, words)), *map(re.escape, words)} - {""}
        for word in words:
            if re.fullmatch("[가-힣]{3,5}", word):
                forms.add(" ?".join(word))
                forms.add(re.sub(rf"^(?:{_SURNAMES}|.)", "", word) + _CALLED)
    if not forms:
        return None
    longest_first = "|".join(sorted(forms, key=len, reverse=True))
    tokens = "|".join(map(re.escape, Token))
    return re.compile(
        rf"(?P<token>{tokens})|(?<!\w)(?:{longest_first})(?![A-Za-z_])", re.IGNORECASE
    )
