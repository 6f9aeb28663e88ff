"""The fixed answers to messages that no knowledge is needed for; `fixed.toml` holds them."""

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

HUMAN = "human"  # the kind that wants a person


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
