"""`deepbot transcribe` and `deepbot bench speech`."""

import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import jiwer

from bot.errors import BadInputError, OperatorError
from bot.hearing import MOST_BYTES, Engine, Heard, hear
from bot.settings import Settings
from inference.speech.recognition import RecognizerError

Say = Callable[[str], None]

_FLAWS = {
    "broken": "소리로 읽을 수 없는 파일이에요.",
    "long": "녹음이 너무 길어요 (최대 {most_s:.0f}초, SPEECH_MAX_S).",
    "silent": "아무 소리도 없는 녹음이에요.",
}
_BEAMS = (1, 2, 5)


def transcribe(path: Path, settings: Settings, *, as_json: bool, say: Say) -> None:
    """Say what a recording holds. Raises `BadInputError`, `OperatorError`."""
    heard = _hear(path, Engine.of(settings), settings)
    if flaw := _FLAWS.get(heard.outcome):
        raise BadInputError(f"{path}: {flaw.format(most_s=settings.speech_max_s)}")
    if as_json:
        facts = asdict(heard)
        del facts["error"]
        say(json.dumps(facts, ensure_ascii=False))
        return
    say(heard.text if heard.outcome in {"sure", "unsure"} else "(알아들은 말이 없어요)")
    say(
        f"{heard.outcome}, 언어 {heard.language}, 신뢰도 {heard.confidence:.2f}, "
        f"소리 {heard.seconds:.1f}초, 걸린 시간 {heard.taken_s:.1f}초"
    )


def _hear(path: Path, engine: Engine, settings: Settings) -> Heard:
    try:
        recording = path.read_bytes()
    except OSError as error:
        msg = f"파일을 읽을 수 없어요: {path}"
        raise BadInputError(msg) from error
    if len(recording) > MOST_BYTES:
        msg = f"{path}: 파일이 너무 커요 (최대 20 MB)."
        raise BadInputError(msg)
    try:
        return hear(recording, engine, most_s=settings.speech_max_s)
    except RecognizerError as error:
        raise OperatorError(str(error)) from error


def measure(folder: Path, settings: Settings, *, say: Say) -> None:
    """Say the character error rate of a folder of clips, for each beam size.

    The folder holds `transcripts.tsv`, a line of file name, tab and text each. Raises
    `BadInputError`, `OperatorError`.
    """
    try:
        lines = (folder / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
        clips = dict(line.split("\t", 1) for line in lines if line.strip())
    except (OSError, ValueError) as error:
        msg = f"{folder}에 transcripts.tsv(파일 이름, 탭, 글)가 없어요."
        raise BadInputError(msg) from error
    for beam in _BEAMS:
        engine = replace(Engine.of(settings), beam=beam)
        first = folder / next(iter(clips))
        _hear(first, engine, settings)  # loads the model
        began = time.monotonic()
        heard = {name: _hear(folder / name, engine, settings) for name in clips}
        taken = time.monotonic() - began
        seconds = sum(each.seconds for each in heard.values())
        rate = jiwer.cer(
            [_letters(text) for text in clips.values()],
            [_letters(heard[name].text) for name in clips],
        )
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        say(
            f"beam {beam}: 글자 오류율 {rate:.3f}, 실시간의 {taken / seconds:.2f}배, "
            f"클립 {len(clips)}개 {seconds:.0f}초, 여기까지의 최대 메모리 {memory} MiB"
        )


def _letters(text: str) -> str:
    """Return the letters and digits alone: spacing and marks are the transcriber's taste."""
    return "".join(char for char in text if char.isalnum())
