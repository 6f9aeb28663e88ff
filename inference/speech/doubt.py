"""What of a recogniser's guesses may be taken for said: Whisper invents where nothing is."""

import re
from typing import Literal

from inference.speech.recognition import EASILY, KOREAN, Guess
from inference.text import normalize

Verdict = Literal["sure", "unsure", "nothing", "foreign"]

# Log-probability below which nothing was heard. On human clips right texts had -0.25 to -0.5,
# half-wrong ones -0.5 to -1.0; what was made of noise or a robot's voice less, or it was a loop.
_HEARD = -1.1
_LOOP = 2.4  # compression above which a text repeats itself (Whisper's own bound)
_FASTEST = 14.0  # letters a second of voice; people speak 4 to 9
_SHORTEST_S = 0.25

# What Whisper says of silence and noise in Korean: the ends of the videos it has learnt from.
_PHANTOMS = re.compile(
    r"구독.{0,6}좋아요|좋아요.{0,6}구독|시청해.{0,4}(?:주셔서|주신)|(?:다음|오늘).{0,4}영상|영상.{0,6}(?:만나|뵙|봬)"
    r"|자막.{0,8}(?:제공|제작|by)|한글자막|mbc.{0,4}뉴스|kbs.{0,4}뉴스|sbs.{0,4}뉴스|뉴스.{0,10}입니다$|아멘|알림.{0,4}설정"
    r"|이\s*시각.{0,6}세계|끝까지.{0,6}(?:시청|봐)|thankyouforwatching|subtitlesby|amara"
)
_HANGUL, _LATIN = re.compile(r"[가-힣]"), re.compile(r"[A-Za-z\u3040-\u30ff\u4e00-\u9fff]")


def judge(guess: Guess) -> Verdict:
    """Return what a guess is worth."""
    text = normalize(guess.text)
    bare = re.sub(r"\W", "", text)
    if not bare or guess.speech_s < _SHORTEST_S:
        return "nothing"
    if guess.compression > _LOOP or _is_repetition(text) or _PHANTOMS.search(bare):
        return "nothing"
    hangul, foreign = len(_HANGUL.findall(text)), len(_LATIN.findall(text))
    if guess.language != KOREAN or foreign > hangul:
        return "foreign" if guess.language != KOREAN else "nothing"
    if len(bare) / guess.speech_s > _FASTEST or guess.log_probability < _HEARD:
        return "nothing"
    return "sure" if guess.log_probability >= EASILY else "unsure"


def _is_repetition(text: str) -> bool:
    """Return whether a piece comes four times in a row, as in "오, 오, 오, 오"."""
    return re.search(r"(.{1,12}?)[\s,.]*(?:\1[\s,.]*){3,}", text) is not None
