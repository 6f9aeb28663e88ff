"""Reads the name and the phone number of somebody who wants to be called back."""

import re

_MAX_NAME = 30


def read_name(words: str) -> str | None:
    """Return the name that a text is, None where it is none."""
    name = re.sub(r"^(?:저는|제 이름은|이름은|성함은|저) ", "", words)
    name = re.sub(r" ?(?:이에요|예요|에요|입니다|이라고 ?(?:해요|합니다)|이요)[.!]*$", "", name)
    is_name = re.fullmatch(r"[가-힣]{2,5}|[A-Za-z][A-Za-z .·-]+|[가-힣]{1,2} [가-힣]{1,3}", name)
    return name if is_name and len(name) <= _MAX_NAME else None


_PHONE = re.compile(
    r"(?<!\d)(?:(?:\+?82[ -]?)?0?(?P<mobile>1[016789])|0(?P<area>2|[3-6]\d|70|50\d))"
    r"[) .-]*(?P<first>\d{3,4})[ .-]*(?P<last>\d{4})(?!\d)"
    r"|(?<!\d)(?P<service>1[568]\d\d)[ .-]?(?P<end>\d{4})(?!\d)"
)


def read_phone(text: str) -> str | None:
    """Return the Korean phone number in a text with its hyphens, None where there is none.

    https://www.law.go.kr/행정규칙/전기통신번호관리세칙
    """
    found = _PHONE.search(text)
    if found is None:
        return None
    if found["service"]:
        return f"{found['service']}-{found['end']}"
    return f"0{found['mobile'] or found['area']}-{found['first']}-{found['last']}"
