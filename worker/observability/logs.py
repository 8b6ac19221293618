"""Logs on stderr: one JSON object per line, or columns for a terminal.

Repeated warnings are summarised (`worker.observability.rate_limiter`), also those of libraries. The columns contain no
control characters, so that a logged string cannot control the terminal.
"""

import atexit
import logging
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor

from worker.core.escaping import escape_control_characters
from worker.observability.rate_limiter import LogRateLimiter

log = structlog.get_logger(__name__)

_REPEATED = "repeated"
_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
_MULTILINE_KEYS = frozenset({"exception", "stack"})


def configure(level: str, form: str, *, with_clients: bool = True) -> None:
    """Log to stderr, also what libraries log, of which the lowest level is WARNING. `form` is `json` or `console`.

    What the clients of Kafka and ClickHouse log is left out if not `with_clients`, unless `level` is DEBUG.
    """
    handler = _Stderr()
    handler.addFilter(_allows_record)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                *([structlog.processors.JSONRenderer()] if form == "json" else _console_processors()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("worker").setLevel(level)
    # It logs a traceback for each failed connection; the caller logs the same error in one line.
    logging.getLogger("clickhouse_driver.connection").setLevel(logging.ERROR)
    for client in ("aiokafka", "clickhouse_driver", "clickhouse_driver.connection"):
        if not (with_clients or level == "DEBUG"):
            logging.getLogger(client).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _drop_repeated,  # first, so that a withheld line costs little
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def flush_summaries() -> None:
    """Log what the rate limiter has withheld until now."""
    _limiter.flush()


def _log_summary(summary: Mapping[str, object]) -> None:
    log.warning(_REPEATED, **summary)


_limiter = LogRateLimiter(_log_summary)
atexit.register(flush_summaries)


def _drop_repeated(_logger: object, method: str, entry: EventDict) -> EventDict:
    if method in ("debug", "info") or entry["event"] == _REPEATED or _limiter.allows(entry["event"], entry):
        return entry
    raise structlog.DropEvent


def _allows_record(record: logging.LogRecord) -> bool:
    """Whether a library's record is logged; the first line of its text, before formatting, is its kind."""
    if isinstance(record.msg, dict) or record.levelno < logging.WARNING:
        return True
    # asyncio formats its messages itself, with addresses of tasks, but the first line is always the same.
    return _limiter.allows(f"{record.name}: {str(record.msg).partition(chr(10))[0]}", {})


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to the current `sys.stderr`: a progress bar replaces it, to move below each logged line."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def _console_processors() -> list[Processor]:
    colors = sys.stderr.isatty()
    return [_escape, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


def _escape(_logger: object, _method: str, entry: EventDict) -> EventDict:
    """Escape control characters, of the name of a metric for example; a traceback keeps its line breaks."""
    return {
        key: "\n".join(map(escape_control_characters, value.split("\n") if key in _MULTILINE_KEYS else [value]))
        if isinstance(value, str)
        else value
        for key, value in entry.items()
    }
