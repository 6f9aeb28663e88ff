"""Finished runs made by hand: a tiny base with an adapter that does something, and its record."""

from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from tests.tinymodels import make_tokenizer
from training import recipe
from training.recipe import Base, Licence, Lora, Recipe, Setting
from training.runs import ADAPTER, MODEL, Data, Machine, RunRecord, Totals, write_record

LORA = Lora(rank=4, alpha=8, dropout=0.0, targets=("q_proj", "v_proj"))


def make_setting(**changes: object) -> Setting:
    """Return a setting for tiny Llamas."""
    return Setting.model_validate(
        {
            "method": "lora",
            "template": "sections",
            "loss": "answer",
            "batching": "packed",
            "max_length": 512,
            "batch_size": 2,
            "epochs": 1,
            "learning_rate": 1e-3,
            "schedule": "constant",
            "precision": "fp32",
            "gradient_checkpointing": False,
            "lora": LORA,
            **changes,
        }
    )


def make_run(folder: Path, base: Path, setting: Setting) -> Path:
    """Write a run on `base`: its weights, changed a little at random, its tokenizer and record."""
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base)
    if setting.lora is None:
        own = folder / MODEL
        for weight in model.parameters():
            weight.data += 0.02 * torch.randn_like(weight)
        model.save_pretrained(own)
    else:
        own = folder / ADAPTER
        config = LoraConfig(
            r=setting.lora.rank,
            lora_alpha=setting.lora.alpha,
            target_modules=list(setting.lora.targets),
            task_type="CAUSAL_LM",
            fan_in_fan_out="c_attn" in setting.lora.targets,  # GPT-2's layers lie the other way
            init_lora_weights=False,  # random, so that it does something
        )
        get_peft_model(model, config).save_pretrained(str(own))
    make_tokenizer().save_pretrained(own)
    write_record(folder, make_record(base, setting))
    return folder


def load_by_hand(base: Path, run: Path | None) -> torch.nn.Module:
    """Load a base, and a run's adapter over it, as their libraries do."""
    model = AutoModelForCausalLM.from_pretrained(base)
    whole: torch.nn.Module = PeftModel.from_pretrained(model, str(run / ADAPTER)) if run else model
    return whole.eval()


def make_record(base: Path, setting: Setting) -> RunRecord:
    """Return the record of a run on `base`."""
    config = recipe.load("ldcc-solar").base.config
    licence = Licence(name="Apache-2.0", commercial=True, source="https://example.org")
    system = Recipe(
        name="tiny",
        title="작은 시험 모델",
        base=Base(repository="tests/tiny", licence=licence, config=config),
        default=setting,
        original=setting,
    )
    return RunRecord(
        recipe=system,
        variant="default",
        setting=setting,
        base=base.name,
        stand_in=True,
        seed=0,
        started="2026-11-26T00:00:00+00:00",
        versions={},
        machine=Machine(cpu="test", cores=2, memory_bytes=1),
        data=Data(digest="0", train_examples=1, validation_examples=1),
        totals=Totals(
            steps=1,
            epochs=1.0,
            seconds=1.0,
            seconds_per_epoch=1.0,
            tokens=1,
            learnt_tokens=1,
            tokens_per_second=1.0,
            peak_memory_bytes=1,
            peak_gpu_bytes=None,
            parameters=1,
            trained_parameters=1,
            first_loss=None,
            last_loss=None,
            first_validation_loss=None,
            best_validation_loss=None,
            best_step=None,
            stopped_early=False,
        ),
    )
