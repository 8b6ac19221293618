"""What the commands share: settings from the environment, words on stderr, data on stdout."""

import json
import os
import sys
import threading
from collections.abc import Mapping

import click

from worker.observability import logs
from worker.settings.loading import Dependency, Settings, load, unknown_variables


def load_settings(*needs: Dependency) -> Settings:
    """The settings; logging follows them, and what looks misspelt is said.

    Raises:
        SettingsError: a variable is missing or wrong.
    """
    settings = load(os.environ, needs or tuple(Dependency))
    logs.configure(settings.log_level, settings.log_format)
    for warning in unknown_variables(os.environ):
        print_stderr(f"warning: {warning}")
    return settings


def print_stderr(line: str) -> None:
    """A line for the person at the terminal."""
    click.echo(line, err=True)


def print_json(document: Mapping[str, object]) -> None:
    """One JSON object on a line of stdout: in ASCII, so that no terminal takes any of it for a command."""
    click.echo(json.dumps(document).replace("\x7f", "\\u007f"))


def use_json(asked: bool) -> bool:
    """Whether to write JSON: where it was asked for, and where stdout is no terminal."""
    return asked or not sys.stdout.isatty()


def exit_without_joining_threads(code: int) -> None:
    """Exit with `code`, though a thread may wait for a ClickHouse or a name server that does not answer.

    It has nothing to finish any more, and Python would wait for it, the event loop too when it closes.
    """
    logs.flush()
    if any(thread is not threading.main_thread() for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
