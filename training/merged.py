"""A merged model in its folder, as the gate looks at it: in transformers."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from inference.client import ChatMessage
from training import bases, encoding, trained
from training.agreement import Precision, Step
from training.errors import TrainingInputError
from training.probes import ANSWER_TOKENS
from training.subjects import TOP


class MergedFolder:
    """Answers as the folder's files say, tokenizer and chat template among them."""

    adapted = False

    def __init__(self, folder: Path, precision: Precision | None) -> None:
        if not (folder / "config.json").is_file():
            msg = f"병합한 모델이 아니에요 (config.json이 없음): {folder}"
            raise TrainingInputError(msg)
        self.shown = self.model = folder.resolve().name
        self.versions: dict[str, str] = {}
        self.precision: Precision = precision or "bf16"
        self._folder = folder
        self._loaded: PreTrainedModel | None = None
        with bases.explained(self.shown):
            self._tokenizer = AutoTokenizer.from_pretrained(folder)
            self.context = int(AutoConfig.from_pretrained(folder).max_position_embeddings)
        if not self._tokenizer.chat_template:
            msg = f"병합한 모델에 대화 틀(chat template)이 없어요: {folder}"
            raise TrainingInputError(msg)

    def chat_ids(self, chat: Sequence[ChatMessage]) -> list[int]:
        """Render by the folder's template."""
        return encoding.prompt_ids(chat, self._tokenizer)

    def text_ids(self, text: str) -> list[int]:
        """Tokenize by the folder's tokenizer."""
        return encoding.text_ids(text, self._tokenizer)

    @torch.inference_mode()
    def answer(self, prompt: Sequence[int], *, adapter: bool) -> list[Step]:
        """Choose the likeliest token each time."""
        if not adapter:
            raise AssertionError
        model = self._model()
        cache, ids, steps = None, torch.tensor([list(prompt)], device=model.device), list[Step]()
        while len(steps) < ANSWER_TOKENS:
            out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            values, tokens = torch.log_softmax(out.logits[0, -1].float(), dim=-1).topk(TOP)
            top = dict(zip(tokens.tolist(), values.tolist(), strict=True))
            steps.append(Step(int(tokens[0]), top))
            if steps[-1].token == self._tokenizer.eos_token_id:
                break
            ids = tokens[:1].unsqueeze(0)
        return steps

    def close(self) -> None:
        """Free the model's memory."""
        self._loaded = None

    def _model(self) -> PreTrainedModel:
        if self._loaded is None:
            with bases.explained(self.shown):
                self._loaded = AutoModelForCausalLM.from_pretrained(
                    self._folder, dtype="auto", device_map={"": trained.find_device()}
                ).eval()
        return self._loaded
