"""What a question wants to know of its subject, so that 장점 is not answered with 단점.

A sentence vector hardly tells such questions apart: only one word differs.
"""

import re

_PATTERNS = {
    "both": r"장\s*단점|장점.{0,12}단점",
    "pros": r"장점|좋은\s*점|(?<!차)이점|강점|뭐가\s*좋|왜\s*좋",
    "cons": r"단점|나쁜\s*점|안\s*좋은|문제점|약점",
    "care": r"주의|조심|유의",
    "reason": r"이유|까닭",
    "cause": r"원인|때문|왜\s*(?:생|그|이|자꾸)|원리|발생하(?:나|는지|죠)|생기(?:나|는지|죠)",
    "how": r"방법|어떻게|어떡|는\s*법|해결|복원|보수",
    "kind": r"종류|(?:뭐|무엇|어떤\s*것)(?:가|이|들이|에는)?\s*(?:있|들)",
    "differ": r"차이|다른\s*(?:점|가|거|건)|구분|구별",
    "define": r"[이가란은는]\s*(?:뭐|무엇|뭔|무슨)|뭐야|뜻|정의|의미|개념|설명|대해|이란",
    "trait": r"특징|특성|성질",
    "cheap": r"저렴|(?<!비)싼|(?<![비감])싸|경제적|가성비|합리적",
    "dear": r"비싼|비싸|고가|고급",
    "time": r"얼마나\s*(?:걸|해|말|두)|기간|며칠|몇\s*일|언제|시간|주기",
    "can": r"수\s*(?:있어|있나|있는지|없)|되나요|돼\?|돼요\?|될까|괜찮|도\s*[돼되]",
    "criterion": r"기준|판정|조건",
    "where": r"어디|장소|곳에",
}
_ASPECTS = {name: re.compile(pattern) for name, pattern in _PATTERNS.items()}
_QUESTION = re.compile(
    r"\?|뭐|무엇|무슨|어떤|어떻|어디|언제|왜|얼마|몇|(?:까|나요|죠)$|알려|추천|설명|싶"
)

# How well an entry that tells of the second answers a question after the first.
_FITS = {
    **{(name, name): 1.0 for name in ("pros", "cons", "both", "trait", "reason", "care", "cheap")},
    **{(name, name): 1.0 for name in ("dear", "cause", "differ", "criterion", "where")},
    **{("how", "how"): 0.5, ("kind", "kind"): 0.7, ("time", "time"): 0.7},
    **{("define", "define"): 0.3, ("both", "define"): 1.5, ("trait", "define"): 0.5},
    **{("differ", "define"): 0.5, ("reason", "pros"): 1.0, ("care", "cons"): 0.7},
    **{("pros", "cons"): -1.0, ("cons", "pros"): -1.0, ("cheap", "dear"): -1.0},
    **{("dear", "cheap"): -1.0, ("how", "can"): -0.5, ("cause", "define"): -0.3},
}


def find_aspects(text: str) -> frozenset[str]:
    """Return what a normalised question wants to know; a bare complaint wants to know how."""
    found = {name for name, pattern in _ASPECTS.items() if pattern.search(text)}
    if not found and not _QUESTION.search(text):
        return frozenset({"how"})
    if "both" in found:
        found -= {"pros", "cons"}
    return frozenset(found - {"define"} or found)


def rate_fit(asked: frozenset[str], told: frozenset[str]) -> float:
    """Return how well an entry about `told` answers a question after `asked`; 0: no matter."""
    return sum(_FITS.get((a, b), 0.0) for a in asked for b in told) / max(1, len(asked))
