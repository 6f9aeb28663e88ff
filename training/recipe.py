"""Recipes: one TOML a system, each with two settings: `original` (the first team's) and `default`.

The `config` of a base is what its publisher's `config.json` says of its shape; the memory estimate
and the dry run go by it where the weights are not at hand.
"""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.errors import TrainingInputError

Variant = Literal["default", "original"]
Method = Literal["full", "lora", "qlora"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Licence(_Strict):
    """What a base may be used for."""

    name: str
    commercial: bool | None = None  # None: its publisher does not say
    source: str


class Base(_Strict):
    """A pretrained model."""

    repository: str
    revision: str | None = None
    manifest: str | None = None  # its name in inference/models.toml, where we have it from there
    tokenizer_revision: str | None = None
    end_token: str | None = None  # what ends an answer where the tokenizer has no end of its own
    licence: Licence
    config: dict[str, Any]


class Lora(_Strict):
    """Low-rank adaptation (Hu et al. 2021, https://arxiv.org/abs/2106.09685)."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    targets: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _leave_ends_alone(self) -> Self:
        # vLLM serves no adapter with weights of the embeddings or of the head.
        if ends := {"lm_head", "embed_tokens", "wte", "wpe"} & set(self.targets):
            msg = f"an adapter never holds {', '.join(sorted(ends))}"
            raise ValueError(msg)
        return self


class Setting(_Strict):
    """How a base is tuned; lengths in tokens, the warm-up as a share of all steps."""

    method: Method
    template: Literal["sections", "original", "own"]
    loss: Literal["answer", "all"]
    batching: Literal["packed", "padded"]
    max_length: int = Field(ge=16)
    batch_size: int = Field(ge=1)
    accumulation: int = Field(default=1, ge=1)
    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "constant"]
    warmup: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer: Literal["adamw_torch", "paged_adamw_8bit"] = "adamw_torch"
    precision: Literal["bf16", "fp32"]
    gradient_checkpointing: bool
    validations_per_epoch: int = Field(default=1, ge=1)
    validation_limit: int | None = Field(default=None, ge=1)  # so many, evenly spread; None: all
    patience: int | None = Field(default=None, ge=1)  # validations without gain; None: no stop
    min_delta: float = Field(default=0.0, ge=0)
    lora: Lora | None = None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if (self.method == "full") != (self.lora is None):
            msg = "lora settings go with the methods lora and qlora"
            raise ValueError(msg)
        return self


class Reference(_Strict):
    """What the first team wrote down of its run; theirs, not measured here."""

    hardware: str
    tuning: str
    ram: str
    gpu_memory: str
    per_epoch: str
    total: str
    loss: str


class Recipe(_Strict):
    """A system: its base and the two ways to tune it."""

    name: str
    title: str
    base: Base
    default: Setting
    original: Setting
    reference: Reference | None = None

    def setting(self, variant: Variant) -> Setting:
        """Return one of the two settings."""
        return self.original if variant == "original" else self.default


def names() -> list[str]:
    """Return the names of the recipes that come with the project."""
    folder = resources.files("training").joinpath("recipes")
    return sorted(each.name.removesuffix(".toml") for each in folder.iterdir())


def load(name: str) -> Recipe:
    """Load a recipe by its name, or from a TOML file. Raises `TrainingInputError`."""
    path = Path(name)
    if path.suffix != ".toml":
        if name not in names():
            msg = f"그런 레시피가 없어요: {name} (있는 것: {', '.join(names())}, 또는 TOML 파일)"
            raise TrainingInputError(msg)
        path = Path(str(resources.files("training").joinpath("recipes", f"{name}.toml")))
    try:
        with path.open("rb") as file:
            return Recipe.model_validate({"name": path.stem, **tomllib.load(file)})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        msg = f"레시피가 잘못됐어요: {path} ({wrong})"
        raise TrainingInputError(msg) from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"레시피를 읽을 수 없어요: {path} ({error})"
        raise TrainingInputError(msg) from error
