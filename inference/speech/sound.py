"""Recorded sound of any kind to plain samples, within limits."""

import subprocess
import tempfile
import warnings
from typing import Literal

import imageio_ffmpeg

with warnings.catch_warnings():
    # It looks for an ffmpeg on the path, and `audioop` leaves the standard library in 3.13.
    warnings.simplefilter("ignore")
    from pydub import AudioSegment, effects

RATE = 16_000  # samples a second, as recognisers want them
SAMPLE_BYTES = 2

# Naming the formats keeps ffmpeg away from playlists, which would make it open other files or
# addresses; for the same reason it may only use the file and the pipe that it is given.
FORMATS = "aac,aiff,amr,caf,flac,matroska,mov,mp3,ogg,wav"
SAFE_INPUT = (
    *("-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"),
    *("-format_whitelist", FORMATS),
)
_LIMIT_S = 60.0  # that decoding may take
_SILENT_DBFS = -55.0  # below this a recording holds nothing but its own noise
_HEADROOM_DB = 3.0

Flaw = Literal["broken", "long", "silent"]


class SoundError(Exception):
    """A recording cannot be used; `flaw` says why."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw: Flaw = flaw


def decode(data: bytes, *, most_s: float) -> AudioSegment:
    """Return a recording as levelled 16 kHz mono samples of 16 bits.

    Raises `SoundError` where it is none, longer than `most_s` seconds, or silent.
    """
    sound = AudioSegment(
        data=_run_ffmpeg(data, most_s + 1), sample_width=SAMPLE_BYTES, frame_rate=RATE, channels=1
    )
    if not len(sound):
        raise SoundError("broken")
    if sound.duration_seconds > most_s:
        raise SoundError("long")
    if sound.dBFS < _SILENT_DBFS:
        raise SoundError("silent")
    levelled: AudioSegment = effects.normalize(sound, _HEADROOM_DB)
    return levelled


def _run_ffmpeg(data: bytes, most_s: float) -> bytes:
    """Return the raw samples of at most `most_s` seconds.

    The file has no name, so that it goes with the process, however that ends; a pipe would do
    for all formats but MP4, whose index may lie at its end.
    """
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        command = [
            *(imageio_ffmpeg.get_ffmpeg_exe(), *SAFE_INPUT, "-i", f"/dev/fd/{file.fileno()}"),
            *("-map", "0:a:0", "-t", str(most_s), "-ac", "1", "-ar", str(RATE)),
            *("-f", "s16le", "pipe:1"),
        ]
        try:
            result = subprocess.run(  # noqa: S603 - fixed words
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[file.fileno()],
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SoundError("broken") from error
    # What was read before a file broke off is worth hearing.
    samples = result.stdout[: len(result.stdout) // SAMPLE_BYTES * SAMPLE_BYTES]
    if not samples:
        raise SoundError("broken")
    return samples


def encode_opus(samples: bytes, rate: int) -> bytes:
    """Return mono samples of 16 bits as OGG/Opus, Telegram's format of voice notes.

    https://core.telegram.org/bots/api#sendvoice
    """
    result = subprocess.run(  # noqa: S603 - fixed words
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"),
            *("-f", "s16le", "-ar", str(rate), "-ac", "1", "-i", "pipe:0"),
            *("-c:a", "libopus", "-b:a", "32k", "-ar", "48000", "-f", "ogg", "pipe:1"),
        ],
        input=samples,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=_LIMIT_S,
        check=True,
    )
    return result.stdout
