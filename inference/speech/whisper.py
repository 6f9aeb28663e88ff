"""Whisper on this machine, loaded once. https://github.com/SYSTRAN/faster-whisper"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from faster_whisper import WhisperModel
from faster_whisper.vad import get_speech_timestamps

from inference.speech.recognition import EASILY, KOREAN, Guess, RecognizerError, mark

if TYPE_CHECKING:
    import speech_recognition as sr
    from ctranslate2 import StorageView

Samples = npt.NDArray[np.float32]

# Of a text that grows without end no more is written than anybody could have said.
_TOKENS, _TOKENS_A_SECOND = 20, 12
# What Whisper holds of a window, and beside hotwords (it takes half of it for those).
_MOST_TOKENS, _MOST_BESIDE_HOTWORDS = 440, 210
_IS_LANGUAGE = 0.6  # probability of another from which it is that
# Frames of 10 ms: the least that is encoded, and what stays of the silence after the sound. Shorter
# windows are faster, and less is understood (docs/voice.md).
_LEAST_FRAMES, _MARGIN_FRAMES = 1500, 200
_THREADS = 1  # two wait for each other longer than they work, and leave the bot no core


class _ShortWindow(WhisperModel):  # type: ignore[misc] # it has no types
    """Encodes no more than it needs of the 30 s to which all sound is filled up.

    `first` is what was encoded first since it was last forgotten.
    """

    first: "StorageView | None" = None

    def encode(self, features: npt.NDArray[np.float32]) -> "StorageView":
        frames = np.flatnonzero(features.any(axis=-2))
        used = int(frames[-1]) + 1 if frames.size else 0
        kept = max(_LEAST_FRAMES, used + _MARGIN_FRAMES)
        kept += kept % 2  # the encoder halves them
        encoded = super().encode(features[..., :kept])
        if self.first is None:
            self.first = encoded
        return encoded

    def name_language(self) -> tuple[str, float]:
        """Return the language of what was encoded first, and how likely it is that."""
        token, probability = self.model.detect_language(self.first)[0][0]
        return token.strip("<|>"), probability


class LocalRecognizer:
    """Whisper by CTranslate2, for SpeechRecognition's `AudioData`."""

    def __init__(self, model: Path | str, *, beam: int, hotwords: str = "") -> None:
        self._beam, self._hotwords = beam, hotwords or None
        self._most_tokens = _MOST_BESIDE_HOTWORDS if hotwords else _MOST_TOKENS
        try:
            self._model = _ShortWindow(
                str(model), device="cpu", compute_type="int8", cpu_threads=_THREADS
            )
        except (OSError, ValueError, RuntimeError) as error:
            msg = f"음성 인식 모델을 열 수 없어요 (SPEECH_MODEL): {model}"
            raise RecognizerError(msg) from error

    def recognize(self, audio: "sr.AudioData") -> Guess:
        """Return the best guess; no text where no voice is heard."""
        samples = _samples(audio)
        spans = get_speech_timestamps(samples)
        speech_s = sum(span["end"] - span["start"] for span in spans) / audio.sample_rate
        if not spans:
            return Guess("", KOREAN, 0.0, 1.0, 0.0)
        self._model.first = None
        heard, _ = self._model.transcribe(
            samples,
            language=KOREAN,
            beam_size=self._beam,
            temperature=0.0,  # at others it invents
            condition_on_previous_text=False,  # else a loop feeds itself
            vad_filter=True,
            hotwords=self._hotwords,
            max_new_tokens=min(self._most_tokens, round(_TOKENS + _TOKENS_A_SECOND * speech_s)),
        )
        segments = list(heard)
        text = "".join(segment.text for segment in segments).strip()
        return Guess(text, self._language(segments), *mark(segments), speech_s)

    def _language(self, segments: Sequence[Any]) -> str:
        """Return the language: looked for only where Korean was not heard with ease."""
        if self._model.first is None or (segments and mark(segments)[0] >= EASILY):
            return KOREAN
        language, probability = self._model.name_language()
        return language if probability > _IS_LANGUAGE else KOREAN


def _samples(audio: "sr.AudioData") -> Samples:
    samples: Samples = np.frombuffer(audio.get_raw_data(), np.int16).astype(np.float32)
    samples /= 32768
    return samples
