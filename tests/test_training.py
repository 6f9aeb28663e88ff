"""`deepbot train` on small random models: all methods, kill and resume, what a run leaves."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference import prompts
from inference.client import ChatMessage
from tests.processes import environment, run, started
from tests.tinymodels import Architecture, make_base
from tests.trainedruns import make_setting
from training import examples, finetune, runs
from training.encoding import encode
from training.errors import TrainingInputError
from training.examples import Example
from training.finetune import Order
from training.loss import measure_loss
from training.recipe import Base, Licence, Lora, Recipe, Setting
from training.runs import Run, open_run

TARGETS = {
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "gptj": ("q_proj", "v_proj", "out_proj"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}
ENDS = ("lm_head", "embed_tokens", "wte", "wpe")


def say(_: str) -> None:
    """Nothing is asked here about what is said."""


def make_recipe(default: Setting, original: Setting | None = None) -> Recipe:
    licence = Licence(name="Apache-2.0", commercial=True, source="https://example.org")
    config = {"model_type": "llama", "hidden_size": 4096}
    return Recipe(
        name="tiny",
        title="작은 시험 모델",
        base=Base(repository="tests/tiny", licence=licence, config=config),
        default=default,
        original=original or default,
    )


def make_toml(recipe: Recipe, path: Path) -> Path:
    """Write a recipe as an operator would."""

    def show(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)

    lines = [f"title = {show(recipe.title)}", "[base]", 'repository = "tests/tiny"']
    lines += ["[base.licence]", 'name = "Apache-2.0"', "commercial = true", 'source = "here"']
    lines += ["[base.config]", 'model_type = "llama"', "hidden_size = 4096"]
    for name in ("default", "original"):
        values = getattr(recipe, name).model_dump(mode="json", exclude_none=True)
        lora = values.pop("lora", None)
        lines += [f"[{name}]", *(f"{key} = {show(value)}" for key, value in values.items())]
        if lora:
            lines += [f"[{name}.lora]", *(f"{key} = {show(value)}" for key, value in lora.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def make_setting_for(method: str, architecture: str, **changes: object) -> Setting:
    lora = Lora(rank=8, alpha=16, dropout=0.0, targets=TARGETS[architecture])
    return make_setting(
        **{
            "method": method,
            "lora": None if method == "full" else lora,
            "precision": "bf16",
            "learning_rate": 5e-3,
            "batch_size": 4,
            "epochs": 50,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    folder = tmp_path_factory.mktemp("bases")
    kinds: tuple[Architecture, ...] = ("gpt2", "gptj", "llama")
    return {kind: make_base(folder / f"random-{kind}", kind) for kind in kinds}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")

    def make(number: int, group: str) -> Example:
        question = f"벽지 {number}호는 며칠 말려야 하나요?"
        answer = f"벽지 {number}호는 {number % 3 + 1}일 말립니다. 창문을 조금 열어 두세요."
        asked: ChatMessage = {"role": "user", "content": question}
        said: ChatMessage = {"role": "assistant", "content": answer}
        return Example((asked, said), group, "시공", "made.csv")

    examples.write_examples(folder / examples.TRAIN, [make(n, f"t{n}") for n in range(60)])
    examples.write_examples(folder / examples.VALIDATION, [make(n, f"v{n}") for n in range(60, 70)])
    return folder


def train(order: Order) -> Run:
    finetune.train(order, say=say)
    return open_run(order.out)


@pytest.mark.parametrize("architecture", ["gpt2", "gptj", "llama"])
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_every_method_learns_on_every_architecture(
    method: str,
    architecture: Architecture,
    bases: dict[Architecture, Path],
    data: Path,
    tmp_path: Path,
) -> None:
    setting = make_setting_for(method, architecture, gradient_checkpointing=method == "qlora")
    found = train(
        Order(make_recipe(setting), "default", data, tmp_path / "run", bases[architecture], 10)
    )
    totals = found.record.totals
    assert totals.first_validation_loss
    assert totals.best_validation_loss
    assert totals.best_validation_loss < totals.first_validation_loss - 0.01
    losses = [each.loss for each in found.metrics() if each.loss is not None]
    assert len(losses) == totals.steps == 10
    assert losses[-1] < losses[0]
    assert (totals.trained_parameters == totals.parameters) is (method == "full")


def test_one_step_lowers_the_loss(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("qlora", "llama", schedule="constant", max_length=1024)
    found = train(Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 1))
    validations = [each.validation_loss for each in found.metrics() if each.validation_loss]
    assert len(validations) == 2
    assert validations[1] < validations[0]


def test_a_run_leaves_all_that_serving_it_takes(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("lora", "llama")
    found = train(
        Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 6, seed=3)
    )
    assert sorted(path.name for path in found.folder.iterdir()) == [
        *("README.md", "adapter", "loss.png", "metrics.jsonl", "run.json"),
    ]
    record = found.record
    assert (record.base, record.stand_in, record.seed) == ("random-llama", True, 3)
    assert {"torch", "transformers", "peft", "trl", "python"} <= set(record.versions)
    assert record.data.train_examples == 60
    assert record.totals.peak_memory_bytes > 0
    assert record.totals.tokens_per_second > 0
    weights = load_file(found.folder / runs.ADAPTER / "adapter_model.safetensors")
    assert weights
    assert not [name for name in weights if any(end in name for end in ENDS)]
    config = json.loads((found.folder / runs.ADAPTER / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "random-llama"  # no folder of this machine
    assert str(tmp_path) not in (found.folder / runs.RUN).read_text("utf-8")
    tokenizer = AutoTokenizer.from_pretrained(found.folder / runs.ADAPTER)
    assert tokenizer.chat_template == prompts.TEMPLATES["sections"]
    with Image.open(found.folder / runs.LOSS) as picture:
        assert picture.size[0] > 600
    card = (found.folder / runs.CARD).read_text("utf-8")
    assert "대역 모델" in card
    assert "loss.png" in card


def test_a_whole_model_is_left_whole(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("full", "gpt2")
    found = train(Order(make_recipe(setting), "default", data, tmp_path / "run", bases["gpt2"], 4))
    model = AutoModelForCausalLM.from_pretrained(found.folder / runs.MODEL)
    tokenizer = AutoTokenizer.from_pretrained(found.folder / runs.MODEL)
    held = examples.read_examples(data / examples.VALIDATION)
    encoded = [each for one in held if (each := encode(one, tokenizer, setting))]
    loss = measure_loss(model, encoded, tokenizer.pad_token_id)
    assert loss.mean == pytest.approx(found.record.totals.best_validation_loss, abs=0.02)


def test_the_best_weights_are_kept_and_a_run_stops_when_it_gains_no_more(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    wild = make_setting_for(
        *("lora", "llama"), learning_rate=3.0, patience=2, validations_per_epoch=2, batch_size=1
    )
    found = train(Order(make_recipe(wild), "default", data, tmp_path / "run", bases["llama"], 40))
    totals = found.record.totals
    assert totals.stopped_early
    assert totals.steps < 40
    validations = {e.step: e.validation_loss for e in found.metrics() if e.validation_loss}
    assert totals.best_validation_loss == min(validations.values())
    assert len(validations) < 6


def test_the_original_setting_is_the_first_teams(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    ours = make_setting_for("lora", "llama")
    theirs = make_setting_for(
        *("lora", "llama"), template="original", loss="all", batching="padded", precision="fp32"
    )
    recipe = make_recipe(ours, theirs)
    found = {
        variant: train(Order(recipe, variant, data, tmp_path / variant, bases["llama"], 3))
        for variant in ("default", "original")
    }
    assert found["original"].record.setting == theirs
    tokenizer = AutoTokenizer.from_pretrained(found["original"].folder / runs.ADAPTER)
    assert tokenizer.chat_template == prompts.TEMPLATES["original"]
    a_step = {
        name: (each.record.totals.learnt_tokens / each.record.totals.epochs)
        for name, each in found.items()
    }
    assert a_step["original"] > a_step["default"]  # its loss counts the questions too


async def test_a_killed_run_goes_on_to_the_same_losses(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("lora", "llama", batch_size=1, learning_rate=1e-3)
    lora = Lora(rank=8, alpha=16, dropout=0.2, targets=TARGETS["llama"])  # chance must go on too
    recipe = make_toml(
        make_recipe(setting.model_copy(update={"lora": lora})), tmp_path / "tiny.toml"
    )
    words = [
        *("train", str(recipe), "--data", str(data), "--base", str(bases["llama"])),
        *("--max-steps", "30", "--out"),
    ]
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    code, _, errors = await run(*words, str(tmp_path / "whole"), cwd=tmp_path, **quiet)
    assert code == 0, errors
    killed = tmp_path / "killed"
    async with started(*words, str(killed), cwd=tmp_path, **quiet) as process:
        async with asyncio.timeout(60):
            while not list((killed / runs.CHECKPOINTS).glob("checkpoint-*/trainer_state.json")):
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert not (killed / runs.RUN).exists()
    code, output, errors = await run(*words, str(killed), cwd=tmp_path, **quiet)
    assert code == 0, errors
    assert "이어서" in errors
    assert "끝났어요" in output
    whole, resumed = (
        [(e.step, e.loss or e.validation_loss) for e in open_run(folder).metrics()]
        for folder in (tmp_path / "whole", killed)
    )
    assert [step for step, _ in resumed] == [step for step, _ in whole]
    assert [loss for _, loss in resumed] == pytest.approx([loss for _, loss in whole], rel=1e-5)
    first, second = (
        load_file(folder / runs.ADAPTER / "adapter_model.safetensors")
        for folder in (tmp_path / "whole", killed)
    )
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name])


def test_folders_of_other_runs_are_left_alone(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("lora", "llama")
    order = Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 2)
    train(order)
    with pytest.raises(TrainingInputError, match="이미 끝난"):
        finetune.train(order, say=say)
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("일기")
    with pytest.raises(TrainingInputError, match="빈 폴더"):
        finetune.train(Order(order.recipe, "default", data, full, order.base, 2), say=say)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "started.json").write_text("{}")
    with pytest.raises(TrainingInputError, match="다른 설정"):
        finetune.train(Order(order.recipe, "default", data, begun, order.base, 2), say=say)


def test_measuring_leaves_a_quantised_model_able_to_learn(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    """On a CPU bitsandbytes packs the weights of layers that do not train, without gradients."""
    setting = make_setting_for("qlora", "llama", max_length=1024, learning_rate=1e-2)
    moved: dict[bool, Any] = {}
    for measured in (True, False):
        out = tmp_path / str(measured)
        changes = {} if measured else {"validation_limit": 1}
        found = train(
            Order(
                make_recipe(setting.model_copy(update=changes)),
                *("default", data, out, bases["llama"], 4),
            )
        )
        weights = load_file(found.folder / runs.ADAPTER / "adapter_model.safetensors")
        moved[measured] = {
            name: weight.abs().sum().item() for name, weight in weights.items() if "lora_B" in name
        }
    assert all(value > 0 for value in moved[True].values())
    assert moved[True] == pytest.approx(moved[False], rel=0.2)


async def test_two_processes_share_a_run(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("lora", "llama", batch_size=1, learning_rate=1e-3)
    path = make_toml(make_recipe(setting), tmp_path / "tiny.toml")
    words = [*("train", str(path), "--data", str(data), "--base", str(bases["llama"]))]
    out = tmp_path / "run"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--standalone", "-m", "bot.cli"),
        *(*words, "--out", str(out), "--max-steps", "6"),
        cwd=tmp_path,
        env=environment(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(100):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    shared = open_run(out)
    alone = train(
        Order(
            make_recipe(setting.model_copy(update={"batch_size": 2})),
            *("default", data, tmp_path / "alone", bases["llama"], 6),
        )
    )
    assert shared.record.totals.epochs == alone.record.totals.epochs  # two rows a step, both
    steps = [each.step for each in shared.metrics() if each.loss is not None]
    assert steps == [1, 2, 3, 4, 5, 6]  # written once
    assert shared.record.totals.best_validation_loss == pytest.approx(
        alone.record.totals.best_validation_loss, rel=0.02
    )
