"""Speech to text: what a recogniser is, and those of a server and of Google; ours is `whisper.py`.

All take SpeechRecognition's `AudioData`. What comes out is a guess with its marks; what may be
taken for said is decided in `inference/speech/doubt.py`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

with warnings.catch_warnings():
    # It imports what leaves the standard library in Python 3.13, and has it from elsewhere there.
    warnings.simplefilter("ignore", DeprecationWarning)
    import speech_recognition as sr

from inference.remote import open_client
from inference.speech.sound import RATE, SAMPLE_BYTES

KOREAN = "ko"

_TIMEOUT_S = 60.0
EASILY = -0.6  # log-probability of what was heard well
_UNMARKED = -0.3  # log-probability of what comes without a mark


class RecognizerError(Exception):
    """A recogniser cannot be reached, or not be started; the text is one Korean sentence."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What may have been said in a recording.

    `log_probability` is the mean over its tokens, `compression` how much shorter zlib makes the
    text (loops compress well), `speech_s` the seconds that hold a voice.
    """

    text: str
    language: str
    log_probability: float
    compression: float
    speech_s: float


class Recognizer(Protocol):
    """Turns a recording into text."""

    def recognize(self, audio: sr.AudioData) -> Guess:
        """Return the best guess. Raises `RecognizerError`."""


def mark(segments: Sequence[Any]) -> tuple[float, float]:
    """Return the mean log-probability, weighed by length, and the worst compression."""
    if not segments:
        return 0.0, 1.0
    lengths = [max(segment.end - segment.start, 0.01) for segment in segments]
    total = sum(s.avg_logprob * length for s, length in zip(segments, lengths, strict=True))
    return total / sum(lengths), max(segment.compression_ratio for segment in segments)


class ServerRecognizer:
    """A server's `/v1/audio/transcriptions` (vLLM, OpenAI).

    https://platform.openai.com/docs/api-reference/audio/createTranscription
    """

    def __init__(self, url: str, model: str, *, api_key: str = "") -> None:
        self._model = model
        self._client = open_client(url, api_key, timeout_s=_TIMEOUT_S)

    def recognize(self, audio: sr.AudioData) -> Guess:
        """Ask the server. Raises `RecognizerError`."""
        try:
            answer = self._client.post(
                "audio/transcriptions",
                data={"model": self._model, "language": KOREAN, "response_format": "verbose_json"},
                files={"file": ("voice.wav", audio.get_wav_data(), "audio/wav")},
            )
            answer.raise_for_status()
            body = answer.json()
            text = str(body["text"]).strip()
            segments = [_ServerSegment.read(segment) for segment in body.get("segments") or []]
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
            msg = f"음성 인식 서버에 닿지 못해요 (SPEECH_URL): {type(error).__name__}"
            raise RecognizerError(msg) from error
        marks = mark(segments) if segments else (_UNMARKED, 1.0)
        language = str(body.get("language") or KOREAN)[:2]  # "ko", or OpenAI's "korean"
        return Guess(text, language, *marks, audio_seconds(audio))


@dataclass(frozen=True, slots=True)
class _ServerSegment:
    start: float
    end: float
    avg_logprob: float
    compression_ratio: float

    @classmethod
    def read(cls, segment: dict[str, Any]) -> "_ServerSegment":
        return cls(
            float(segment.get("start") or 0),
            float(segment.get("end") or 0),
            float(segment.get("avg_logprob", _UNMARKED)),
            float(segment.get("compression_ratio", 1.0)),
        )


class GoogleRecognizer:
    """Google's web API, as SpeechRecognition asks it; the recording leaves the shop."""

    def recognize(self, audio: sr.AudioData) -> Guess:
        """Ask Google. Raises `RecognizerError`."""
        try:
            text = sr.Recognizer().recognize_google(audio, language="ko-KR")
        except sr.UnknownValueError:
            text = ""
        except (sr.RequestError, OSError) as error:
            msg = "구글 음성 인식에 닿지 못해요."
            raise RecognizerError(msg) from error
        return Guess(str(text), KOREAN, _UNMARKED, 1.0, audio_seconds(audio))


def as_audio(samples: bytes) -> sr.AudioData:
    """Return the samples of `inference/speech/sound.py` in the form that recognisers take."""
    return sr.AudioData(samples, RATE, SAMPLE_BYTES)


def audio_seconds(audio: sr.AudioData) -> float:
    """Return how long a recording is."""
    seconds: float = len(audio.frame_data) / (audio.sample_rate * audio.sample_width)
    return seconds
