"""The recipes, what they foretell of a GPU's memory, and the dry run."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.processes import run
from tests.tinymodels import make_base
from tests.tinytraining import make_recipe, make_setting_for, make_toml
from tests.trainedruns import make_setting
from training import examples, memory, recipe
from training.errors import TrainingInputError
from training.examples import Example
from training.recipe import Lora

SYSTEMS = ("edentns-datavortexs", "kakao-kogpt", "kykim-gpt3-small", "ldcc-solar", "skt-kogpt2")
README = Path(__file__).parents[1] / "README.md"


def test_there_is_a_recipe_for_each_system() -> None:
    assert set(SYSTEMS) <= set(recipe.names())
    assert recipe.load("kakao-kogpt").base.revision == "KoGPT6B-ryan1.5b-float16"


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_original_setting_is_what_the_first_team_ran(name: str) -> None:
    found = recipe.load(name)
    original = found.original
    assert (original.template, original.loss, original.batching) == ("original", "all", "padded")
    assert original.learning_rate == 3e-5
    assert found.reference
    method, batch, epochs, rank = {
        "edentns-datavortexs": ("qlora", 1, 2, 4),
        "kakao-kogpt": ("lora", 1, 10, 8),
        "kykim-gpt3-small": ("lora", 4, 50, 8),
        "ldcc-solar": ("qlora", 10, 10, 8),
        "skt-kogpt2": ("full", 10, 50, None),
    }[name]
    assert (original.method, original.batch_size, original.epochs) == (method, batch, epochs)
    assert (original.lora and original.lora.rank) == rank


@pytest.mark.parametrize("name", recipe.names())
def test_ours_learns_the_answer_alone_and_stops_in_time(name: str) -> None:
    default = recipe.load(name).default
    assert (default.loss, default.batching) == ("answer", "packed")
    assert default.patience
    assert default.template != "original"


@pytest.mark.parametrize("end", ["lm_head", "embed_tokens", "wte"])
def test_an_adapter_holds_no_embedding_and_no_head(end: str) -> None:
    with pytest.raises(ValidationError, match=end):
        Lora(rank=8, alpha=16, dropout=0.0, targets=("q_proj", end))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("title = 3", "title"),
        ("title = [", "읽을 수 없"),
        ("", "base"),
    ],
)
def test_a_wrong_recipe_is_one_sentence(text: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingInputError, match=why):
        recipe.load(str(path))
    with pytest.raises(TrainingInputError, match="ldcc-solar"):
        recipe.load("no-such-recipe")


def test_weights_are_counted_not_guessed() -> None:
    """The sizes that the publishers and the leaderboard name."""
    counted = {name: memory.measure_shape(recipe.load(name).base).parameters for name in SYSTEMS}
    assert counted["ldcc-solar"] == counted["edentns-datavortexs"] == 10_862_596_096
    assert counted["kakao-kogpt"] == 6_166_502_400
    assert counted["skt-kogpt2"] == 125_164_032


def test_adapters_are_counted_by_rank() -> None:
    found = recipe.load("ldcc-solar")
    # q, o: 4096 + 4096; k, v: 4096 + 1024; 48 layers, rank 8
    assert memory.count_trained(found.base, found.original) == 8 * 48 * (2 * 8192 + 2 * 5120)


# Peaks of torch's allocator on an H200, random weights: `python -m tests.load.memory`.
MEASURED_GIB = [
    ("ldcc-solar", "default", 4, 8.81),
    ("ldcc-solar", "default", 8, 11.55),
    ("ldcc-solar", "default", 16, 17.15),
    ("ldcc-solar", "original", 10, 9.18),
    ("edentns-datavortexs", "original", 1, 6.28),
    ("kakao-kogpt", "default", 2, 5.95),
    ("kakao-kogpt", "original", 1, 16.58),
    ("skt-kogpt2", "default", 8, 8.43),
    ("kykim-gpt3-small", "default", 8, 7.51),
]


@pytest.mark.parametrize(("name", "variant", "batch", "measured"), MEASURED_GIB)
def test_memory_is_foretold_as_a_card_measured_it(
    name: str, variant: recipe.Variant, batch: int, measured: float
) -> None:
    found = recipe.load(name)
    estimate = memory.estimate(found.base, found.setting(variant), batch_size=batch)
    assert estimate.peak / memory.GIB == pytest.approx(measured, rel=0.13)
    assert estimate.total > measured * memory.GIB  # who trusts it runs out of nothing


def test_a_larger_card_takes_a_larger_batch() -> None:
    found = recipe.load("ldcc-solar")
    batches = [
        memory.largest_batch(found.base, found.default, size * memory.CARD_GB)
        for size in (4, 10, *memory.CARDS_GB)
    ]
    assert batches[0] == 0
    assert batches == sorted(batches)
    assert len(set(batches)) == len(batches)


def test_the_readme_says_what_the_dry_run_says() -> None:
    found = recipe.load("ldcc-solar")
    text = README.read_text(encoding="utf-8")
    for size in memory.CARDS_GB:
        batch = memory.largest_batch(found.base, found.default, size * memory.CARD_GB)
        total = memory.estimate(found.base, found.default, batch_size=batch).total
        assert f"| {size} GB | {batch} | {total / memory.GIB:.1f} GiB |" in text


async def test_a_dry_run_needs_neither_weights_nor_data(tmp_path: Path) -> None:
    code, output, errors = await run(
        *("train", "ldcc-solar", "--dry-run", "--gpu-memory", "24"), cwd=tmp_path
    )
    assert (code, errors) == (0, "")
    batch = memory.largest_batch(
        recipe.load("ldcc-solar").base, recipe.load("ldcc-solar").default, 24 * memory.CARD_GB
    )
    assert "24 GB 카드" in output
    assert f"batch_size {batch}까지" in output
    assert "16 GB" not in output


@pytest.mark.parametrize("config", [{}, {"model_type": "nothing"}, {"model_type": "t5"}])
def test_memory_that_cannot_be_foretold_is_one_sentence(config: dict[str, str]) -> None:
    found = recipe.load("ldcc-solar")
    with pytest.raises(TrainingInputError, match="model_type"):
        memory.estimate(found.base.model_copy(update={"config": config}), found.default)


async def test_a_dry_run_shows_what_would_be_learnt(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama")
    data = tmp_path / "data"
    data.mkdir()
    messages = (
        {"role": "user", "content": "풀은 무엇을 쓰나요?"},
        {"role": "assistant", "content": "전분 풀을 씁니다."},
    )
    pair = Example(messages, "g", "시공", "f")  # type: ignore[arg-type]
    for name in (examples.TRAIN, examples.VALIDATION):
        examples.write_examples(data / name, [pair] * 12)
    path = make_toml(make_recipe(make_setting_for("lora", "llama")), tmp_path / "tiny.toml")
    code, output, errors = await run(
        *("train", str(path), "--data", str(data), "--base", str(base), "--dry-run"),
        cwd=tmp_path,
        HF_HUB_OFFLINE="1",
    )
    assert code == 0, errors
    assert "학습 12개, 검증 12개" in output
    assert "50.0에포크" in output
    assert "배우는 것" in output
    assert "손님 질문: 풀은 무엇을" in output.replace("│", "").replace("\n", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("train", "ldcc-solar"), 2, "--data와 --out"),
        (("train", "nothing", "--dry-run"), 2, "그런 레시피가 없어요"),
        (("train", "ldcc-solar", "--data", "none", "--out", "out", "--base", "none"), 2, "모델이"),
        (("evaluate", "none", "--data", "none"), 2, "none"),
        (("evaluate", "none"), 2, "--data나 --suite"),
        (("compare", "none"), 2, "none"),
        (("data", "prepare", "none.csv", "--out", "out"), 2, "none.csv"),
        (("submission", "none", "--test", "none.csv"), 2, "none"),
    ],
)
async def test_what_is_wrong_is_one_line_and_a_code(
    words: tuple[str, ...], code: int, why: str, tmp_path: Path
) -> None:
    found, output, errors = await run(*words, cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert (found, output) == (code, "")
    assert len(errors.strip().splitlines()) == 1, errors
    assert why in errors


async def test_without_a_name_the_recipes_are_listed(tmp_path: Path) -> None:
    code, output, _ = await run("train", cwd=tmp_path)
    assert code == 0
    for name in SYSTEMS:
        assert f"{name}: " in output


def test_a_setting_reads_back_from_what_a_run_records() -> None:
    setting = make_setting()
    assert type(setting).model_validate(json.loads(setting.model_dump_json())) == setting
