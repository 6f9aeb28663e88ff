"""`deepbot train` on small random models: all methods, kill and resume, what a run leaves."""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from inference import prompts
from inference.client import ChatMessage
from tests.processes import environment, run, started
from tests.tinymodels import Architecture, make_base
from tests.trainedruns import make_setting
from training import examples, finetune, runs
from training import recipe as recipes
from training.bases import is_own, load_model, load_tokenizer, locate
from training.batches import build_rows
from training.encoding import IGNORED, Encoded, encode
from training.errors import TrainingError, TrainingInputError
from training.examples import Example
from training.finetune import Order
from training.loss import measure_loss
from training.recipe import Base, Licence, Lora, Recipe, Setting
from training.recorder import Recorder
from training.runs import Run, open_run
from training.trained import TrainedSystem
from training.trainer import Trainer, build_trainer

TARGETS = {
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "gptj": ("q_proj", "v_proj", "out_proj"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}
RECIPES = ("kakao-kogpt", "ldcc-solar")
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
    learnt = examples.read_examples(data / examples.TRAIN)
    tokenizer = AutoTokenizer.from_pretrained(found.folder / runs.ADAPTER)
    encoded = [each for one in learnt if (each := encode(one, tokenizer, setting))]
    tokens, answers = sum(len(e.ids) for e in encoded), sum(e.learnt for e in encoded)
    assert record.totals.tokens == round(tokens * record.totals.epochs)
    assert record.totals.learnt_tokens == round(answers * record.totals.epochs)
    weights = load_file(found.folder / runs.ADAPTER / "adapter_model.safetensors")
    assert weights
    assert not [name for name in weights if any(end in name for end in ENDS)]
    config = json.loads((found.folder / runs.ADAPTER / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "random-llama"  # no folder of this machine
    assert config["revision"] is None
    assert str(tmp_path) not in (found.folder / runs.RUN).read_text("utf-8")
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
    weights = load_file(found.folder / runs.MODEL / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
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
    learnt = {step: loss for step, loss in validations.items() if step}  # at 0 stands the base
    assert totals.best_validation_loss == min(learnt.values())
    assert totals.best_step
    assert totals.steps == totals.best_step + 2 * 4  # two validations that gained nothing
    kept = TrainedSystem(found, bases["llama"])
    held = examples.read_examples(data / examples.VALIDATION)
    loss = kept.measure_loss(held, lambda _: None)
    assert loss == pytest.approx(totals.best_validation_loss, abs=0.02)


def test_a_loss_that_is_no_number_is_said(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    wild = make_setting_for("full", "gpt2", learning_rate=1e30, precision="fp32")
    order = Order(make_recipe(wild), "default", data, tmp_path / "run", bases["gpt2"], 3)
    with pytest.raises(TrainingError, match="learning_rate"):
        finetune.train(order, say=say)
    assert not (order.out / runs.RUN).exists()


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        (9, {}),  # an epoch
        (10, {}),
        (40, {"learning_rate": 0.3, "patience": 1, "validations_per_epoch": 9}),  # stops before
    ],
)
def test_a_run_killed_before_it_was_saved_is_saved_and_trains_no_more(
    steps: int,
    changes: dict[str, object],
    bases: dict[Architecture, Path],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    setting = make_setting_for("lora", "llama", **{"batch_size": 1, **changes})
    recipe = make_recipe(setting)
    whole = train(Order(recipe, "default", data, tmp_path / "whole", bases["llama"], steps))
    order = Order(recipe, "default", data, tmp_path / "killed", bases["llama"], steps)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "_save", die)
        with pytest.raises(KeyboardInterrupt):
            finetune.train(order, say=say)
    began = json.loads((order.out / "started.json").read_text("utf-8"))["started"]
    resumed = train(order)
    assert resumed.record.started == began
    assert resumed.record.totals.steps == whole.record.totals.steps
    assert resumed.record.totals.stopped_early is (steps == 40)
    assert resumed.record.totals.tokens_per_second > 0
    first, second = (
        load_file(each.folder / runs.ADAPTER / "adapter_model.safetensors")
        for each in (whole, resumed)
    )
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name])


def test_what_a_kill_left_half_written_is_passed_over(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = make_setting_for("lora", "llama", batch_size=1)
    order = Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 10)

    def die(trainer: Trainer, *_: object) -> None:
        if trainer.state.global_step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_scaler", die)
        with pytest.raises(KeyboardInterrupt):
            finetune.train(order, say=say)
    with (order.out / runs.METRICS).open("a", encoding="utf-8") as file:
        file.write('{"step":6,"epo')
    assert (order.out / runs.CHECKPOINTS / "checkpoint-6" / "adapter_model.safetensors").exists()
    said: list[str] = []
    finetune.train(order, say=said.append)
    assert any("checkpoint-4" in line for line in said)
    steps = [each.step for each in open_run(order.out).metrics() if each.loss is not None]
    assert steps == list(range(1, 11))


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = make_setting_for("lora", "llama")
    order = Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 2)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "training_step", die)
        with pytest.raises(KeyboardInterrupt):
            finetune.train(order, say=say)
    assert [e.step for e in train(order).metrics() if e.validation_loss] == [0, 1, 2]


