"""The same Whisper weights under CTranslate2, as 딥봇 has them, and under transformers:

    python -m tests.load.whisper FOLDER

FOLDER holds clips and transcripts.tsv, as for `deepbot bench speech`. Both hear the clips in
processes of their own with the same beam, transformers on two threads, ours on one as always.
Needs torch and transformers (`pip install '.[bench-speech]'`).
"""

import argparse
import multiprocessing
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import jiwer
import numpy as np
import numpy.typing as npt
from rich.console import Console

from bot.hearing import Engine, hear
from bot.settings import Settings
from inference import models
from inference.speech.sound import RATE, decode

_THREADS, _BEAM = 2, 2
_KOREAN = (50258, 50264, 50359, 50363)  # start of transcript, ko, transcribe, no timestamps
_END = 50257
_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_weights(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the variables of a CTranslate2 model file.

    https://github.com/OpenNMT/CTranslate2/blob/master/python/ctranslate2/specs/model_spec.py
    """
    with path.open("rb") as file:
        _number(file, "I")
        _name(file)
        _number(file, "I")
        weights = {}
        for _ in range(_number(file, "I")):
            name = _name(file)
            shape = [_number(file, "I") for _ in range(_number(file, "B"))]
            kind, length = _TYPES[_number(file, "B")], _number(file, "I")
            weights[name] = np.frombuffer(file.read(length), kind).reshape(shape)
        return weights


def _number(file: BinaryIO, kind: str) -> int:
    return int(struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0])


def _name(file: BinaryIO) -> str:
    return file.read(_number(file, "H"))[:-1].decode()


def to_transformers(weights: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights by the names that transformers gives them."""
    state: dict[str, npt.NDArray[np.float32]] = {}

    def put(name: str, values: npt.NDArray[Any]) -> None:
        state[name] = values.astype(np.float32)

    def norm(theirs: str, ours: str) -> None:
        put(f"{theirs}.weight", weights[f"{ours}/gamma"])
        put(f"{theirs}.bias", weights[f"{ours}/beta"])

    def linear(theirs: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None) -> None:
        put(f"{theirs}.weight", weight)
        if bias is not None:
            put(f"{theirs}.bias", bias)

    for side in ("encoder", "decoder"):
        put(f"model.{side}.embed_positions.weight", weights[f"{side}/position_encodings/encodings"])
        norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        for layer in range(6):
            ours, theirs = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
            norm(f"{theirs}.self_attn_layer_norm", f"{ours}/self_attention/layer_norm")
            norm(f"{theirs}.final_layer_norm", f"{ours}/ffn/layer_norm")
            for number, name in enumerate(("fc1", "fc2")):
                part = f"{ours}/ffn/linear_{number}"
                linear(f"{theirs}.{name}", weights[f"{part}/weight"], weights[f"{part}/bias"])
            whole = f"{ours}/self_attention/linear_0"
            for n, (w, b) in enumerate(
                zip(
                    np.split(weights[f"{whole}/weight"], 3),
                    np.split(weights[f"{whole}/bias"], 3),
                    strict=True,
                )
            ):
                linear(f"{theirs}.self_attn.{'qkv'[n]}_proj", w, None if n == 1 else b)
            last = f"{ours}/self_attention/linear_1"
            linear(
                f"{theirs}.self_attn.out_proj", weights[f"{last}/weight"], weights[f"{last}/bias"]
            )
            if side == "encoder":
                continue
            norm(f"{theirs}.encoder_attn_layer_norm", f"{ours}/attention/layer_norm")
            cross = f"{ours}/attention"
            query, both, out = (f"{cross}/linear_{n}" for n in range(3))
            linear(
                f"{theirs}.encoder_attn.q_proj",
                weights[f"{query}/weight"],
                weights[f"{query}/bias"],
            )
            keys, values = np.split(weights[f"{both}/weight"], 2)
            _, value_bias = np.split(weights[f"{both}/bias"], 2)
            linear(f"{theirs}.encoder_attn.k_proj", keys, None)
            linear(f"{theirs}.encoder_attn.v_proj", values, value_bias)
            linear(
                f"{theirs}.encoder_attn.out_proj", weights[f"{out}/weight"], weights[f"{out}/bias"]
            )
    for number in (1, 2):
        part = f"encoder/conv{number}"
        linear(f"model.encoder.conv{number}", weights[f"{part}/weight"], weights[f"{part}/bias"])
    put("model.decoder.embed_tokens.weight", weights["decoder/embeddings/weight"])
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    return state


def hear_with_transformers(clips: list[str]) -> dict[str, Any]:
    """Return the texts, seconds and memory of transformers."""
    import torch
    from tokenizers import Tokenizer
    from transformers import (
        GenerationMixin,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    torch.set_num_threads(_THREADS)
    folder = models.load_manifest()[models.SPEECH_MODEL].path().parent
    config = WhisperConfig(
        vocab_size=51865, d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8
    )
    config.decoder_attention_heads = 8
    config.encoder_ffn_dim = config.decoder_ffn_dim = 2048
    model = WhisperForConditionalGeneration(config).eval()
    state = to_transformers(read_weights(folder / "model.bin"))
    model.load_state_dict({name: torch.from_numpy(values) for name, values in state.items()})
    extractor = WhisperFeatureExtractor()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def write(clip: str) -> str:
        raw = decode(Path(clip).read_bytes(), most_s=600).raw_data
        samples = np.frombuffer(raw, np.int16).astype(np.float32) / 32768
        features = extractor(samples, sampling_rate=RATE, return_tensors="pt").input_features
        with torch.inference_mode():
            tokens = GenerationMixin.generate(
                model,
                features,
                decoder_input_ids=torch.tensor([_KOREAN]),
                num_beams=_BEAM,
                do_sample=False,
                max_new_tokens=200,
                eos_token_id=_END,
                pad_token_id=_END,
            )
        return str(tokenizer.decode(tokens[0].tolist(), skip_special_tokens=True))

    return _clock(write, clips)


def hear_with_ours(clips: list[str]) -> dict[str, Any]:
    """Return the texts, seconds and memory of 딥봇's own way."""
    engine = Engine.of(Settings())
    return _clock(lambda clip: hear(Path(clip).read_bytes(), engine, most_s=600).text, clips)


def _clock(write: Callable[[str], str], clips: list[str]) -> dict[str, Any]:
    write(clips[0])  # what is loaded late is loaded now
    began = time.perf_counter()
    texts = [write(clip) for clip in clips]
    taken = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"texts": texts, "seconds": taken, "mib": memory}


def main() -> None:
    """Print both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    lines = (folder / "transcripts.tsv").read_text(encoding="utf-8").splitlines()
    meant = dict(line.split("\t", 1) for line in lines if line.strip())
    clips = [str(folder / name) for name in meant]
    console, taken = Console(), {}
    for name, work in (("transformers", hear_with_transformers), ("ours", hear_with_ours)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            figures = pool.apply(work, (clips,))
        right = ["".join(filter(str.isalnum, text)) for text in meant.values()]
        heard = ["".join(filter(str.isalnum, text)) for text in figures["texts"]]
        taken[name] = figures["seconds"]
        console.print(
            f"{name}: {figures['seconds']:.2f} s, {figures['mib']} MiB, character error rate "
            f"{jiwer.cer(right, heard):.3f}"
        )
    console.print(f"ours is {taken['transformers'] / taken['ours']:.1f} times as fast")


if __name__ == "__main__":
    main()
