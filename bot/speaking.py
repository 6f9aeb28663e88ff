"""Speaks answers in a process of its own: espeak-ng keeps its state in the process it is in."""

from dataclasses import asdict, dataclass, field
from functools import cache

import structlog

from bot.helper import Helper, HelperError, Order, serve
from bot.settings import Settings, VoiceEngine
from inference.speech.synthesis import EspeakVoice, ServerVoice, Voice, VoiceError

log = structlog.get_logger()

_LIMIT_S = 90.0


@dataclass(frozen=True, slots=True)
class Engine:
    """Which voice, and how it is reached."""

    kind: VoiceEngine
    model: str = ""
    name: str = ""
    url: str = ""
    api_key: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: Settings) -> "Engine":
        """Return the settings' voice."""
        return cls(
            settings.voice,
            settings.voice_model,
            settings.voice_name,
            settings.voice_url,
            settings.voice_api_key.get_secret_value(),
        )

    def open(self) -> Voice:
        """Return the voice."""
        if self.kind == "server":
            return ServerVoice(self.url, self.model, self.name, api_key=self.api_key)
        return EspeakVoice()


class Mouth:
    """The bot's end: one text at a time."""

    def __init__(self, engine: Engine) -> None:
        self.is_on = engine.kind != "off"
        self._engine = engine
        self._helper = Helper("bot.speaking", limit_s=_LIMIT_S)

    async def speak(self, text: str) -> bytes | None:
        """Return a voice note as OGG/Opus, None where none can be made: the text was sent."""
        try:
            answer, note = await self._helper.ask({"engine": asdict(self._engine), "text": text})
        except HelperError:
            return None
        if "error" in answer:
            log.warning("not_spoken", error=answer["error"])
            return None
        return note

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        await self._helper.close()


@cache
def _open(engine: Engine) -> Voice:
    return engine.open()


def _speak(order: Order, _: bytes) -> tuple[Order, bytes]:
    try:
        return {}, _open(Engine(**order["engine"])).speak(order["text"])
    except VoiceError as error:
        return {"error": str(error)}, b""


if __name__ == "__main__":
    serve(_speak)
