"""`deepbot train` on small random models: all methods, what a run leaves."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference import prompts
from inference.client import ChatMessage
from tests.tinymodels import Architecture
from tests.tinytraining import make_bases, make_data, make_recipe, make_setting_for, say, train
from training import examples, finetune, runs
from training.bases import load_model, load_tokenizer, locate
from training.batches import build_rows
from training.encoding import IGNORED, Encoded, encode
from training.errors import TrainingError
from training.finetune import Order
from training.loss import measure_loss
from training.recipe import Lora
from training.recorder import Recorder
from training.runs import open_run
from training.trained import TrainedSystem
from training.trainer import build_trainer

ENDS = ("lm_head", "embed_tokens", "wte", "wpe")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[Architecture, Path]:
    return make_bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


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
        assert found.record.data.validation_examples == (10 if measured else 1)
        weights = load_file(found.folder / runs.ADAPTER / "adapter_model.safetensors")
        moved[measured] = {
            name: weight.abs().sum().item() for name, weight in weights.items() if "lora_B" in name
        }
    assert all(value > 0 for value in moved[True].values())
    assert moved[True] == pytest.approx(moved[False], rel=0.2)


def test_what_leaves_no_room_for_an_answer_is_left_out_and_said(
    bases: dict[Architecture, Path], data: Path, tmp_path: Path
) -> None:
    found = examples.read_examples(data / examples.TRAIN)
    longer: ChatMessage = {"role": "user", "content": "벽지가 왜 들뜨나요? " * 400}
    mixed = tmp_path / "data"
    mixed.mkdir()
    kept = [replace(found[0], messages=(longer, found[0].messages[1])), *found[1:]]
    examples.write_examples(mixed / examples.TRAIN, kept)
    examples.write_examples(mixed / examples.VALIDATION, found[:4])
    said: list[str] = []
    setting = make_setting_for("lora", "llama")
    order = Order(make_recipe(setting), "default", mixed, tmp_path / "run", bases["llama"], 1)
    finetune.train(order, say=said.append)
    (line,) = said
    assert "예 1개" in line
    assert open_run(order.out).record.data.train_examples == len(found) - 1
