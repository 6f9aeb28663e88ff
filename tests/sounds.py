"""Sounds to test with; none is human, so none measures recognition."""

import subprocess

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

RATE = 16_000

Samples = npt.NDArray[np.float64]

FORMATS = {
    "ogg": ("-c:a", "libopus", "-f", "ogg"),
    "mp3": ("-c:a", "libmp3lame", "-f", "mp3"),
    "m4a": ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4"),
    "wav": ("-f", "wav"),
    "webm": ("-c:a", "libopus", "-f", "webm"),
}


def tone(seconds: float = 1.0) -> Samples:
    """Return a hum that swells, loud enough to be no silence."""
    at = np.arange(round(seconds * RATE)) / RATE
    hum: Samples = 0.3 * np.sin(2 * np.pi * 220 * at) * (1 + np.sin(2 * np.pi * 3 * at)) / 2
    return hum


def noise(seconds: float = 4.0, loudness: float = 0.1) -> Samples:
    """Return white noise."""
    return np.random.default_rng(0).normal(0, loudness, round(seconds * RATE))


def music(seconds: float = 4.0) -> Samples:
    """Return a scale of plucked notes, over and over."""
    at = np.arange(RATE // 4) / RATE
    notes = [
        0.3 * np.sin(2 * np.pi * f * at) * np.exp(-6 * at) for f in (262, 294, 330, 349, 392, 440)
    ]
    whole = np.concatenate(notes * round(seconds + 1))
    return whole[: round(seconds * RATE)]


def encode(samples: Samples, kind: str = "ogg", *, rate: int = RATE, channels: int = 1) -> bytes:
    """Return samples as a file of one of `FORMATS`."""
    raw = (np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes()
    return subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "s16le", "-ar", str(RATE)),
            *("-ac", "1", "-i", "pipe:0", "-ar", str(rate), "-ac", str(channels)),
            *(*FORMATS[kind], "pipe:1"),
        ],
        input=raw,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
