"""Puts right what a recogniser misheard of the trade's words: "도베" is 도배, "벽 지" is 벽지.

Words are compared by their sounds, letter by letter (jamo), with those that are easily taken for
each other costing little. What is a word in its own right ("경로") is only changed where the
sentence speaks of the trade and the sounds are next to the same.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from rapidfuzz.distance import Levenshtein
from wordfreq import get_frequency_dict

from inference.knowledge import starter_path
from inference.knowledge.files import load

# Distance for each letter of the true word up to which eojeols may be taken for it: such as are no
# words, and such as are; how likely the shop's business what comes out must be for either, and how
# much better the knowledge must fit it where words were changed. Chosen on tests/data/misheard.csv
# and heard_right.txt.
_UNKNOWN, _KNOWN = 0.2, 0.15
_OURS, _SURELY_OURS, _NOT_OURS, _GAIN, _LOSS, _COST = 0.4, 0.8, 0.5, 0.3, 0.5, 2.0
_COMMON = 8e-5  # how often a word is used that is never changed
_SHORT = 3  # eojeols, at most, of an answer to a question of ours
_MOST_WORDS = 3  # that a recogniser makes of one
_OFTEN = 2  # times that our own knowledge must use a word to vouch for it
_MOST_CHANGES, _MOST_JUDGED, _TRIED = 4, 30, 2
_REMEMBERED = 4096  # words that customers said
_NEAREST = 10.0  # how much more the sounds count than the fit
_STEM = 3  # letters by which an inflected form of a word that we use is known

Judge = Callable[[str], tuple[float, float]]  # likely the shop's business, fit of the knowledge

_ALIKE = {  # a letter and those that are hardly told from it
    "ㅐ": "ㅔ",
    "ㅚ": "ㅙㅞ",
    "ㅙ": "ㅞ",
    "ㅢ": "ㅣ",
    "ㅒ": "ㅖ",
    "ㅔ": "ㅖ",
    "ㄱ": "ㄲㅋ",
    "ㄲ": "ㅋ",
    "ㄷ": "ㄸㅌ",
    "ㄸ": "ㅌ",
    "ㅂ": "ㅃㅍ",
    "ㅃ": "ㅍ",
    "ㅅ": "ㅆ",
    "ㅈ": "ㅉㅊ",
    "ㅉ": "ㅊ",
}
_CLOSE = {  # and those that are often taken for it
    "ㅗ": "ㅓㅜ",
    "ㅜ": "ㅡ",
    "ㅡ": "ㅓ",
    "ㅏ": "ㅓㅑ",
    "ㅕ": "ㅛㅏㅐ",
    "ㅓ": "ㅕ",
    "ㅚ": "ㅔ",
    "ㅟ": "ㅣ",
    "ㅐ": "ㅏ",
    "ㅔ": "ㅓ",
    "ㅝ": "ㅓ",
    "ㅘ": "ㅏ",
    "ㄹ": "ㅇ",
    "ㄱ": "ㄹㅇㄷ",
    "ㄷ": "ㅂㅈㄴㄹㅅㅊ",
    "ㄴ": "ㄹㅇㅁ",
    "ㅁ": "ㅇㅂ",
    "ㅌ": "ㅊ",
    "ㅂ": "ㄱ",
    "ㅅ": "ㅈ",
}
_COSTS = {
    frozenset(one + other): cost
    for cost, letters in ((0.5, _CLOSE), (0.2, _ALIKE))
    for one, others in letters.items()
    for other in others
}
# As they sound last in a syllable.
_FINALS = dict(zip("ㄳㄵㄶㄺㄻㄼㄽㄾㄿㅀㅄ", "ㄱㄴㄴㄱㅁㄹㄹㄹㅂㄹㅂ", strict=True))
_LEAST = 0.2  # what any difference costs
_WEAK = {"ㅎ": 0.4, "ㅇ": 0.5, "ㄹ": 0.7, "ㄴ": 0.8}  # letters that are easily dropped or added
_DOUBLED = 0.3  # a letter that is said twice, and heard once
_PARTICLES = ("이", "은", "을", "에", "으로", "이요", "이에요")  # that melt into a last consonant

# Pyeong after a native number: "스물 네평" is 스물네 평.
_PYEONG = re.compile(
    r"(?<![가-힣])(?:(열|스물|스무|서른|마흔|쉰|예순|일흔|여든|아흔)\s*)?"
    r"(한|두|세|네|다섯|여섯|일곱|여덟|여덜|아홉)?\s*(?:평|편|펑)(?=(?:형|대|이|인|은|는|에|으|도|짜|요|쯤|정|[\s,.?!]|$))"
)

# What may follow a word: particles, the copula, and the verbs that make one of a noun.
_TAIL = re.compile(
    r"(?:들)?(?:이|가|은|는|을|를|에|의|도|만|로|으로|와|과|랑|이랑|하고|에서|에서는|에는|에도|까지|까지만|까지는|부터|마다|보다|처럼"
    r"|이고|고|이면|이나|나|라|이라|라도|이라도|라서|이라서|라고|이라고|라는|이라는|라면|이라면|면|밖에|씩|쯤|째|용|쪽|쪽에|쪽은|쪽만|안|위|위에|위로|뒤|뒤에|밑|속)?"
    r"(?:은|는|도|만)?"
    r"(?:요|이요|예요|이에요|에요|여요|이고요|고요|인데|인데요|입니다|이죠|죠|인가요|인지|이랑요|랑요|하고요|로요|으로요|까지요|부터요)?"
    r"|(?:을|를|이|가|도)?(?:하|할|한|해|했|함|합|되|될|된|돼|됐|시키|났|난|나|나고|나서|생|낀|끼|폈|핀|지|진|졌)[가-힣]{0,5}"
)
_NUMBER = re.compile(
    r"[일이삼사오육칠팔구십백천만영공]+"
    r"|(?:열|스물|스무|서른|마흔|쉰)?(?:하나|둘|셋|넷|한|두|세|네|다섯|여섯|일곱|여덟|아홉)?"
)
_EDGE = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Match:
    """A word that eojeols may have been: how far off for each letter, and what follows it.

    `is_usual` says that the eojeols are words in their own right.
    """

    distance: float
    word: str
    tail: str
    count: int
    is_usual: bool


def correct(text: str, judge: Judge) -> str:
    """Return a transcript with the trade's words put right; all else stays as it is.

    `judge` says of a text how likely it is the shop's business and how well the knowledge fits it:
    what is put in must make sense.
    """
    said = _PYEONG.sub(_write_pyeong, text.strip())
    left = iter(range(_MOST_JUDGED))  # each costs as much as a question does
    for _ in range(_MOST_CHANGES):
        changed = _change(said, judge, left)
        if changed is None:
            break
        said = changed
    return said


def _write_pyeong(found: re.Match[str]) -> str:
    tens, ones = found[1] or "", (found[2] or "").replace("여덜", "여덟")
    return f"{tens}{ones} 평" if tens or (ones and found[0].endswith("평")) else found[0]


def _change(text: str, judge: Judge, left: Iterator[int]) -> str | None:
    """Return the text with the one change that makes most sense, None where none does."""
    pieces = re.split(r"(\s+)", text)
    words = [_Eojeol.read(piece) for piece in pieces[::2]]
    is_short = len(words) <= _SHORT
    before = None
    best: tuple[tuple[int, float], str] | None = None
    for at in range(len(words)):
        for match in [] if words[at].is_trade else _find(words[at:]):
            after = words[at + match.count - 1].after
            put = f"{words[at].before}{match.word}{match.tail}{after}"
            changed = "".join([*pieces[: 2 * at], put, *pieces[2 * (at + match.count) - 1 :]])
            if next(left, None) is None:
                return best[1] if best else None
            business, fit = judge(changed)
            before = before or judge(text)
            gain = fit - before[1] - _COST * match.distance
            if match.is_usual:
                if business < _SURELY_OURS or before[0] < _NOT_OURS or gain <= _GAIN:
                    continue
            elif not is_short and (business < _OURS or gain <= -_LOSS):
                continue
            # What is no word is put right first, to what sounds nearest.
            rank = (0, gain) if match.is_usual else (1, gain - _NEAREST * match.distance)
            if best is None or rank > best[0]:
                best = rank, changed
    return best[1] if best else None


@dataclass(frozen=True, slots=True)
class _Eojeol:
    """What stands between two spaces: Hangul, and the marks around it."""

    before: str
    text: str
    after: str

    @classmethod
    def read(cls, piece: str) -> "_Eojeol":
        found = _EDGE.match(piece)
        return cls(found[1], found[2], found[3]) if found else cls("", piece, "")

    @property
    def is_hangul(self) -> bool:
        return re.fullmatch("[가-힣]+", self.text) is not None

    @property
    def is_trade(self) -> bool:
        return _is_trade(self.text)


def _find(words: list[_Eojeol]) -> list[_Match]:
    """Return the words that the first eojeols may have been, the likeliest of each count first."""
    found: list[_Match] = []
    for count in range(1, min(_MOST_WORDS, len(words)) + 1):
        window = words[:count]
        if not all(word.is_hangul for word in window) or any(w.after for w in window[:-1]):
            break
        if any(word.is_trade for word in window):
            break
        matches = _match([word.text for word in window])
        found += sorted(matches, key=lambda match: (match.distance, -len(match.word)))[:_TRIED]
    return found


def _match(bare: list[str]) -> Iterator[_Match]:
    joined, first = "".join(bare), len("".join(bare[:-1]))
    is_usual = all(map(_is_usual, bare))
    limit = _limit(bare, is_usual=is_usual)
    if limit <= 0:
        return
    for end in range(max(2, first + 1), len(joined) + 1):
        head, tail = joined[:end], joined[end:]
        if not _TAIL.fullmatch(tail) or (tail and head in _vouched()):
            continue
        sounds = spell(head)
        for word, true in _vocabulary().items():
            if tail and word in _melted():
                continue
            most = limit * len(true)
            if word == head and (len(bare) == 1 or is_usual):
                continue
            cutoff = int(most / _LEAST) + 1
            if Levenshtein.distance(sounds, true, score_cutoff=cutoff) > cutoff:
                continue
            distance = measure(sounds, true)
            if distance <= most:
                yield _Match(distance / len(true), word, tail, len(bare), is_usual)


def _limit(bare: list[str], *, is_usual: bool) -> float:
    """Return how far off a word of the trade may sound from the eojeols, 0 where it may not."""
    if len(bare) == 1 and _is_ours(bare[0]):
        return 0.0
    if len(bare) > 1 and any(map(_NUMBER.fullmatch, bare)):
        return 0.0
    return _KNOWN if is_usual else _UNKNOWN


def _is_ours(word: str) -> bool:
    """Return whether our own knowledge or everybody uses a word, so that it is right."""
    often = max((_frequency(word[:end]) for end in _stems(word)), default=0.0)
    return often >= _COMMON or word in _vouched() or word[:_STEM] in _vouched_stems()


def _stems(word: str) -> list[int]:
    """Return where a word may end within an eojeol, before what may follow it."""
    return [end for end in range(1, len(word) + 1) if _TAIL.fullmatch(word[end:])]


@lru_cache(maxsize=_REMEMBERED)
def _is_usual(word: str) -> bool:
    """Return whether an eojeol is one as people write it."""
    if word in _vouched() or word[:_STEM] in _vouched_stems() or _NUMBER.fullmatch(word):
        return True
    return any(
        _frequency(word[:end]) > (_COMMON if end == 1 and len(word) > 1 else 0)
        for end in _stems(word)
    )


def _frequency(word: str) -> float:
    return float(get_frequency_dict("ko", "small").get(word, 0.0))


@cache
def _vocabulary() -> dict[str, str]:
    """Return the trade's words with their sounds, and with the particles that melt into them."""
    # Sorted: of two words that sound as near, the same one is taken in every process.
    return {word: spell(word) for word in (*_words(), *sorted(_melted()))}


