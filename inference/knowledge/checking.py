"""Looks through knowledge for what an editor would want to put right. Rules, so hints only."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from inference.alike import find_alike
from inference.knowledge import CATEGORIES, Entry
from inference.knowledge.files import Row

LONGEST_ANSWER = 600  # characters that are read with ease in a chat
_FEWEST = 2  # phrasings and answers that the training pipeline wants of each entry
_ALIKE = 0.8  # share of common letter pairs from which two questions ask the same

# Measures that two answers to one question should agree on; ranges count as both their ends.
_MEASURE = re.compile(
    r"(\d+(?:\.\d+)?)(?:\s*[~∼–-]\s*(\d+(?:\.\d+)?))?\s*"
    r"(시간|일|주|개월|년|분|cm|mm|m²|㎡|평|℃|도|%|배|회|겹|미터|m)(?![a-z가-힣])"
)
# What must not be missing from any answer to a question of the kind: each is sent alone.
_WARNINGS = (
    (
        "전기",
        re.compile(r"콘센트|스위치|전선|배선|누전|감전|전등|조명"),
        re.compile(r"(?:떼|뜯|풀|젖|분리|물이|물기|교체|만지|누전|감전|탄|스파크)"),
        re.compile(r"차단기|전기\s?기술자|전기\s?기사|전기\s?공사|전문|전원|한국전기안전공사"),
    ),
    (
        "석면",
        re.compile(r"석면"),
        re.compile(r""),
        re.compile(r"전문|등록|업체|조사|신고|뜯지|부수지|만지지"),
    ),
    (
        "락스와 산",
        re.compile(r"락스.*(?:식초|구연산|산성|세제)|(?:식초|구연산|산성|세제).*락스"),
        re.compile(r""),
        re.compile(r"섞지|섞으면|함께 쓰|같이 쓰|가스|함께 쓰지|동시에"),
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to look at: of which entry, which kind of thing, said in Korean."""

    id: str
    kind: str
    text: str


def find(rows: Sequence[Row]) -> list[Finding]:
    """Return what is to be looked at in the rows of a file."""
    found = [
        Finding(row.entry.id, "empty", f"{row.number}행: {row.problem}")
        for row in rows
        if row.problem
    ]
    entries = [row.entry for row in rows if not row.problem]
    for entry in entries:
        found.extend(_look_at(entry))
    found.extend(_compare(entries))
    return found


def _look_at(entry: Entry) -> Iterator[Finding]:
    def finding(kind: str, text: str) -> Finding:
        return Finding(entry.id, kind, text)

    if entry.category not in CATEGORIES:
        yield finding("category", f"모르는 분류: {entry.category}")
    for name, cells in (("질문", entry.questions), ("답변", entry.answers)):
        if len(cells) < _FEWEST:
            yield finding("empty", f"{name}이 {len(cells)}개뿐임 ({_FEWEST}개 이상이어야 함)")
    for number, answer in enumerate(entry.answers, 1):
        if len(answer) > LONGEST_ANSWER:
            yield finding("long", f"답변_{number}이 {len(answer):,}자 ({LONGEST_ANSWER}자 안으로)")
    for (i, one), (j, other) in combinations(enumerate(entry.answers, 1), 2):
        for text in _disagreements(one, other):
            yield finding("number", f"답변_{i}과 답변_{j}의 수가 다름: {text}")
    asked = " ".join(entry.questions[:_FEWEST])  # later phrasings may name what is only near
    for name, matter, deed, warning in _WARNINGS:
        if not (matter.search(asked) and deed.search(asked)):
            continue
        for number, answer in enumerate(entry.answers, 1):
            if not warning.search(answer):
                yield finding("warning", f"답변_{number}에 {name} 주의가 없음")


def _compare(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Compare the entries that ask much the same."""
    for one, other in _alike(entries):
        yield Finding(one.id, "double", f"{other.id}와 같은 질문: {one.questions[0]}")
        for text in _disagreements(" ".join(one.answers), " ".join(other.answers)):
            yield Finding(one.id, "number", f"{other.id}와 수가 다름: {text}")


def _alike(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Yield pairs of entries with a phrasing in common, or nearly so."""
    owners = [place for place, entry in enumerate(entries) for _ in entry.questions]
    questions = [question for entry in entries for question in entry.questions]
    seen: set[tuple[int, int]] = set()
    for one, other in find_alike(questions, _ALIKE):
        key = (owners[one], owners[other])
        if key[0] != key[1] and key not in seen:
            seen.add(key)
            yield entries[key[0]], entries[key[1]]


def _disagreements(one: str, other: str) -> Iterable[str]:
    """Return the measures that two texts give in one unit without any figure in common.

    Only where each names a single figure or range: of several, each may be about another thing.
    """
    here, there = _measures(one), _measures(other)
    for unit in sorted(here.keys() & there.keys()):
        if len(here[unit]) == len(there[unit]) == 1 and not _overlap(here[unit][0], there[unit][0]):
            yield f"{_range(here[unit][0])}{unit} / {_range(there[unit][0])}{unit}"


def _measures(text: str) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for low, high, unit in _MEASURE.findall(text):
        span = (float(low), float(high or low))
        if span not in found[unit]:
            found[unit].append(span)
    return found


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _range(span: tuple[float, float]) -> str:
    low, high = (f"{value:g}" for value in span)
    return low if low == high else f"{low}~{high}"
