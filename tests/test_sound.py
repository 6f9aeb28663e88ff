"""Recordings of any kind to samples: the real ffmpeg, within limits, and whatever comes."""

import os
import zipfile
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.speech.sound import RATE, SoundError, decode, encode_opus
from tests.sounds import FORMATS, encode, noise, tone

HERE = Path(__file__)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_usual_format_becomes_the_same_samples(kind: str) -> None:
    sound = decode(encode(tone(2.0), kind), most_s=60)
    assert (sound.frame_rate, sound.channels, sound.sample_width) == (RATE, 1, 2)
    assert sound.duration_seconds == pytest.approx(2.0, abs=0.15)
    assert sound.max_dBFS == pytest.approx(-3.0, abs=0.2)  # levelled


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (48_000, 2), (96_000, 2)])
def test_rates_and_channels_do_not_matter(rate: int, channels: int) -> None:
    sound = decode(encode(tone(1.0), "wav", rate=rate, channels=channels), most_s=60)
    assert sound.duration_seconds == pytest.approx(1.0, abs=0.05)


def test_a_quiet_voice_is_lifted_and_silence_is_not() -> None:
    assert decode(encode(0.05 * tone(), "wav"), most_s=60).max_dBFS == pytest.approx(-3, abs=0.3)
    with pytest.raises(SoundError) as caught:
        decode(encode(noise(1.0, 0.0003), "wav"), most_s=60)
    assert caught.value.flaw == "silent"


def test_what_is_too_long_is_not_read_to_its_end() -> None:
    minute = encode(tone(60.0), "wav")
    two_hours = minute + minute[-60 * RATE * 2 :] * 119
    with pytest.raises(SoundError) as caught:
        decode(two_hours, most_s=30)
    assert caught.value.flaw == "long"


def bomb() -> bytes:
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("voice.ogg", bytes(50_000_000))
    return archive.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"OggS",
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        os.urandom(20_000),
        b"OggS" + os.urandom(20_000),
        bomb(),
        HERE.read_bytes(),
        f"#EXTM3U\n#EXTINF:1,\nfile://{HERE}\n".encode(),
        f"ffconcat version 1.0\nfile {HERE}\n".encode(),
        encode(tone(0.0), "wav"),
    ],
    ids=[
        "empty",
        "magic",
        "wav head",
        "random",
        "ogg random",
        "zip bomb",
        "text",
        "m3u",
        "concat",
        "0 s",
    ],
)
def test_what_is_no_sound_is_broken(content: bytes) -> None:
    with pytest.raises(SoundError) as caught:
        decode(content, most_s=60)
    assert caught.value.flaw == "broken"


WHOLE = encode(tone(1.0), "ogg")


@given(cut=st.integers(0, len(WHOLE)), at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
@settings(max_examples=40)
def test_damaged_files_are_heard_or_refused(cut: int, at: int, byte: int) -> None:
    """Never a crash, and never more than the limit."""
    damaged = bytearray(WHOLE)
    damaged[at] = byte
    try:
        sound = decode(bytes(damaged[:cut]), most_s=5)
    except SoundError:
        return
    assert sound.duration_seconds <= 5


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    decode(WHOLE, most_s=60)
    with pytest.raises(SoundError):
        decode(b"nothing", most_s=60)
    assert list(tmp_path.iterdir()) == []
    assert not [child for child in psutil.Process().children() if "ffmpeg" in child.name()]


def test_opus_comes_back() -> None:
    samples = decode(WHOLE, most_s=60).raw_data
    note = encode_opus(samples, RATE)
    assert note.startswith(b"OggS")
    assert decode(note, most_s=60).duration_seconds == pytest.approx(1.0, abs=0.1)