async def test_several_processes_learn_as_one_and_write_once(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    setting = make_setting_for("lora", "llama", batch_size=1, learning_rate=1e-3)
    recipe = make_recipe(setting)
    path = make_toml(recipe, tmp_path / "tiny.toml")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
        *("--standalone", "-m", "bot.cli", "train", str(path), "--data", str(data)),
        *("--base", str(bases["llama"]), "--max-steps", "3", "--out", str(tmp_path / "two")),
        env=environment(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(100):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert output.decode().count("끝났어요") == 1
    doubled = make_recipe(setting.model_copy(update={"batch_size": 2}))
    one = train(Order(doubled, "default", data, tmp_path / "one", bases["llama"], 3))
    two = open_run(tmp_path / "two")
    losses = [[each.loss or each.validation_loss for each in run.metrics()] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert two.record.totals.epochs == one.record.totals.epochs  # two rows a step, both
    assert two.record.totals.tokens == one.record.totals.tokens


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
    for step, how in ((6, signal.SIGINT), (12, signal.SIGKILL)):
        state = killed / runs.CHECKPOINTS / f"checkpoint-{step}" / "trainer_state.json"
        async with started(*words, str(killed), cwd=tmp_path, **quiet) as process:
            async with asyncio.timeout(60):
                while not state.exists():
                    await asyncio.sleep(0.01)
            process.send_signal(how)
            _, complaint = await process.communicate()
        assert not (killed / runs.RUN).exists()
        assert process.returncode == (130 if how is signal.SIGINT else -how)
        assert ("멈췄어요" in complaint.decode()) is (how is signal.SIGINT)
        assert "Traceback" not in complaint.decode()
    code, output, errors = await run(*words, str(killed), cwd=tmp_path, **quiet)
    assert code == 0, errors
    assert "이어서" in errors
    assert "끝났어요" in output
    whole, resumed = (
        [(e.step, e.loss or e.validation_loss) for e in open_run(folder).metrics()]
        for folder in (tmp_path / "whole", killed)
    )
    assert [step for step, _ in resumed] == [step for step, _ in whole]
    seconds = [each.seconds for each in open_run(killed).metrics()]
    assert seconds == sorted(seconds)
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


def test_a_killed_run_goes_on_with_its_own_setting_only_and_in_one_process(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = make_setting_for("lora", "llama")
    order = Order(make_recipe(setting), "default", data, tmp_path / "run", bases["llama"], 2)
    other = replace(order, seed=1)
    killed_at = 1

    def die(trainer: Trainer, *_: object) -> None:
        if trainer.state.global_step == killed_at:
            with pytest.raises(TrainingInputError, match="돌고 있어요"):
                finetune.train(other, say=say)
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_save_scaler", die)
    for each in (other, order):  # before the first checkpoint nothing is lost with the old setting
        with pytest.raises(KeyboardInterrupt):
            finetune.train(each, say=say)
    killed_at = 2
    with pytest.raises(KeyboardInterrupt):
        finetune.train(order, say=say)
    with pytest.raises(TrainingInputError, match="다른 설정"):
        finetune.train(other, say=say)
    killed_at = 3
    assert train(order).record.totals.steps == 2


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


def test_what_a_recipe_says_is_done(bases: dict[Architecture, Path], tmp_path: Path) -> None:
    setting = make_setting_for(
        *("qlora", "llama"),
        accumulation=3,
        schedule="cosine",
        warmup=0.2,
        weight_decay=0.05,
        optimizer="paged_adamw_8bit",
        lora=Lora(rank=4, alpha=12, dropout=0.3, targets=("q_proj", "down_proj")),
    )
    located = locate(make_recipe(setting).base, bases["llama"], say=say)
    tokenizer = load_tokenizer(make_recipe(setting).base, located, setting)
    model = load_model(located, setting, torch.device("cpu"))
    layer: Any = model.get_submodule("model.layers.0.mlp.down_proj")
    assert (layer.weight.quant_type, layer.weight.compress_statistics) == ("nf4", True)
    assert layer.compute_dtype is torch.bfloat16
    texts = [Encoded([5, 6, 7, number], [IGNORED, 6, 7, number], False) for number in range(3, 53)]
    rows = build_rows(texts, setting.model_copy(update={"max_length": 16}), 0)
    trainer = build_trainer(
        *(model, tokenizer, rows, texts[:1], setting),
        out=tmp_path,
        recorder=Recorder(tmp_path, resumed_step=None, main=True),
    )
    args = trainer.args
    steps = 50 * -(-len(rows.dataset) // 12)  # epochs of 4 rows, 3 times
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (4, 3)
    assert (args.max_steps, args.warmup_steps) == (steps, round(0.2 * steps))
    assert (args.lr_scheduler_type, args.learning_rate) == ("cosine", 5e-3)
    assert (args.weight_decay, args.optim) == (0.05, "paged_adamw_8bit")
    adapter = trainer.model.peft_config["default"]
    assert (adapter.r, adapter.lora_alpha, adapter.lora_dropout) == (4, 12, 0.3)
    trained = {n.split(".")[-4] for n, w in trainer.model.named_parameters() if w.requires_grad}
    assert trained == {"q_proj", "down_proj"}


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


def test_chance_is_the_seeds(bases: dict[Architecture, Path], data: Path, tmp_path: Path) -> None:
    recipe = make_recipe(make_setting_for("lora", "llama", batch_size=1))
    losses = [
        [e.loss for e in train(order).metrics() if e.loss]
        for number, seed in enumerate((1, 1, 2))
        for order in [
            Order(recipe, "default", data, tmp_path / str(number), bases["llama"], 3, seed)
        ]
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_a_full_disk_is_said(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(make_setting_for("lora", "llama"))
    order = Order(recipe, "default", data, tmp_path / "run", bases["llama"], 2)

    def fail(*_: object) -> None:
        msg = "unexpected pos 6784 vs 6676"  # torch's words for it
        raise RuntimeError(msg)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_optimizer_and_scheduler", fail)
        with pytest.raises(RuntimeError, match="unexpected pos"):
            finetune.train(order, say=say)
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
        with pytest.raises(TrainingError, match="디스크"):
            finetune.train(order, say=say)
    assert train(order).record.totals.steps == 2


def test_nothing_is_left_where_nothing_was_trained(data: Path, tmp_path: Path) -> None:
    recipe = make_recipe(make_setting_for("lora", "llama"))
    out = tmp_path / "run"
    with pytest.raises(TrainingInputError):
        finetune.train(Order(recipe, "default", data, out, tmp_path / "none"), say=say)
    assert not out.exists()


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
