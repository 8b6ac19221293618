"""What `run`, `dlq watch` and `console` share: they run for long, and everything on their stderr is a log line."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import structlog

from worker.core.errors import DependencyError, SettingsError
from worker.observability import logs
from worker.settings.encryption import find_unencrypted_connections
from worker.settings.environment import find_mistakes
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable, load, read_log_format

log = structlog.get_logger(__name__)


@contextmanager
def log_fatal_errors() -> Iterator[None]:
    """Log the error that ends the service. Exit code: 2 wrong configuration, 3 a dependency is unreachable, else 1."""
    logs.configure("INFO", read_log_format(os.environ))
    sys.excepthook = _log_crash
    try:
        yield
    except SettingsError as error:
        log.critical("the configuration is wrong", errors=str(error).splitlines())
        raise SystemExit(2) from error
    except DependencyError as error:
        log.critical("a dependency is unreachable or not prepared", error=str(error))
        raise SystemExit(3) from error


def load_service_settings(*needs: RequiredVariable) -> Settings:
    """As `command_line.load_settings`, with warnings as log lines, and one for each connection without encryption."""
    for warning in find_mistakes(os.environ):
        log.warning(warning)
    settings = load(os.environ, needs or tuple(RequiredVariable))
    logs.configure(settings.log_level, settings.log_format)
    for warning in find_unencrypted_connections(settings):
        log.warning(warning)
    return settings


def _log_crash(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """An `excepthook`: the traceback of a bug in one log line."""
    log.critical("the program has failed", exc_info=(kind, error, traceback))
