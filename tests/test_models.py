"""Fetching models: the real pip on wheels built here, the real hub client, the manifest."""

import asyncio
import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from bot.cli import app
from inference import models
from inference.models import FetchError, HubFile, Model, WheelPart, fetch, load_manifest

PARTS = [b"a" * 1000, b"b" * 1000, b"c" * 500]
WHOLE = b"".join(PARTS)

# Makes pip import `backend` out of a source package, without needing anything else.
BUILD_SYSTEM = b"""[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

FETCH_FROM_HUB = """
import pathlib, sys
from inference.models import Model, fetch
fetch(Model.model_validate_json(sys.argv[1]), folder=pathlib.Path(sys.argv[2]), sources=("hub",))
"""


def package(number: int) -> str:
    return f"deepbot_test_part{number}"


def model(*, parts: int = len(PARTS), sha256: str | None = None) -> Model:
    return Model(
        title="시험 모델",
        file="test.gguf",
        bytes=len(WHOLE),
        sha256=sha256 or hashlib.sha256(WHOLE).hexdigest(),
        licence="Apache-2.0",
        wheels=[
            WheelPart(
                requirement=f"{package(n)}==1.0",
                member=f"{package(n)}/data.bin",
                bytes=len(PARTS[n - 1]),
            )
            for n in range(1, parts + 1)
        ],
        hub=HubFile(repository="someone/some-model", file="test.gguf"),
    )


def build_wheel(folder: Path, number: int, members: dict[str, bytes]) -> Path:
    """Write a wheel as pip wants it."""
    name = package(number)
    info = f"{name}-1.0.dist-info"
    contents = {
        **members,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in {**contents, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(member, data)
    return path


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, with a wheel of each part."""
    folder = tmp_path / "registry"
    folder.mkdir()
    for number, data in enumerate(PARTS, 1):
        build_wheel(folder, number, {f"{package(number)}/data.bin": data})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 sets, which is read only once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def sentence_of(error: pytest.ExceptionInfo[FetchError]) -> str:
    """Return the error's text, which must be one Korean line."""
    text = str(error.value)
    assert "\n" not in text
    assert re.search(r"[가-힣]", text)
    return text


def partial(folder: Path) -> Path:
    return folder / "test.gguf.partial"


# From the registry


def test_the_parts_are_joined_in_order(registry: Path, folder: Path) -> None:
    said: list[str] = []
    path = fetch(model(), folder=folder, sources=("registry",), say=said.append)
    assert path == folder / "test.gguf"
    assert path.read_bytes() == WHOLE
    assert list(folder.iterdir()) == [path]
    assert [line.split(" (")[0] for line in said[:3]] == [f"시험 모델: {n}/3" for n in (1, 2, 3)]
    assert model().is_fetched(folder)


def test_a_broken_off_fetch_goes_on_after_the_last_whole_part(registry: Path, folder: Path) -> None:
    folder.mkdir()
    partial(folder).write_bytes(PARTS[0] + b"half of the next")
    (registry / f"{package(1)}-1.0-py3-none-any.whl").unlink()  # so it cannot come again
    path = fetch(model(), folder=folder, sources=("registry",))
    assert path.read_bytes() == WHOLE


def test_what_came_before_a_failure_is_kept(registry: Path, folder: Path) -> None:
    last = registry / f"{package(3)}-1.0-py3-none-any.whl"
    away = last.rename(last.with_suffix(".away"))
    with pytest.raises(FetchError):
        fetch(model(), folder=folder, sources=("registry",))
    assert partial(folder).read_bytes() == PARTS[0] + PARTS[1]
    assert not model().is_fetched(folder)
    away.rename(last)
    for number in (1, 2):
        (registry / f"{package(number)}-1.0-py3-none-any.whl").unlink()
    assert fetch(model(), folder=folder, sources=("registry",)).read_bytes() == WHOLE


def test_a_wrong_hash_leaves_no_file(registry: Path, folder: Path) -> None:
    with pytest.raises(FetchError, match="체크섬") as caught:
        fetch(model(sha256="0" * 64), folder=folder, sources=("registry",))
    sentence_of(caught)
    assert list(folder.iterdir()) == []


def test_a_missing_package_is_named(registry: Path, folder: Path) -> None:
    for wheel in registry.iterdir():
        wheel.unlink()
    with pytest.raises(FetchError, match=f"{package(1)}==1.0") as caught:
        fetch(model(), folder=folder, sources=("registry",))
    sentence_of(caught)


def test_a_package_without_its_part_is_named(registry: Path, folder: Path) -> None:
    build_wheel(registry, 2, {f"{package(2)}/other.bin": b"b"})
    with pytest.raises(FetchError, match=f"{package(2)}==1.0") as caught:
        fetch(model(), folder=folder, sources=("registry",))
    sentence_of(caught)


def test_a_wheels_code_never_runs(registry: Path, folder: Path) -> None:
    trace = registry / "it-ran"
    code = f"open({str(trace)!r}, 'w').close()\n".encode()
    name = package(1)
    build_wheel(
        registry,
        1,
        {f"{name}/data.bin": PARTS[0], f"{name}/__init__.py": code, f"{name}.pth": b"import os"},
    )
    fetch(model(), folder=folder, sources=("registry",))
    assert not trace.exists()


