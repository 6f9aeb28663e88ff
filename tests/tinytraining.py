"""What tests of training share: small bases, data and recipes, and a run of them."""

import json
from pathlib import Path

from inference.client import ChatMessage
from tests.tinymodels import Architecture, make_base
from tests.trainedruns import make_setting
from training import examples, finetune
from training.examples import Example
from training.finetune import Order
from training.recipe import Base, Licence, Lora, Recipe, Setting
from training.runs import Run, open_run

TARGETS = {
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "gptj": ("q_proj", "v_proj", "out_proj"),
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}


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


def train(order: Order) -> Run:
    finetune.train(order, say=say)
    return open_run(order.out)


def make_bases(folder: Path) -> dict[Architecture, Path]:
    """Write a random base of each architecture."""
    kinds: tuple[Architecture, ...] = ("gpt2", "gptj", "llama")
    return {kind: make_base(folder / f"random-{kind}", kind) for kind in kinds}


def make_data(folder: Path) -> Path:
    """Write 60 examples to learn and 10 to validate by."""

    def make(number: int, group: str) -> Example:
        question = f"벽지 {number}호는 며칠 말려야 하나요?"
        answer = f"벽지 {number}호는 {number % 3 + 1}일 말립니다. 창문을 조금 열어 두세요."
        asked: ChatMessage = {"role": "user", "content": question}
        said: ChatMessage = {"role": "assistant", "content": answer}
        return Example((asked, said), group, "시공", "made.csv")

    examples.write_examples(folder / examples.TRAIN, [make(n, f"t{n}") for n in range(60)])
    examples.write_examples(folder / examples.VALIDATION, [make(n, f"v{n}") for n in range(60, 70)])
    return folder
