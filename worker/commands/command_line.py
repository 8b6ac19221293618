"""What all commands share: settings from the environment, data on stdout, messages on stderr."""

import json
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import click

from worker.commands.standard_streams import is_terminal
from worker.observability import logs
from worker.settings.environment import find_mistakes
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable, load

Command = TypeVar("Command", bound=Callable[..., Any])


def load_settings(*needs: RequiredVariable) -> Settings:
    """Read the settings, of which `needs` must be set: all required ones, if none is named.

    Configures logging by them, and warns of variables that may be wrong. Raises SettingsError.
    """
    return _load(needs or tuple(RequiredVariable))


def load_optional_settings() -> Settings:
    """As `load_settings`, for a command that can do without Kafka and ClickHouse."""
    return _load(())


def _load(needs: Collection[RequiredVariable]) -> Settings:
    # First: a warning may say why a variable is missing.
    for warning in find_mistakes(os.environ):
        print_warning(warning)
    settings = load(os.environ, needs)
    # A command reports itself what its clients meet with, once, and not between the rows of a table.
    logs.configure(settings.log_level, settings.log_format, with_clients=False)
    return settings


def print_warning(text: str) -> None:
    """Print a warning for the person at the terminal."""
    print_stderr(f"warning: {text}")


def print_stderr(line: str) -> None:
    """Print a message for the person at the terminal."""
    click.echo(line, err=True)


def print_json(document: Mapping[str, object]) -> None:
    """Print one JSON object on a line of stdout, in ASCII, so that it contains no control sequence of a terminal."""
    click.echo(json.dumps(document).replace("\x7f", "\\u007f"))


def json_option(description: str) -> Callable[[Command], Command]:
    """The option `--json`, as the argument `as_json`; it is always on where stdout is not a terminal."""

    def is_on(_context: click.Context, _option: click.Parameter, requested: bool) -> bool:
        return requested or not is_terminal(sys.stdout)

    return click.option("--json", "as_json", is_flag=True, callback=is_on, help=description)


def exit_without_joining_threads(code: int) -> None:
    """Exit with `code` at once if other threads exist; else return.

    Python would join them, and so would the event loop when it closes, although a thread may still wait for a
    ClickHouse or a name server that does not answer. No thread has work to finish.
    """
    logs.flush_summaries()
    if any(thread is not threading.main_thread() for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
