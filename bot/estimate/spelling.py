"""Sets right how the words of the trade are mistyped, so that the rules need not know it."""

import re
import unicodedata
from functools import lru_cache

from rapidfuzz.distance import OSA

# What a distance of one letter does not find, or what stands within a word.
_MISTYPED = {
    r"[실씰싥싫]\s?[크쿠그킈](?=$|\s|[,.!?/(로으루벽요합아천는은가도랑이하말견얼지프고중기])"
    r"|(?<![가-힣])[실씰]\s[크쿠]\s": "실크",
    r"(?<![가-힣])(?:함지|핮지|합쥐|홥지|핪지|햡지)|(?<=[폭복푹])(?:함지|합쥐)|합찌": "합지",
    r"천정|천짱|쳔장|천쟝|쳔정": "천장",
    r"벽찌|벽쥐|백지(?=를|를|는|가)": "벽지",
    r"퍼디|퍼터(?!치)|빠데|빠대|파데": "퍼티",
    r"소푹|쇼폭": "소폭",
    r"장푹": "장폭",
    r"광푹|광복(?=\s?(?:합지|합찌))": "광폭",
    r"덧빵|덥방|덛방|덫방|덧바[앙]": "덧방",
    r"확짱|홧장|학장(?=한|했|형)": "확장",
    r"뜨더|뜻어|뜾어": "뜯어",
    r"실평[스쑤]": "실평수",
    r"아팟(?!트)": "아파트",
    r"(?<=\d)\s?타임": "타입",
    r"(?<=\d)편(?=\s|요|이|$)": "평",
    r"(?<=[\d십백이삼사오육칠팔구물무른흔쉰순든한두세네섯곱덟덜홉])(\s?)(?:펑|퓽|평평)": r"\1평",
    r"딸(?=에|\s|말|초|안)": "달",
    r"(?<=[있없했겠])(?:쓰|서)(?=요)": "어",
    r"상관업": "상관없",
    r"(?<=[이가은는도\s])업(?=어|는|음|슴|고)": "없",
    r"까자(?=\s|요|$)": "까지",
    r"걍": "그냥",
    r"빌란(?=데)": "빌라인",
    r"전[욤욘뇽](?=\s?\d)": "전용",
    r"벽[먄맘](?=\s|요|$)": "벽만",
    r"드러가": "들어가",
    r"(?<=[\d한두세네])게(?=만|\s)": "개",
    r"햇(?=어|습|는|다|고)": "했",
    r"급해오": "급해요",
    r"엎(?=어|는)": "없",
}
_FIXES = [(re.compile(pattern), right) for pattern, right in _MISTYPED.items()]
_LONG_WORDS = (
    *("아파트", "프리미엄", "곰팡이", "보급형", "브랜드", "오피스텔", "사무실", "제곱미터"),
    *("베란다", "발코니", "다세대", "미용실", "거주중"),
)
# Short words are mended at the beginning of a word only, and not where they stand one letter
# from another that people use.
_SHORT_WORDS = {
    "실크": {"싱크"},
    "합지": {"하지", "한지", "할지", "합치", "합니", "합시", "합자"},
    "천장": {"찬장", "전장", "청장", "천상"},
    "빈집": set(),
    "타입": {"타일", "타인", "가입"},
    "확장": {"확정", "화장", "학장"},
    "빌라": {"빌리", "발라", "필라", "블라"},
    "주택": {"주책"},
    "상가": {"상자", "장가", "상사", "생가", "산가", "상계"},
    "철거": {"철저", "설거"},
    "공실": {"교실", "공식", "공시"},
    "퍼티": {"파티"},
}
_WORD_START = re.compile(r"(?<![가-힣])[가-힣]{2}")
_STRAY_LETTERS = re.compile("[\u1100-\u11ff]+")  # what NFKC makes of ㅡ, ㅋㅋ


_LONGEST_MENDED = 300  # characters; nobody asks for an estimate in more


@lru_cache(maxsize=256)
def correct(text: str) -> str:
    """Return `text` in lower case, with single spaces and the trade's words spelled right."""
    text = _STRAY_LETTERS.sub("", unicodedata.normalize("NFKC", text)).lower()
    text = " ".join(text.split())
    if len(text) > _LONGEST_MENDED:
        return text
    for pattern, right in _FIXES:
        text = pattern.sub(right, text)
    for word in _LONG_WORDS:
        text = _mend(text, word)
    return _WORD_START.sub(_mend_short, text)


def _mend_short(found: re.Match[str]) -> str:
    for word, others in _SHORT_WORDS.items():
        if found[0] == word or found[0] in others:
            return found[0]
        if OSA.distance(_letters(found[0]), _letters(word), score_cutoff=1) == 1:
            return word
    return found[0]


def _mend(text: str, word: str) -> str:
    """Put `word` where one letter (자모) of it was mistyped."""
    length, right = len(word), _letters(word)
    for at in range(len(text) - length + 1):
        window = text[at : at + length]
        if window != word and OSA.distance(_letters(window), right, score_cutoff=1) == 1:
            return _mend(text[:at] + word + text[at + length :], word)
    return text


def _letters(text: str) -> str:
    return unicodedata.normalize("NFD", text)
