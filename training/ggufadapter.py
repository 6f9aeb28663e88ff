"""A run's adapter as a file for llama.cpp, which serves the embedded model.

The format is that of llama.cpp's own converter: https://github.com/ggml-org/llama.cpp (see
`convert_lora_to_gguf.py` there); float16, since ranks are no multiples of a quantised block.
"""

import json
from pathlib import Path

import numpy as np
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, get_tensor_name_map
from safetensors import SafetensorError
from safetensors.numpy import load_file

from training.errors import TrainingError, TrainingInputError
from training.runs import ADAPTER, Run

# Of other architectures llama.cpp reorders the rows of some layers, which is not done here.
_ARCHITECTURES = {"qwen2": MODEL_ARCH.QWEN2}
_PREFIX = "base_model.model."
_SIDES = {".lora_A.weight": ".weight.lora_a", ".lora_B.weight": ".weight.lora_b"}


def write_gguf(run: Run, out: Path) -> None:
    """Write the adapter of `run` as a GGUF file. Raises `TrainingInputError`, `TrainingError`."""
    config = run.record.recipe.base.config
    kind = str(config["model_type"])
    if kind not in _ARCHITECTURES:
        msg = f"GGUF 어댑터로 바꿀 수 있는 것은 {', '.join(_ARCHITECTURES)}뿐이에요: {kind}"
        raise TrainingInputError(msg)
    folder = run.folder / ADAPTER
    try:
        lora = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        msg = f"어댑터를 읽을 수 없어요: {folder}"
        raise TrainingInputError(msg) from error
    names = get_tensor_name_map(_ARCHITECTURES[kind], int(config["num_hidden_layers"]))
    part = out.with_name(f"{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        writer = GGUFWriter(part, MODEL_ARCH_NAMES[_ARCHITECTURES[kind]])
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", float(lora["lora_alpha"]))
        for name, tensor in sorted(tensors.items()):
            layer, side = _split(name)
            known = names.get_name(layer)
            if known is None:
                msg = f"이 층은 GGUF에 이름이 없어요: {layer}"
                raise TrainingInputError(msg)
            writer.add_tensor(f"{known}{side}", tensor.astype(np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        part.replace(out)
    except OSError as error:
        msg = f"파일을 쓸 수 없어요: {out} ({error.strerror or error})"
        raise TrainingError(msg) from error
    finally:
        part.unlink(missing_ok=True)


def _split(name: str) -> tuple[str, str]:
    """Return the layer that a tensor of peft's is of, and its side as llama.cpp names it."""
    for end, side in _SIDES.items():
        if name.startswith(_PREFIX) and name.endswith(end):
            return name.removeprefix(_PREFIX).removesuffix(end), side
    msg = f"LoRA의 행렬이 아니에요: {name}"
    raise TrainingInputError(msg)