def test_a_package_that_would_have_to_be_built_is_refused(registry: Path, folder: Path) -> None:
    trace = registry / "it-ran"
    name = package(1)
    (registry / f"{name}-1.0-py3-none-any.whl").unlink()
    with tarfile.open(registry / f"{name}-1.0.tar.gz", "w:gz") as archive:
        for file, data in {
            "pyproject.toml": BUILD_SYSTEM,
            "backend.py": f"open({str(trace)!r}, 'w').close()\n".encode(),
        }.items():
            member = tarfile.TarInfo(f"{name}-1.0/{file}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(FetchError):
        fetch(model(), folder=folder, sources=("registry",))
    assert not trace.exists()


def test_what_is_there_is_not_fetched_again(registry: Path, folder: Path) -> None:
    path = fetch(model(), folder=folder, sources=("registry",))
    said: list[str] = []
    for wheel in registry.iterdir():
        wheel.unlink()
    assert fetch(model(), folder=folder, say=said.append) == path
    assert said == []


def test_a_file_of_another_size_does_not_count(folder: Path) -> None:
    folder.mkdir()
    (folder / "test.gguf").write_bytes(WHOLE[:-1])
    assert not model().is_fetched(folder)


def test_too_little_space_is_said_before_anything_is_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", ["total", "used", "free"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, len(WHOLE)))
    said: list[str] = []
    with pytest.raises(FetchError, match="자리") as caught:
        fetch(model(), folder=folder, say=said.append)
    assert str(folder) in sentence_of(caught)
    assert said == []


# The hub


async def test_the_hub_gives_the_publishers_file(folder: Path) -> None:
    async def send(request: web.Request) -> web.Response:
        if request.path != "/someone/some-model/resolve/main/test.gguf":
            raise web.HTTPNotFound
        return web.Response(body=WHOLE, headers={"ETag": '"1"', "X-Repo-Commit": "a" * 40})

    hub = web.Application()
    hub.router.add_get("/{path:.*}", send)
    async with TestServer(hub) as server:
        # The address is read once, when the hub's client is imported.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FETCH_FROM_HUB, model().model_dump_json(), str(folder)),
            env={**os.environ, "HF_ENDPOINT": str(server.make_url("")).rstrip("/")},
        )
        assert await process.wait() == 0
    assert (folder / "test.gguf").read_bytes() == WHOLE
    assert [path.name for path in folder.iterdir()] == ["test.gguf"]


@pytest.mark.usefixtures("no_hub")
def test_every_sources_reason_is_named(registry: Path, folder: Path) -> None:
    (registry / f"{package(1)}-1.0-py3-none-any.whl").unlink()
    said: list[str] = []
    with pytest.raises(FetchError, match=r"저장소에서 .* / 모델 허브") as caught:
        fetch(model(), folder=folder, say=said.append)
    sentence_of(caught)
    assert any("someone/some-model" in line for line in said)


@pytest.mark.usefixtures("no_hub")
def test_the_second_source_is_asked_after_the_first_failed(registry: Path, folder: Path) -> None:
    path = fetch(model(), folder=folder, sources=("hub", "registry"))
    assert path.read_bytes() == WHOLE


@pytest.mark.usefixtures("no_hub")
def test_only_the_chosen_source_is_asked(registry: Path, folder: Path) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(model(), folder=folder, sources=("hub",))
    assert sentence_of(caught) == "모델 허브에 닿지 못했어요."


# The manifest


@pytest.mark.parametrize(("name", "entry"), load_manifest().items())
def test_the_manifest_is_complete(name: str, entry: Model) -> None:
    assert entry.title
    assert sum(part.bytes for part in entry.wheels) == entry.bytes
    assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.licence in {"Apache-2.0", "MIT"}
    assert re.fullmatch(r"[^/\s]+/[^/\s]+", entry.hub.repository)
    assert entry.hub.file.endswith((".gguf", ".bin"))
    for small in entry.beside:
        assert re.fullmatch(r"[0-9a-f]{64}", small.sha256)
        assert small.requirement in {part.requirement for part in entry.wheels}
    for part in entry.wheels:
        assert re.fullmatch(r"[A-Za-z0-9_-]+==[0-9.]+", part.requirement)  # pinned
        assert not part.member.startswith("/")


def test_our_models_are_in_the_manifest() -> None:
    assert {models.DEMO_MODEL, models.SPEECH_MODEL} <= set(load_manifest())


@pytest.mark.usefixtures("no_hub")
def test_the_command_says_in_one_line_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "models_folder", lambda: tmp_path)
    result = CliRunner().invoke(app, ["models", "fetch", "--source", "hub"])
    assert result.exit_code == 1
    assert result.stderr == "deepbot: 모델 허브에 닿지 못했어요.\n"


def test_the_command_lists_models_with_their_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "models_folder", lambda: tmp_path)
    result = CliRunner().invoke(app, ["models", "list"])
    assert result.exit_code == 0
    assert re.search(rf"{models.DEMO_MODEL}: .*Apache-2\.0, 아직 없음", result.stdout)
