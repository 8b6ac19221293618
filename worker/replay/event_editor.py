"""Applies an expression, in the language of jq, to events: in a process of its own, which has limits."""

import asyncio
import subprocess  # nosec B404
import sys
from contextlib import suppress
from signal import SIGPROF
from typing import IO, cast

import structlog

from worker.core.errors import SettingsError, WorkerError
from worker.core.model import MAX_EXPRESSION_LENGTH
from worker.events.tolerant_json import is_encodable
from worker.replay import jq_process
from worker.replay.jq_process import CPU_SECONDS, FAILED, MEMORY_BYTES, MISSING, OK, read_message, write_message

log = structlog.get_logger(__name__)

_MAX_KILLS = 10
"""Documents at which the process may end; each can take `CPU_SECONDS`."""


class InvalidExpression(WorkerError):
    """The expression is none."""


class EditFailed(WorkerError):
    """The expression makes no event of this one, which stays as it is."""


class EventEditor:
    """Applies one expression to events, one at a time.

    Attributes:
        expression: in the language of jq.
        by: the user and the host.
    """

    def __init__(self, expression: str, by: str) -> None:
        """Start the process.

        Raises:
            InvalidExpression: the syntax is wrong, or the expression is too long.
            SettingsError: jq is not installed.
        """
        if not 0 < len(expression) <= MAX_EXPRESSION_LENGTH:
            raise InvalidExpression(
                f"an expression has 1 to {MAX_EXPRESSION_LENGTH:,} characters, not {len(expression):,}"
            )
        if not is_encodable(expression):
            raise InvalidExpression("an expression is UTF-8")
        self.expression = expression
        self.by = by
        self._kills = 0
        self._process = self._start()

    async def edit(self, document: bytes) -> bytes:
        """The object that the expression makes of one JSON document. Raises EditFailed if it makes none."""
        return await asyncio.to_thread(self._edit, document)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        # A session of its own: after Ctrl-C the replay finishes its batch. No environment: it has passwords, and an
        # expression can read it.
        process = subprocess.Popen(  # noqa: S603 # nosec B603
            [sys.executable, "-I", jq_process.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        try:
            status, text = _ask(process, self.expression.encode("utf-8"))
        except (EOFError, BrokenPipeError):
            status, text = FAILED, b"jq takes too much CPU or memory to read it"
        if status != OK:
            process.kill()
            process.communicate()
            if status == MISSING:
                raise SettingsError("an edit needs jq: pip install 'execution-metrics-worker[edit]'")
            raise InvalidExpression(text.decode())
        return process

    def _edit(self, document: bytes) -> bytes:
        if self._kills >= _MAX_KILLS:
            raise EditFailed(f"not tried: at {_MAX_KILLS} others the expression took too much CPU or memory")
        try:
            status, text = _ask(self._process, document)
        except (EOFError, BrokenPipeError):
            reason = self._describe_end()
            self._restart()
            raise EditFailed(reason) from None
        if status != OK:
            raise EditFailed(text.decode())
        return text

    def _restart(self) -> None:
        self._kills += 1
        try:
            self._process = self._start()
        except (InvalidExpression, SettingsError, OSError) as error:
            log.warning("the process of jq cannot be started again", error=str(error))
            self._kills = _MAX_KILLS

    def _describe_end(self) -> str:
        with suppress(BrokenPipeError):
            self._process.communicate()
        if self._process.returncode == -SIGPROF:
            return f"the expression takes more than {CPU_SECONDS} s of CPU"
        return f"the expression takes more than {MEMORY_BYTES >> 20} MiB of memory"


def _ask(process: subprocess.Popen[bytes], text: bytes) -> tuple[int, bytes]:
    """Send a message, and wait for its answer. Raises EOFError or BrokenPipeError if the process ends."""
    write_message(cast("IO[bytes]", process.stdin), OK, text)
    return read_message(cast("IO[bytes]", process.stdout))
