"""Text to speech: espeak-ng on this machine, or a server's voice, behind one form."""

import ctypes
import re
from functools import cache
from typing import Protocol

import httpx

from inference.remote import open_client
from inference.speech.sound import encode_opus

_TIMEOUT_S = 60.0
_LONGEST = 700  # letters that anybody listens to
_SPOKEN = re.compile(r"[^0-9A-Za-z가-힣.,?!%~\s]+")
_UNITS = {"㎡": " 제곱미터", "~": "에서 ", "℃": "도", "%": " 퍼센트"}

# https://github.com/espeak-ng/espeak-ng/blob/master/src/include/espeak-ng/speak_lib.h
_SYNCHRONOUS, _UTF8 = 2, 1
_OK = 0


class VoiceError(Exception):
    """Nothing can be spoken; the text is one Korean sentence for the operator."""


class Voice(Protocol):
    """Turns text into a voice note."""

    def speak(self, text: str) -> bytes:
        """Return OGG/Opus. Raises `VoiceError`."""


def readable(text: str) -> str:
    """Return what of an answer is read aloud: no marks, no pictures, whole sentences."""
    for unit, words in _UNITS.items():
        text = text.replace(unit, words)
    text = re.sub(r"\s+", " ", _SPOKEN.sub(" ", text)).strip()
    if len(text) <= _LONGEST:
        return text
    end = max(text.rfind(mark, 0, _LONGEST) for mark in ".?!")
    return text[: end + 1] or text[:_LONGEST]


class EspeakVoice:
    """espeak-ng's Korean: understood, and plainly a machine's. For a process of its own."""

    def speak(self, text: str) -> bytes:
        """Return OGG/Opus. Raises `VoiceError`."""
        library, rate = _espeak()
        samples = bytearray()

        def take(wave: "ctypes._Pointer[ctypes.c_short]", count: int, _: int | None) -> int:
            if wave and count > 0:
                samples.extend(ctypes.string_at(wave, count * 2))
            return 0

        callback = _CALLBACK(take)  # must live as long as the call
        library.espeak_SetSynthCallback(callback)
        encoded = readable(text).encode()
        arguments = (encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
        if library.espeak_Synth(*arguments) != _OK or not samples:
            msg = "음성을 만들지 못했어요."
            raise VoiceError(msg)
        return encode_opus(bytes(samples), rate)


_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


@cache
def _espeak() -> tuple[ctypes.CDLL, int]:
    """Load the library, once: it keeps its state for itself. Returns it and its sample rate."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0 or library.espeak_SetVoiceByName(b"ko") != _OK:
        msg = "espeak-ng를 열 수 없어요."
        raise VoiceError(msg)
    return library, int(rate)


class ServerVoice:
    """A server's `/v1/audio/speech`.

    https://platform.openai.com/docs/api-reference/audio/createSpeech
    """

    def __init__(self, url: str, model: str, name: str, *, api_key: str = "") -> None:
        self._asked = {"model": model, "voice": name, "response_format": "opus"}
        self._client = open_client(url, api_key, timeout_s=_TIMEOUT_S)

    def speak(self, text: str) -> bytes:
        """Return OGG/Opus. Raises `VoiceError`."""
        try:
            answer = self._client.post(
                "audio/speech", json={**self._asked, "input": readable(text)}
            )
            answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            msg = f"음성 답변 서버에 닿지 못해요 (VOICE_URL): {type(error).__name__}"
            raise VoiceError(msg) from error
        if not answer.content.startswith(b"OggS"):
            msg = "음성 답변 서버가 OGG/Opus를 주지 않아요 (VOICE_URL)."
            raise VoiceError(msg)
        return answer.content
