"""Small random models of the systems' architectures, with a Korean tokenizer made on the spot."""

import csv
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

torch.set_num_threads(1)  # so small that a second one is in the way

Architecture = Literal["gpt2", "gptj", "llama"]

VOCABULARY = 2048  # a multiple of 32, as all widths here: bitsandbytes takes no others on a CPU
POSITIONS = 1024
_WIDTH, _LAYERS, _HEADS = 64, 2, 2


def make_base(folder: Path, architecture: Architecture) -> Path:
    """Write a random base, the same each time, as its publisher would; return its folder."""
    torch.manual_seed(0)
    _build(architecture).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer that has seen the starter knowledge."""
    return PreTrainedTokenizerFast(
        tokenizer_object=_trained(),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=POSITIONS,
    )


@cache
def _trained() -> ByteLevelBPETokenizer:
    path = resources.files("inference.knowledge").joinpath("starter.csv")
    with path.open(encoding="utf-8") as file:
        texts = [cell for row in list(csv.reader(file))[:60] for cell in row if cell]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        texts,
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        show_progress=False,
    )
    return tokenizer._tokenizer


def _build(architecture: Architecture) -> PreTrainedModel:
    ends: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    gpt: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "n_positions": POSITIONS,
        "n_embd": _WIDTH,
        "n_layer": _LAYERS,
        "n_head": _HEADS,
        **ends,
    }
    match architecture:
        case "gpt2":
            return GPT2LMHeadModel(GPT2Config(**gpt))
        case "gptj":
            return GPTJForCausalLM(GPTJConfig(rotary_dim=_WIDTH // _HEADS // 2, **gpt))
        case "llama":
            return LlamaForCausalLM(
                LlamaConfig(
                    vocab_size=VOCABULARY,
                    max_position_embeddings=POSITIONS,
                    hidden_size=_WIDTH,
                    intermediate_size=2 * _WIDTH,
                    num_hidden_layers=_LAYERS,
                    num_attention_heads=_HEADS,
                    num_key_value_heads=1,
                    **ends,
                )
            )


def make_embedder(folder: Path, dimensions: int) -> Path:
    """Write a random sentence-transformers model, the same each time; return its folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

    torch.manual_seed(0)
    words = folder / "words"
    BertModel(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=_HEADS,
            intermediate_size=_WIDTH,
            max_position_embeddings=128,
        )
    ).save_pretrained(words)
    make_tokenizer().save_pretrained(words)
    parts = [
        Transformer(str(words), max_seq_length=128),
        Pooling(_WIDTH),
        Dense(_WIDTH, dimensions),
    ]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder / "model"))
    return folder / "model"