@cache
def _melted() -> frozenset[str]:
    closed = [word for word in _words() if unicodedata.normalize("NFD", word)[-1] >= "\u11a8"]
    return frozenset(word + particle for word in closed for particle in _PARTICLES)


@cache
def _words() -> tuple[str, ...]:
    text = resources.files("inference.speech").joinpath("vocabulary.txt").read_text("utf-8")
    return tuple(text.split())


@cache
def _vouched() -> frozenset[str]:
    """Return the eojeols that our own knowledge uses often."""
    return frozenset(word for word, count in _counts().items() if count >= _OFTEN)


@cache
def _counts() -> Counter[str]:
    return Counter(
        eojeol
        for entry in load(starter_path())
        for text in (*entry.questions, *entry.answers)
        for eojeol in re.findall("[가-힣]+", text)
    )


@cache
def _vouched_stems() -> frozenset[str]:
    """Return how the longer eojeols of our own answers begin, but for the trade's own."""
    return frozenset(w[:_STEM] for w in _vouched() if len(w) > _STEM and not _is_trade(w))


@lru_cache(maxsize=_REMEMBERED)
def _is_trade(eojeol: str) -> bool:
    """Return whether an eojeol is one of the trade's words, with what may follow it."""
    return any(
        eojeol[:end] in _words() and _TAIL.fullmatch(eojeol[end:]) is not None
        for end in range(2, len(eojeol) + 1)
    )


