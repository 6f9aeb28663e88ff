"""Hears recordings in a process of its own, so that text chats never wait for sound.

What is broken, hostile or too long ends there, too.
"""

import math
import time
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Literal

from bot.helper import Helper, HelperError, HelperTimeoutError, Order, serve
from bot.settings import Settings, SpeechEngine
from inference import models
from inference.speech.doubt import Verdict, judge
from inference.speech.recognition import (
    GoogleRecognizer,
    Recognizer,
    RecognizerError,
    ServerRecognizer,
    as_audio,
)
from inference.speech.sound import SoundError, decode

# The last three before it is heard at all: too large to fetch, not there, no recogniser.
Outcome = Verdict | Literal["broken", "long", "silent", "big", "gone", "away"]

MOST_BYTES = 20 * 1024 * 1024  # https://core.telegram.org/bots/api#getfile
_LIMIT_S, _LIMIT_FOR_A_SECOND_S = 120.0, 2.0  # for a recording, and each second of it


@dataclass(frozen=True, slots=True)
class Engine:
    """Which recogniser, and how it is reached."""

    kind: SpeechEngine
    model: str
    url: str = ""
    api_key: str = field(default="", repr=False)
    beam: int = 2
    hotwords: str = ""

    @classmethod
    def of(cls, settings: Settings) -> "Engine":
        """Return the settings' recogniser."""
        return cls(
            settings.speech,
            settings.speech_model or str(models.load_manifest()[models.SPEECH_MODEL].path().parent),
            settings.speech_url,
            settings.speech_api_key.get_secret_value(),
            hotwords=settings.speech_hotwords,
        )

    def open(self) -> Recognizer:
        """Load the recogniser. Raises `RecognizerError`."""
        if self.kind == "server":
            return ServerRecognizer(self.url, self.model, api_key=self.api_key)
        if self.kind == "google":
            return GoogleRecognizer()
        from inference.speech.whisper import LocalRecognizer  # heavy, and no one else's need

        return LocalRecognizer(self.model, beam=self.beam, hotwords=self.hotwords)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a recording holds; times in seconds, `confidence` in 0–1."""

    outcome: Outcome
    text: str = ""
    language: str = ""
    confidence: float = 0.0
    seconds: float = 0.0
    taken_s: float = 0.0
    error: str = ""  # one Korean sentence for the operator


def hear(recording: bytes, engine: Engine, *, most_s: float) -> Heard:
    """Return what a recording of any kind says, in this process. Raises `RecognizerError`."""
    began = time.monotonic()
    try:
        sound = decode(recording, most_s=most_s)
    except SoundError as error:
        return Heard(error.flaw, taken_s=time.monotonic() - began)
    guess = _open(engine).recognize(as_audio(sound.raw_data))
    return Heard(
        judge(guess),
        guess.text,
        guess.language,
        round(math.exp(min(guess.log_probability, 0.0)), 4),
        round(sound.duration_seconds, 2),
        round(time.monotonic() - began, 3),
    )


@cache
def _open(engine: Engine) -> Recognizer:
    return engine.open()


class Ears:
    """The bot's end: one recording at a time."""

    def __init__(self, engine: Engine, *, most_s: float) -> None:
        self.most_s = most_s
        self._engine = engine
        self._helper = Helper("bot.hearing", limit_s=_LIMIT_S + _LIMIT_FOR_A_SECOND_S * most_s)

    async def hear(self, recording: bytes) -> Heard:
        """Return what a recording says; one that ends the process is broken.

        Raises `RecognizerError`.
        """
        order = {"engine": asdict(self._engine), "most_s": self.most_s}
        try:
            answer, _ = await self._helper.ask(order, recording)
        except HelperTimeoutError as error:
            msg = "음성 인식이 너무 오래 걸려요."
            raise RecognizerError(msg) from error
        except HelperError:
            return Heard("broken")
        heard = Heard(**answer)
        if heard.error:
            raise RecognizerError(heard.error)
        return heard

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        await self._helper.close()


def _hear(order: Order, recording: bytes) -> tuple[Order, bytes]:
    try:
        heard = hear(recording, Engine(**order["engine"]), most_s=order["most_s"])
    except RecognizerError as error:
        heard = Heard("nothing", error=str(error))
    return asdict(heard), b""


if __name__ == "__main__":
    serve(_hear)
