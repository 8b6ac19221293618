"""Asks the person at the terminal before something is written."""

import asyncio
import sys
from typing import TYPE_CHECKING, cast

import click

from worker.commands.command_line import print_stderr
from worker.commands.line_stream import stream_lines
from worker.commands.standard_streams import is_terminal
from worker.core.process import run_unless_stopped

if TYPE_CHECKING:
    from io import BufferedIOBase

_MAX_ANSWER_BYTES = 100


def require_confirmable(what: str) -> None:
    """Raise UsageError if standard input is no terminal, on which an operator could answer."""
    if not is_terminal(sys.stdin):
        raise click.UsageError(f"stdin is not a terminal, so {what} cannot be confirmed: add --yes (or --dry-run)")


async def is_confirmed(question: str, stop: asyncio.Event) -> bool:
    """Whether the answer is yes; `stop` means no."""
    # Read with the event loop: a blocking read would miss a signal that arrives just before it.
    click.echo(f"{question} [y/N]: ", err=True, nl=False)
    answer = await run_unless_stopped(stop, _read_answer())
    if not answer:
        print_stderr("")  # ends the line of the question
    return answer is not None and answer.strip().lower() in (b"y", b"yes")


def print_left_out(shown: int, done: int) -> None:
    """Say how many of the dead letters that the operator has confirmed are left out."""
    if left_out := max(shown - done, 0):
        print_stderr(
            f"{shown:,} were shown; {left_out:,} of them are left out: others have settled or reopened them meanwhile, "
            "or they have expired"
        )


async def _read_answer() -> bytes:
    async for line in stream_lines(cast("BufferedIOBase", sys.stdin.buffer), _MAX_ANSWER_BYTES):
        return line.content or b""
    return b""
