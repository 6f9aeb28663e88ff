"""What is measured of answers: overlap, refusals, repetitions, times."""

import re
from collections.abc import Sequence

from inference import check
from inference.prompts import is_refusal

# That one cannot answer, however it is put …
_DECLINES = re.compile(
    r"모르겠|(?:^|잘\s*|저도\s*)(?:모릅니다|몰라요)|^알\s*수\s*없(?:습|어)|알지\s*못(?:합니다|해요)"
    r"|(?:답변?|대답|안내|상담|판단|약속|말씀)(?:을|를|은|는)?\s*(?:해\s*)?"
    r"(?:드릴|드리기|할|하기)\s*(?:수\s*(?:는\s*)?없|(?:가\s*)?(?:어렵|어려|힘들))"
    r"|도와\s*드(?:릴\s*(?:수|것|내용)[이은는도]?\s*없|리기\s*(?:가\s*)?(?:어렵|어려|힘들))|들어\s*드릴\s*수\s*없"
    r"|(?:것|내용|질문)(?:에\s*(?:대해서?|관해)|에)?만\s*(?:답|상담|도와|안내)"
)
# … and what is so only where the speaker's own knowledge is meant: "벽 속은 눈으로 확인할 수
# 없습니다" declines nothing.
_LACKS = re.compile(
    r"(?:알|확인할|찾을|제공할)\s*수\s*(?:는\s*|가\s*)?없(?:습|어|네|음|는\s*(?:정보|내용|질문))"
    r"|찾지\s*못|(?:나와|포함(?:되어|돼))\s*있지\s*않|(?:정보|내용|자료|답변?)[이가은는]?\s*없(?:습|어|네|음)"
)
_OWN = re.compile(r"제가|저는|저도|저로서|자료|정보|데이터|질문|말씀")
_HEAD = 2  # sentences in which an answer that declines does so


def declines(answer: str) -> bool:
    """Return whether an answer says that it has none; an empty one is none."""
    return not answer.strip() or any(
        is_refusal(sentence)
        or _DECLINES.search(sentence)
        or (_LACKS.search(sentence) and _OWN.search(sentence))
        for sentence in check.split_sentences(answer)[:_HEAD]
    )


def repeats(answer: str) -> bool:
    """Return whether an answer says a sentence twice or turns in a loop."""
    return check.cut_repetition(answer) is not None


def measure_overlap(references: Sequence[str], predictions: Sequence[str]) -> float:
    """Return chrF of the whole, 0 to 100: character n-grams up to 6, no words.

    Popović 2015, https://aclanthology.org/W15-3049
    """
    from sacrebleu.metrics.chrf import CHRF

    return float(
        CHRF(char_order=6, word_order=0).corpus_score(predictions, [list(references)]).score
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all lie below, between two of them where it falls so."""
    import numpy as np

    return float(np.quantile(values, share))
