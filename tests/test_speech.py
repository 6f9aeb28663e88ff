"""What may be taken for said: the gate, the real Whisper on what is no speech, other ears."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.hearing import Ears, Engine, hear
from inference import models
from inference.speech.doubt import judge
from inference.speech.recognition import Guess, RecognizerError
from inference.speech.sound import decode
from inference.speech.synthesis import EspeakVoice, readable
from tests.sounds import FORMATS, Samples, encode, music, noise, tone
from tests.speechserver import MODEL, SpeechServer

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "speech-ko"

whisper = pytest.mark.model
needs_whisper = pytest.mark.skipif(
    not models.load_manifest()[models.SPEECH_MODEL].is_fetched(),
    reason="the model is not fetched: deepbot models fetch",
)


def local() -> Engine:
    return Engine("local", str(models.load_manifest()[models.SPEECH_MODEL].path().parent))


# The gate


def guess(
    text: str,
    log_probability: float = -0.3,
    *,
    language: str = "ko",
    compression: float = 1.0,
    speech_s: float = 3.0,
) -> Guess:
    return Guess(text, language, log_probability, compression, speech_s)


@pytest.mark.parametrize(
    "text",
    [
        "벽지에 곰팡이가 생겼는데 어떻게 해야 하나요",
        "스물네 평이요",
        "네 실크로 할게요",
        "도배 영상을 보고 따라 했는데 벽지가 울어요",
        "알림장에 붙은 벽지 샘플이 좋아요",
    ],
)
def test_what_was_heard_well_is_taken_for_said(text: str) -> None:
    assert judge(guess(text)) == "sure"
    assert judge(guess(text, -0.8)) == "unsure"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " … ",
        "구독과 좋아요 부탁드립니다",
        "시청해주셔서 감사합니다.",
        "다음 영상에서 만나요",
        "MBC 뉴스 김성현입니다.",
        "한글자막 by 한효정",
        "오, 오, 오, 오, 오",
        "석고보드, 석고보드, 석고보드, 석고보드",
        "Thank you for watching",
    ],
)
def test_phantoms_and_loops_are_not(text: str) -> None:
    assert judge(guess(text)) == "nothing"


def test_the_marks_of_a_bad_guess() -> None:
    fine = "벽지 이음매가 벌어졌어요"
    assert judge(guess(fine, -1.3)) == "nothing"
    assert judge(guess(fine, compression=3.0)) == "nothing"
    assert judge(guess(fine, speech_s=0.1)) == "nothing"
    assert judge(guess(fine * 5, speech_s=1.0)) == "nothing"  # nobody speaks so fast
    assert judge(guess("How much is it", language="en")) == "foreign"


# The real Whisper


@whisper
@needs_whisper
@pytest.mark.parametrize(
    "samples",
    [noise(), noise(loudness=0.01), music(), tone(4.0), noise(0.3)],
    ids=["noise", "quiet noise", "music", "hum", "blip"],
)
def test_whisper_is_not_believed_where_nobody_speaks(samples: Samples) -> None:
    heard = hear(encode(samples), local(), most_s=60)
    assert heard.outcome in {"nothing", "silent"}


@whisper
@needs_whisper
@pytest.mark.parametrize(
    "text",
    [
        "도배지에 곰팡이가 생겼는데 어떻게 해야 하나요",
        "실크 벽지 이음매가 벌어졌어요",
        "아",
        "이천이십육년 십일월 이십오일에 도배를 했는데 벌써 떴어요 어떡하죠",
    ],
)
def test_what_is_made_of_a_robots_voice_is_not_believed(text: str) -> None:
    """Synthetic speech comes back as nonsense: nothing of it is taken for said unasked."""
    assert hear(EspeakVoice().speak(text), local(), most_s=60).outcome != "sure"


@whisper
@needs_whisper
@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not on this machine")
def test_people_are_understood_quickly() -> None:
    lines = (SHARED / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    for name in [line.split("\t")[0] for line in lines]:
        heard = hear((SHARED / name).read_bytes(), local(), most_s=60)
        assert heard.outcome in {"sure", "unsure"}, heard
    result = CliRunner().invoke(app, ["bench", "speech", str(SHARED)])
    rates = [float(line.split()[4].rstrip(",")) for line in result.stdout.splitlines()]
    assert len(rates) == 3
    assert min(rates) <= 0.25


# Other recognisers, and the process


async def test_a_servers_transcript(tmp_path: Path) -> None:
    async with SpeechServer("합지로 해 주세요").serve() as server:
        ears = Ears(Engine("server", MODEL, server.url), most_s=60)
        try:
            heard = await ears.hear(encode(tone(2.0)))
            assert (heard.outcome, heard.text) == ("sure", "합지로 해 주세요")
            assert server.seconds == [pytest.approx(2.0, abs=0.1)]
            server.language = "en"
            assert (await ears.hear(encode(tone(2.0)))).outcome == "foreign"
            server.status = 500
            with pytest.raises(RecognizerError):
                await ears.hear(encode(tone(2.0)))
        finally:
            await ears.close()


async def test_what_is_hostile_harms_nobody_else() -> None:
    async with SpeechServer("네").serve() as server:
        ears = Ears(Engine("server", MODEL, server.url), most_s=3)
        try:
            heard = await asyncio.gather(
                *(ears.hear(content) for content in (b"", b"OggS" * 999, encode(tone(9.0)))),
                ears.hear(encode(tone(1.0))),
            )
        finally:
            await ears.close()
    assert [each.outcome for each in heard] == ["broken", "broken", "long", "sure"]


# `deepbot transcribe`


@whisper
@needs_whisper
@pytest.mark.parametrize("kind", FORMATS)
def test_transcribe_takes_the_usual_formats(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"sound.{kind}"
    path.write_bytes(encode(noise(2.0), kind))
    result = CliRunner().invoke(app, ["transcribe", str(path), "--json"])
    assert result.exit_code == 0, result.output
    heard = json.loads(result.stdout)
    assert set(heard) == {"outcome", "text", "language", "confidence", "seconds", "taken_s"}
    assert heard["outcome"] == "nothing"
    assert heard["seconds"] == pytest.approx(2.0, abs=0.15)


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7 no sound", bytes(1000)])
def test_transcribe_refuses_anything_else(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.ogg"
    path.write_bytes(content)
    result = CliRunner().invoke(app, ["transcribe", str(path)])
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    missing = CliRunner().invoke(app, ["transcribe", str(tmp_path / "none.ogg")])
    assert missing.exit_code == 2


# Speaking


def test_an_answer_is_read_without_its_marks() -> None:
    text = readable("**창문**을 열어 두세요! 😊\n\n1) 1㎡ 이상이면 2~3일")
    assert text == "창문 을 열어 두세요! 1 1 제곱미터 이상이면 2에서 3일"
    assert len(readable("벽지를 말려 주세요. " * 200)) <= 700
    assert readable("벽지를 말려 주세요. " * 200).endswith(".")


def test_espeak_makes_a_voice_note() -> None:
    note = EspeakVoice().speak("도배 후에는 창문을 조금만 열어 두세요.")
    assert note.startswith(b"OggS")
    assert b"OpusHead" in note[:200]
    assert 1.5 < decode(note, most_s=60).duration_seconds < 8
