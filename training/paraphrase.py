"""Other words for a question, by a model behind the OpenAI chat API.

Protocol: https://platform.openai.com/docs/api-reference/chat/create. What the model wrote is kept
in a file as it comes, so that a run that was stopped goes on where it was.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from inference.client import ChatMessage
from inference.remote import open_client, without_secrets
from training.errors import TrainingError
from training.progress import counting

_SYSTEM = (
    "당신은 도배 상담의 질문을 다른 말로 바꿔 씁니다. 묻는 것은 그대로 두세요. 숫자, 재료 이름, "
    "'안', '못', '없다' 같은 부정을 더하지도 빼지도 마세요. 손님이 쓸 법한 서로 다른 말투로, "
    "한 줄에 하나씩, 번호와 설명 없이 질문만 적으세요."
)
_TEMPERATURE = 0.8
_TOKENS_PER_PHRASING = 96
_AT_ONCE = 8  # requests; the server queues what is more than it can do
_ATTEMPTS, _PAUSE_S = 3, 2.0
_TIMEOUT_S = 120.0
_MARK = re.compile(r"^\s*(?:[-*•]+|\d+[.)]|질문\s*\d*\s*[:：])\s*")
_AROUND = "\"'“”‘’* "


@dataclass(frozen=True, slots=True)
class Paraphraser:
    """A model that is asked for `count` other phrasings of each question; `url` ends in /v1."""

    url: str
    model: str
    count: int
    api_key: str = field(default="", repr=False)

    def reword(self, questions: Sequence[str], path: Path) -> dict[str, list[str]]:
        """Return what the model wrote for each question, kept in the file `path` as it comes.

        Raises `TrainingError`.
        """
        known = self._read(path)
        missing = [question for question in questions if question not in known]
        if missing:
            _end_line(path)
            with path.open("a", encoding="utf-8") as file:
                for question, written in self._ask_all(missing):
                    known[question] = written
                    record = {"question": question, "written": written, **self._key()}
                    file.write(f"{json.dumps(record, ensure_ascii=False)}\n")
                    file.flush()
        return {question: known[question] for question in questions}

    def _key(self) -> dict[str, object]:
        return {"model": self.model, "count": self.count}

    def _read(self, path: Path) -> dict[str, list[str]]:
        """Return what was written before, by this model and of so many."""
        known: dict[str, list[str]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").split("\n"):
                try:
                    record = json.loads(line)
                    if self._key().items() <= record.items():
                        known[record["question"]] = [str(each) for each in record["written"]]
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue  # a line that a stop cut off
        return known

    def _ask_all(self, questions: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield answers as they come; after a failure those under way, and then raise it."""
        with (
            counting("바꿔 쓰기", len(questions)) as advance,
            ThreadPoolExecutor(_AT_ONCE) as pool,
            # Closed before the threads are waited for: a stop ends what they wait for.
            open_client(self.url, self.api_key, timeout_s=_TIMEOUT_S) as client,
        ):
            asked = {pool.submit(self._ask, client, question): question for question in questions}
            failed: TrainingError | None = None
            try:
                for done in as_completed(asked):
                    advance(1)
                    try:
                        yield asked[done], done.result()
                    except TrainingError as error:
                        failed = failed or error
                        for waiting in asked:  # what is under way is paid for, and kept
                            waiting.cancel()
                    except CancelledError:
                        continue
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
            if failed:
                raise failed

    def _ask(self, client: httpx.Client, question: str) -> list[str]:
        """Return the lines that the model wrote. Raises `TrainingError`."""
        messages: list[ChatMessage] = [
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": f"{question}\n\n이 질문을 {self.count}가지로 바꿔 쓰세요."},
        ]
        body = {
            "model": self.model,
            "messages": messages,
            "temperature": _TEMPERATURE,
            "max_tokens": _TOKENS_PER_PHRASING * self.count,
        }
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = client.post("chat/completions", json=body)
                answer.raise_for_status()
                text = answer.json()["choices"][0]["message"]["content"] or ""
                return [line for line in map(_strip, text.splitlines()) if line]
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                msg = f"모델 서버의 답을 읽을 수 없어요: {without_secrets(self.url)}"
                raise TrainingError(msg) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                is_refused = isinstance(error, httpx.HTTPStatusError) and (
                    error.response.status_code < 500 and error.response.status_code != 429
                )
                if is_refused or attempt == _ATTEMPTS or isinstance(error, httpx.InvalidURL):
                    raise TrainingError(_explain(self.url, error)) from error
                time.sleep(_PAUSE_S * attempt)
        raise AssertionError


def _strip(line: str) -> str:
    return _MARK.sub("", line).strip(_AROUND)


def _end_line(path: Path) -> None:
    """End the last line of a file that a stop has cut off."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])


def _explain(url: str, error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        what = f"모델 서버가 {error.response.status_code}로 답했어요"
    else:
        what = "모델 서버에 닿지 못해요"
    return f"{what}: {without_secrets(url)} (받은 것은 남겨 두었으니, 다시 하면 이어서 해요)"
