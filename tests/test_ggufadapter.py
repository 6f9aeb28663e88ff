"""An adapter for llama.cpp: the same matrices under its names, or one line that says why not."""

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import save_file

from tests.trainedruns import make_record, make_setting
from training import recipe
from training.errors import TrainingInputError
from training.ggufadapter import write_gguf
from training.runs import ADAPTER, Run, write_record

LAYER = "base_model.model.model.layers.3.mlp.down_proj"
SIDES = {
    f"{LAYER}.lora_A.weight": np.linspace(-1, 1, 4 * 32, dtype=np.float32).reshape(4, 32),
    f"{LAYER}.lora_B.weight": np.linspace(-2, 0, 16 * 4, dtype=np.float32).reshape(16, 4),
}


def make_run(folder: Path, tensors: dict[str, np.ndarray], system: str = "qwen-small") -> Run:
    (folder / ADAPTER).mkdir(parents=True)
    save_file(tensors, folder / ADAPTER / "adapter_model.safetensors")
    (folder / ADAPTER / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8}))
    record = make_record(folder, make_setting())
    base = recipe.load(system).base
    record = record.model_copy(update={"recipe": record.recipe.model_copy(update={"base": base})})
    write_record(folder, record)
    return Run(folder, record)


def test_the_matrices_stand_under_llama_cpps_names(tmp_path: Path) -> None:
    write_gguf(make_run(tmp_path / "run", SIDES), tmp_path / "out" / "made.gguf")
    reader = GGUFReader(tmp_path / "out" / "made.gguf")
    facts = {name: field.contents() for name, field in reader.fields.items()}
    assert facts["general.architecture"] == "qwen2"
    assert facts["general.type"] == "adapter"
    assert facts["adapter.type"] == "lora"
    assert facts["adapter.lora.alpha"] == 8
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert found.keys() == {"blk.3.ffn_down.weight.lora_a", "blk.3.ffn_down.weight.lora_b"}
    for side, ours in zip(("a", "b"), SIDES.values(), strict=True):
        theirs = found[f"blk.3.ffn_down.weight.lora_{side}"]
        assert np.array_equal(theirs, ours.astype(np.float16))


@pytest.mark.parametrize(
    ("tensors", "system", "sentence"),
    [
        (SIDES, "ldcc-solar", "바꿀 수 있는 것은 qwen2뿐"),
        ({"base_model.model.nowhere.lora_A.weight": np.zeros((4, 4))}, "qwen-small", "이름이 없"),
        ({"base_model.model.model.embed_tokens.weight": np.zeros((4, 4))}, "qwen-small", "LoRA의"),
    ],
)
def test_what_cannot_be_one_leaves_nothing(
    tensors: dict[str, np.ndarray], system: str, sentence: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tensors, system)
    with pytest.raises(TrainingInputError, match=sentence):
        write_gguf(run, tmp_path / "made.gguf")
    assert list(tmp_path.glob("made*")) == []


def test_a_broken_adapter_gets_one_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", SIDES)
    (run.folder / ADAPTER / "adapter_model.safetensors").write_bytes(b"broken")
    with pytest.raises(TrainingInputError, match="어댑터를 읽을 수 없어요"):
        write_gguf(run, tmp_path / "made.gguf")
