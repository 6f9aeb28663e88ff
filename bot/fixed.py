"""The fixed answers to messages that no knowledge is needed for; `fixed.toml` holds them."""

import math
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from inference.text import normalize

HUMAN = "human"  # the kind that wants a person

# The plainest ways to ask for one, spaces left out; the examples of the kind know the others.
# "바꿔 주세요" is said of wallpaper, too: whoever is to come must stand right before it.
_LEADING = "(?:안녕하세요|저기요?|혹시|그냥|빨리|지금|됐고|진짜|실제|봇말고|로봇말고)*"
_WHO = "(?:사람|상담원|상담사|직원|사장|실장|팀장|담당자|책임자|관리자|매니저)(?:님|분)?"
_CASE = "(?:이랑|랑|과|와|하고|께|한테|에게|으로|로|을|를)?(?:좀|직접|바로|빨리|당장|한번|제발)*"
_PLEASE = "(?:줘요?|주세요|주십시오|주시겠어요|주실래요|주실수있나요|주실수있을까요|줄래요?|주라)"
_WISH = (
    "(?:할래요?|하자고?요?|하게해주세요|할수있나요|할수있을까요|부탁(?:해요|드려요|드립니다|합니다)|원해요"
    "|(?:하고|나누고)?싶(?:어요?|습니다|은데요?|네요))"
)
_WANTS_HUMAN = re.compile(
    f"{_LEADING}{_WHO}{_CASE}"
    f"(?:(?:바꿔|불러|연결(?:시켜|해)?|넘겨|돌려){_PLEASE}|연결(?:이?요|좀|좀요)?|(?:바꿔|불러)라?"
    f"|(?:연결|얘기|이야기|말씀?|대화|통화|상담)(?:을|좀)?{_WISH}"
    "|(?:물어|여쭤)(?:보고싶(?:어요?|습니다|은데요?)|볼래요?))"
)


def wants_human(text: str) -> bool:
    """Return whether a text plainly asks for a person, and nothing else."""
    return _WANTS_HUMAN.fullmatch(re.sub(r"[\s.,!?~ㅋㅎㅠㅜ]", "", normalize(text))) is not None


@dataclass(frozen=True, slots=True)
class Fixed:
    """The answer to a kind of message, which may name {phone}, and what is offered beside it."""

    answer: str
    offer: str = ""
    wins_at: float = math.inf  # log-odds of its kind that outweigh what the knowledge has


@cache
def answers() -> dict[str, Fixed]:
    """Return the fixed answers by kind."""
    document = tomllib.loads(resources.files("bot").joinpath("fixed.toml").read_text("utf-8"))
    return {kind: Fixed(**row) for kind, row in document.items()}
