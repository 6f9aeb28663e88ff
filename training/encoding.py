"""Examples as token ids, and which of them the loss counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from inference import prompts
from inference.client import ChatMessage
from training.errors import TrainingError
from training.examples import Example
from training.recipe import Setting

IGNORED = -100  # what torch's cross entropy leaves out


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as a model sees it: `ids` and `labels` of one length, ignored ones -100."""

    ids: list[int]
    labels: list[int]
    truncated: bool

    @property
    def learnt(self) -> int:
        """How many tokens the loss counts; the first has nothing before it to be told from."""
        return sum(label != IGNORED for label in self.labels[1:])


def as_chat(example: Example, setting: Setting) -> list[ChatMessage]:
    """Return the messages of an example as the setting's template takes them."""
    if setting.template == "original":
        return list(example.messages[-2:])  # the first team knew no earlier turns
    return prompts.as_consultation(example.messages, example.facts)


def encode(
    example: Example, tokenizer: PreTrainedTokenizerBase, setting: Setting
) -> Encoded | None:
    """Return an example as tokens, at most `max_length`; None where no answer is left.

    The prompt's tokens are exactly those that serving sends. Raises `TrainingError` where the
    tokenizer joins the prompt's end and the answer's beginning into one token.
    """
    chat = as_chat(example, setting)
    prompt = prompt_ids(chat[:-1], tokenizer)
    whole = tokenizer.apply_chat_template(_as_dicts(chat), tokenize=False)
    ids: list[int] = tokenizer(whole, add_special_tokens=False)["input_ids"]
    while ids and ids[-1] != tokenizer.eos_token_id:
        ids.pop()  # a template's own line break after the end is never generated
    if ids[: len(prompt)] != prompt:
        msg = (
            "이 토크나이저는 질문의 끝과 답의 처음을 한 토큰으로 붙여요: "
            f"{tokenizer.name_or_path}. 다른 대화 틀을 골라 주세요 (template)."
        )
        raise TrainingError(msg)
    labels = list(ids) if setting.loss == "all" else [IGNORED] * len(prompt) + ids[len(prompt) :]
    truncated = len(ids) > setting.max_length
    found = Encoded(ids[: setting.max_length], labels[: setting.max_length], truncated)
    return found if len(prompt) < setting.max_length else None


def prompt_text(chat: Sequence[ChatMessage], tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a chat that waits for its answer, as the chat template writes it."""
    return str(
        tokenizer.apply_chat_template(_as_dicts(chat), tokenize=False, add_generation_prompt=True)
    )


def text_ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens of a written chat, which names its special tokens itself."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def prompt_ids(chat: Sequence[ChatMessage], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens of a chat that waits for its answer."""
    return text_ids(prompt_text(chat, tokenizer), tokenizer)


def _as_dicts(chat: Sequence[ChatMessage]) -> list[dict[str, str]]:
    return [{"role": each["role"], "content": each["content"]} for each in chat]