@lru_cache(maxsize=_REMEMBERED)
def spell(text: str) -> str:
    """Return the letters (jamo) of Hangul in the order they sound; a silent ㅇ is none."""
    letters = []
    for syllable in text:
        initial, *rest = list(unicodedata.normalize("NFD", syllable))
        if initial != "\u110b":
            letters.append(_compatible(initial))
        letters += [_compatible(letter) for letter in rest]
    return "".join(letters)


def _compatible(jamo: str) -> str:
    """Return a conjoining jamo as one letter, whether it stands first or last in its syllable."""
    _, _, name = unicodedata.name(jamo).removeprefix("HANGUL ").partition(" ")
    letter = unicodedata.lookup(f"HANGUL LETTER {name}")
    return _FINALS.get(letter, letter)


@lru_cache(maxsize=_REMEMBERED)
def measure(one: str, other: str) -> float:
    """Return how far apart two strings of letters sound, in letters."""
    row = [0.0]
    for letter in other:
        row.append(row[-1] + _WEAK.get(letter, 1.0))
    for mine in one:
        above, row = row, [row[0] + _WEAK.get(mine, 1.0)]
        for place, theirs in enumerate(other, 1):
            previous = other[place - 2] if place > 1 else ""
            swap = 0.0 if mine == theirs else _COSTS.get(frozenset(mine + theirs), 1.0)
            row.append(
                min(
                    above[place - 1] + swap,
                    above[place] + _WEAK.get(mine, 1.0),
                    row[-1] + (_DOUBLED if theirs == previous else _WEAK.get(theirs, 1.0)),
                )
            )
    return row[-1]
