"""Numbers as Koreans write and say them: 24, 24.5, 이십사, 스물네, 3십4."""

import re

_SINO = {"영": 0, "공": 0, **{word: n for n, word in enumerate("일이삼사오육칠팔구", 1)}, "륙": 6}
_SCALES = {"십": 10, "백": 100, "천": 1000}
_TENS = {
    **{"열": 10, "스물": 20, "스믈": 20, "스무": 20, "서른": 30, "설흔": 30, "마흔": 40},
    **{"쉰": 50, "예순": 60, "일흔": 70, "여든": 80, "아흔": 90},
}
_ONES = {
    **{"한두": 1.5, "두세": 2.5, "서너": 3.5, "세네": 3.5, "네다섯": 4.5, "너댓": 4.5},
    **{"대여섯": 5.5, "예닐곱": 6.5, "일고여덟": 7.5},
    **{"하나": 1, "한": 1, "둘": 2, "두": 2, "셋": 3, "세": 3, "석": 3, "넷": 4, "네": 4},
    **{"넉": 4, "다섯": 5, "여섯": 6, "일곱": 7, "여덟": 8, "여덜": 8, "아홉": 9},
}

_DIGITS = r"\d{1,3}(?:,\d{3}){1,4}(?:\.\d{1,4})?|\d{1,12}(?:\.\d{1,4})?"
_TENS_RE, _ONES_RE = "|".join(_TENS), "|".join(_ONES)
_NATIVE_TENS = rf"(?:백\s*)?(?:{_TENS_RE})(?:\s*(?:{_ONES_RE}))?"
_SINO_RE = "[일이삼사오육륙칠팔구]"
# Words that surely are numbers may follow another word without a space; others may not.
# A scale alone begins no number within a word: 부천 25평 has 25, not 천 25.
_SINO_LONG = (
    rf"(?:(?:{_SINO_RE}|\d)\s*|(?<![가-힣]))[십백천만]"
    rf"(?:\s*(?:{_SINO_RE}|\d(?!\d)|[십백천])){{0,8}}"
)
_FRACTION = rf"(?:\s*점\s*{_SINO_RE})?"
_SHORT = rf"(?<![가-힣])(?:{_ONES_RE}|(?!이\s){_SINO_RE}(?![일이삼사오육칠팔구]))"
NUMBER = rf"(?:{_DIGITS}(?!\s*[십백])|{_NATIVE_TENS}|{_SINO_LONG}{_FRACTION}|{_SHORT})"
DIGIT_NAMES = rf"(?:{_SINO_RE}{{2,3}})"  # 팔사 for 84, as types of flats are read out


def parse_number(text: str) -> float | None:
    """Return the number that `text` (a match of `NUMBER` or `DIGIT_NAMES`) says."""
    text = re.sub(r"[\s,]", "", text)
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if re.fullmatch(DIGIT_NAMES, text):
        return float("".join(str(_SINO[char]) for char in text))
    whole, _, fraction = text.partition("점")
    value = _parse_native(whole)
    if value is None:
        value = _parse_sino(whole)
    if value is None or not fraction:
        return value
    return value + _SINO.get(fraction, 0) / 10


def _parse_native(text: str) -> float | None:
    value = 0.0
    if match := re.fullmatch(rf"(백)?({_TENS_RE})?({_ONES_RE})?", text):
        hundred, tens, ones = match.groups()
        value = 100.0 * bool(hundred) + _TENS.get(tens or "", 0) + _ONES.get(ones or "", 0)
    return value or None


def _parse_sino(text: str) -> float | None:
    """Parse 이십사, 백이십, 3십4; 이십사오 is between 24 and 25."""
    total, digit, last = 0.0, None, None
    for char in text:
        if char == "만":
            total, digit, last = (total + (digit or 0) or 1) * 10_000, None, None
        elif char in _SCALES:
            total += (1 if digit is None else digit) * _SCALES[char]
            digit, last = None, None
        elif char.isdecimal() or char in _SINO:
            if last is not None:
                return None
            value = int(char) if char.isdecimal() else _SINO[char]
            if digit is None:
                digit = value
            elif value == digit + 1 and total:
                last = value
            else:
                return None
        else:
            return None
    return total + (digit or 0) + (0.5 if last is not None else 0)
