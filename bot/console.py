"""How commands run, speak and fail: one Korean line and an exit code for the operator."""

import asyncio
import contextlib
import errno
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from bot.errors import BadInputError, OperatorError
from bot.settings import Settings
from training.errors import TrainingError, TrainingInputError

T = TypeVar("T")

FAILED, BAD_INPUT, NO_ANSWER, STOPPED = 1, 2, 3, 130

_TRAINING_PACKAGES = {
    *("torch", "transformers", "peft", "trl", "bitsandbytes", "accelerate", "datasets"),
    *("gguf", "sacrebleu", "sentence_transformers", "lm_eval", "sklearn", "matplotlib"),
}


def load_settings() -> Settings:
    """Read the settings; wrong ones end the command."""
    try:
        return Settings()
    except ValidationError as error:
        # The value itself stays out: it may be a secret.
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}".lstrip(": ")
            for e in error.errors()
        )
        fail(f"설정이 잘못됐어요. {wrong}", BAD_INPUT)
    except UnicodeDecodeError:
        fail(".env 파일을 읽을 수 없어요. UTF-8로 저장해 주세요.", BAD_INPUT)
    except SettingsError as error:  # a file of a secret; nothing of what it holds is shown
        reason = "UTF-8이 아니에요"
        if isinstance(error.__cause__, OSError):
            reason = f"{error.__cause__.filename}: {error.__cause__.strerror}"
        fail(f"비밀 파일을 읽을 수 없어요 ({reason}).", BAD_INPUT)


def serve(work: Coroutine[Any, Any, None]) -> None:
    """Run a service until Ctrl-C or a TERM signal cancels it, at whatever point it is."""

    async def until_told() -> None:
        task = asyncio.ensure_future(work)
        with contextlib.suppress(NotImplementedError):  # Windows has Ctrl-C only
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await task

    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        run(until_told())


def do(work: Callable[[], None]) -> None:
    """Do a command's work that waits for nothing else."""
    try:
        work()
    except (BadInputError, TrainingInputError) as error:
        fail(str(error), BAD_INPUT)
    except (OperatorError, TrainingError) as error:
        fail(str(error), FAILED)
    except OSError as error:
        fail(explain(error), FAILED)
    except KeyboardInterrupt:
        fail("멈췄어요. 같은 명령을 다시 실행하면 돼요.", STOPPED)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _TRAINING_PACKAGES:
            raise
        fail(
            f"학습에 쓰는 패키지가 없어요 ({error.name}). make train-setup을 실행해 주세요.", FAILED
        )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work; what an operator can put right becomes one line and an exit code."""
    from alembic.util import CommandError
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from inference.embeddings import EmbedderError
    from inference.knowledge import KnowledgeError

    try:
        return asyncio.run(work)
    except BadInputError as error:
        fail(str(error), BAD_INPUT)
    except (OperatorError, KnowledgeError, EmbedderError) as error:
        fail(str(error), FAILED)
    except (ArgumentError, CommandError):
        fail("DATABASE_URL 또는 판 이름이 잘못됐어요.", BAD_INPUT)
    except (DBAPIError, sqlite3.Error, OSError) as error:
        fail(explain(error), FAILED)


def explain(error: Exception) -> str:
    """Return what an operator can do about a failing database, disk or connection."""
    if "disk is full" in str(error) or getattr(error, "errno", None) == errno.ENOSPC:
        return "디스크가 가득 찼어요. 자리를 비우고 다시 시작해 주세요."
    if isinstance(error, OSError) and not isinstance(error, ConnectionError):
        return f"파일을 쓸 수 없어요: {error.filename or ''} ({error.strerror or error})"
    return "데이터베이스를 쓸 수 없어요. 주소와 권한을 확인해 주세요."


def say(line: str) -> None:
    """Print a line of the output."""
    print(line, flush=True)


def tell(line: str) -> None:
    """Say something beside the output."""
    print(line, file=sys.stderr, flush=True)


def fail(sentence: str, code: int) -> NoReturn:
    """End the command with a sentence and an exit code."""
    print(f"deepbot: {sentence}", file=sys.stderr)
    raise typer.Exit(code)
