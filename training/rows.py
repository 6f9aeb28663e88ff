"""What is seen only where the questions and answers of one row stand side by side.

Several answers to one question agree on its arithmetic, and phrasings of one question ask the same.
One that asks for something else (장점 for 단점, 용도 beside "뭐야?") is answered by chance only.
"""

import re
from collections.abc import Sequence

from training.noise import Noise

_TIMES = re.compile(r"곱(?:하|해|한|합)|[×✕]|(?<=[\d가-힣)])\s*[*x]\s*(?=[\d가-힣(])")
_DIVIDED = re.compile(r"나(?:누어|눠|누고|누면|누며|눈)(?!지|집|진|져)|÷|(?<=[\d가-힣)])\s*/\s*\d")
_FEWEST_AGREE = 2  # other answers

# Phrasings of a row among which one that names a matter asks for it. Many have been collected from
# people, who name things in passing ("비용 아끼려고 …").
_FEW = (2, 3)

_OPPOSITES = (
    ("장점", "단점"),
    ("이상", "이내"),
    ("이상", "이하"),
    ("내단열", "외단열"),
    ("수성", "유성"),
)

# What a question may ask for, how another names the same, and one of the words without which no
# answer tells of it. The last are many: what is flagged shall be wrong.
_MATTERS = tuple(
    (re.compile(asked), re.compile(named), re.compile(told))
    for asked, named, told in (
        (
            r"용도|무엇을 위해|쓰임새",
            r"용도|쓰임|어디에",
            r"용도|사용|쓰이|쓰여|쓸|이용|활용|적용|역할|위해|위한|기능|적합",
        ),
        (
            r"(?<!어떤 )종류",
            r"종류|뭐가|방식|추천",
            r"종류|가지|유형|나뉘|나뉩|구분|분류|등[이의과을으에 ]|있습니다|있고|있으며|처럼|같은",
        ),
        (
            r"어떤 (?:재료|재질|소재|원료|성분)",
            r"재료|재질|소재|원료|성분",
            r"재료|재질|소재|성분|원료|만들|만든|제조|제작|이루어|구성|혼합|섞|가공|첨가|합금|가열",
        ),
        (
            r"예방|방지하(?!기 위)",
            r"예방|방지|막|않으려|않게",
            r"예방|방지|막|않도록|않게|피하|피해|줄이|줄일|관리|유지|제거|해결|보관",
        ),
        (
            r"주의|조심|유의",
            r"주의|조심|유의|고려",
            r"주의|조심|유의|않도록|않게|않아야|안 ?[되돼됩]|피하|피해|마세요|말아|위험|우려|손상"
            r"|야 [하합해]|필요|중요|단점|취약|약하|비싸|높|고려|좋습니다|안전",
        ),
        (
            r"장점|(?<!안)(?<!안 )좋은 점|(?<!차)이점",
            r"장점|좋은|이점|이유|효과|특징|왜",
            r"장점|좋|우수|뛰어|강하|강한|강점|편리|쉽|쉬운|용이|저렴|경제|효과|친환경|친화|탁월|차단|보호",
        ),
        (
            r"단점|안 ?좋은 점|나쁜 점",
            r"단점|안 ?좋|나쁜|문제|주의",
            r"단점|취약|약하|약한|어렵|비싸|비싼|높|떨어|낮|부족|불편|문제|못|않|한계|제한|무겁",
        ),
        (
            r"얼마나 (?:오래|걸)|시간|기간|며칠|수명|주기",
            r"얼마|시간|기간|며칠|수명|주기|언제",
            r"\d|시간|기간|수명|주기|오래|하루|며칠|주일|개월",
        ),
        (r"비용|가격|얼마(?!나)", r"비용|가격|얼마", r"비용|가격|\d|저렴|비싸|비싼|견적|경제"),
        (
            r"차이|다른 점",
            r"차이|다른|비교",
            r"차이|반면|비해|비교|보다|다르|다른|달리|각각|것이며|하며",
        ),
        (
            r"(?:어떤|필요한) (?:장비|공구|도구)(?!나| 또는)",
            r"장비|공구|도구|준비",
            r"장비|공구|도구|기구|기계|롤러|칼|측정기|준비|이용|브러|사포",
        ),
    )
)


def compare_answers(answers: Sequence[str]) -> dict[int, Noise]:
    """Return the answers of a row, by their places, whose arithmetic the others contradict."""
    steps = [_read_steps(answer) for answer in answers]
    found = {}
    for place, own in enumerate(steps):
        others = [each for number, each in enumerate(steps) if number != place and each]
        agreed = max(others, key=others.count, default=frozenset())
        if own and own != agreed and "×" in agreed and others.count(agreed) >= _FEWEST_AGREE:
            found[place] = Noise.FORMULA
    return found


def compare_phrasings(
    questions: Sequence[str], answers: Sequence[str]
) -> dict[tuple[int, int], Noise]:
    """Return the pairs of a row, by their places, in which the answer tells of something else."""
    questions = [question.replace("장단점", "장점과 단점") for question in questions]
    found: dict[tuple[int, int], Noise] = {}
    if len(questions) not in _FEW:
        return found
    for place, question in enumerate(questions):
        others = [other for number, other in enumerate(questions) if number != place]
        lacking = [
            told
            for asked, named, told in _MATTERS
            if asked.search(question)
            if not any(named.search(other) for other in others)
        ]
        is_opposite = any(_tell_opposite(question, other, answers) for other in others)
        for number, answer in enumerate(answers):
            if is_opposite:
                found[place, number] = Noise.OPPOSITE
            elif any(not told.search(answer) for told in lacking):
                found[place, number] = Noise.UNANSWERED
    return found


def _read_steps(answer: str) -> frozenset[str]:
    rules = {"×": _TIMES, "÷": _DIVIDED}
    return frozenset(sign for sign, rule in rules.items() if rule.search(answer))


def _tell_opposite(question: str, other: str, answers: Sequence[str]) -> bool:
    """Return whether the answers tell of what another phrasing asks, and not of this one's."""
    return any(
        _names(question, this, that)
        and _names(other, that, this)
        and any(_names(answer, that, this) for answer in answers)
        and not any(this in answer for answer in answers)
        for pair in _OPPOSITES
        for this, that in (pair, pair[::-1])
    )


def _names(text: str, this: str, that: str) -> bool:
    return this in text and that not in text
