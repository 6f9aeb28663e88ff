"""Bases: which one a recipe means, and those that will not do."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoConfig

from tests.processes import run
from tests.tinymodels import Architecture
from tests.tinytraining import make_bases, make_data, make_recipe, make_setting_for, say
from training import finetune
from training import recipe as recipes
from training.bases import is_own, locate
from training.errors import TrainingError, TrainingInputError
from training.finetune import Order

RECIPES = ("kakao-kogpt", "ldcc-solar")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    return make_bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda base: (base / "config.json").write_text("{}"), "모르는 종류"),
        (lambda base: (base / "config.json").write_text("{"), "모델을 열 수 없"),
        (lambda base: (base / "model.safetensors").write_bytes(b"12345678"), "깨졌거나"),
        (lambda base: (base / "tokenizer.json").write_text("{}"), "깨졌거나"),
        (lambda base: (base / "model.safetensors").unlink(), "모델을 열 수 없"),
        (lambda base: base.rename(base.with_suffix(".gone")), "모델이 아니에요"),
        (lambda base: shutil.copytree(base.with_name("gpt2"), base, dirs_exist_ok=True), "o_proj"),
    ],
    ids=["unknown", "no JSON", "half", "no tokenizer", "no weights", "nowhere", "other layers"],
)
def test_a_base_that_will_not_do_is_one_sentence(
    break_it: Callable[[Path], object],
    why: str,
    bases: dict[Architecture, Path],
    data: Path,
    tmp_path: Path,
) -> None:
    base = tmp_path / "llama"
    shutil.copytree(bases["llama"], base)
    shutil.copytree(bases["gpt2"], tmp_path / "gpt2")
    break_it(base)
    recipe = make_recipe(make_setting_for("lora", "llama"))
    with pytest.raises((TrainingInputError, TrainingError), match=why):
        finetune.train(Order(recipe, "default", data, tmp_path / "run", base, 1), say=say)


def test_a_file_that_is_no_gguf_is_one_sentence(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"nothing")
    recipe = make_recipe(make_setting_for("lora", "llama"))
    with pytest.raises(TrainingInputError, match="깨졌거나"):
        finetune.train(Order(recipe, "default", data, tmp_path / "run", path, 1), say=say)


async def test_without_a_hub_a_run_ends_soon_in_one_line(data: Path, tmp_path: Path) -> None:
    code, output, errors = await run(
        *("train", "ldcc-solar", "--data", str(data), "--out", "run"),
        cwd=tmp_path,
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HUB_OFFLINE="0",
        HF_HOME=str(tmp_path / "hub"),
    )
    assert (code, output) == (1, "")
    assert len(errors.splitlines()) == 1, errors
    assert "--base" in errors


def test_a_base_is_the_recipes_own_where_its_shape_is(tmp_path: Path) -> None:
    base = recipes.load("skt-kogpt2").base
    AutoConfig.for_model(**base.config).save_pretrained(tmp_path / "own")
    AutoConfig.for_model(**{**base.config, "n_layer": 6}).save_pretrained(tmp_path / "other")
    for name in ("own", "other"):
        assert is_own(base, locate(base, tmp_path / name, say=say)) is (name == "own")
    # What the recipe itself names is its own, though a GGUF unpacks to another shape.
    assert is_own(base, replace(locate(base, tmp_path / "other", say=say), given=False))


def test_a_recipes_revisions_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = {name: locate(recipes.load(name).base, None, say=say) for name in RECIPES}
    kakao, ldcc = found["kakao-kogpt"], found["ldcc-solar"]
    assert (kakao.where, kakao.revision) == ("kakaobrain/kogpt", "KoGPT6B-ryan1.5b-float16")
    assert kakao.tokenizer_revision == kakao.revision
    assert (ldcc.revision, ldcc.tokenizer_revision) == (None, "v1.1")
