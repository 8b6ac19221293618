"""Logs on stderr: one JSON object a line for machines, or columns for people.

What repeats is summarised, whoever logs it (`worker.observability.rate_limiter`); no string reaches a terminal as a
command to it.
"""

import asyncio
import atexit
import logging
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from worker.core.escaping import escape_control_characters
from worker.observability.rate_limiter import INTERVAL_SECONDS, LogRateLimiter

log = structlog.get_logger(__name__)

_REPEATED = "repeated"
_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(level: str, form: str) -> None:
    """Send what this program and its libraries log to stderr.

    Args:
        level: name of the lowest level that is shown; libraries are shown from WARNING on at least.
        form: `json` or `console`.
    """
    handler = _Stderr()
    handler.addFilter(_admitted)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *([structlog.processors.JSONRenderer()] if form == "json" else _for_people()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("worker").setLevel(level)
    # It logs a traceback for each connection that fails; whoever tried it says the same in one line.
    logging.getLogger("clickhouse_driver.connection").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _not_repeated,  # before the rest, so that what is withheld costs little
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


async def summarise() -> None:
    """Tell what was withheld whenever an interval ends, until cancelled: a flood that is over has a last summary."""
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        flush()


def flush() -> None:
    """Tell what was withheld until now."""
    _flood.flush()


def _summarised(summary: Mapping[str, object]) -> None:
    log.warning(_REPEATED, **summary)


_flood = LogRateLimiter(_summarised)
atexit.register(flush)


def _not_repeated(_logger: object, method: str, entry: EventDict) -> EventDict:
    if method in ("debug", "info") or entry["event"] == _REPEATED or _flood.allows(entry["event"], entry):
        return entry
    raise structlog.DropEvent


def _admitted(record: logging.LogRecord) -> bool:
    """The same for what libraries log: the first line of their text, before anything is put into it, names the kind."""
    if isinstance(record.msg, dict) or record.levelno < logging.WARNING:
        return True
    # asyncio puts everything in by itself, the address of a task say, below a line that is always the same.
    return _flood.allows(f"{record.name}: {str(record.msg).partition(chr(10))[0]}", {})


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the time: a progress bar stands in for it, and makes room for each line."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _for_people() -> list[Processor]:
    colors = sys.stderr.isatty()
    return [
        _plain,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
    ]


def _plain(_logger: object, _method: str, entry: EventDict) -> EventDict:
    """What others wrote, the name of a metric say, never as a control sequence; a traceback keeps its lines."""
    return {
        key: "\n".join(map(escape_control_characters, value.split("\n") if key in _OF_LINES else [value]))
        if isinstance(value, str)
        else value
        for key, value in entry.items()
    }


_OF_LINES = frozenset({"exception", "stack"})
