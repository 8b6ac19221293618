"""Standard streams that are closed, or cannot be written."""

import errno
import os
import sys
from typing import Any

import click

_UNWRITABLE = frozenset({errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC})


class InputFile(click.File):
    """A file to read, - for standard input, as bytes."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401 - as of click
        """Open the file, or fail with a usage error."""
        if value == "-" and sys.stdin is None:
            self.fail("standard input is closed", param, ctx)
        return super().convert(value, param, ctx)


def is_terminal(stream: object) -> bool:
    """Whether this standard stream is open, and a terminal."""
    return bool(getattr(stream, "isatty", lambda: False)())


def let_writes_to_closed_stdout_fail() -> None:
    """Make a write to stdout an error if it is closed; click would drop the output in silence."""
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")


def is_unwritable_output(error: OSError) -> bool:
    """Whether a write to stdout may have failed with `error`."""
    return error.errno in _UNWRITABLE


def discard_output() -> None:
    """Discard what is buffered for stdout: Python would try to write it at exit, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
