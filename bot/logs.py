"""Structured logs without secrets: one event a line, console or JSON, to standard error."""

import logging
import re
import sys
from typing import Literal

import structlog
from structlog.typing import Processor

QUIET = logging.ERROR  # for commands whose output is the answer

# A bot token stands in the URL of every Bot API call, so in many libraries' messages.
_TOKEN = re.compile(r"\d{3,}:[A-Za-z0-9_-]{20,}")


class _Redacting(structlog.stdlib.ProcessorFormatter):
    """Replaces what looks like a bot token, however deep in an event it stood."""

    def format(self, record: logging.LogRecord) -> str:
        return _TOKEN.sub("<token>", super().format(record))


def configure(style: Literal["console", "json"], *, level: int = logging.INFO) -> None:
    """Send our events and every library's through one form."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        _Redacting(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    handler.setLevel(level)  # some libraries set their own loggers' levels when imported
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # These log a line a call: noise, with the token in it, and texts at debug level.
    for name in ("httpx", "httpcore", "aiohttp.access", "alembic", "bm25s", "telegram"):
        logging.getLogger(name).setLevel(logging.WARNING)
