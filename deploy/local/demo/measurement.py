"""`python -m deploy.local.demo.measurement FOLDER`: execute the work, and print one event a line.

It is a process of its own, because `measure` passes Ctrl-C on to the measured command, and gives that command its own
standard streams: here what the commands print must not be seen.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local.demo.work import prepare
from deploy.local.process import REPOSITORY
from worker.commands.execution import measure

if TYPE_CHECKING:
    from collections.abc import Callable

EventDocument = dict[str, Any]


class MeasuringFailedError(RuntimeError):
    """The executions could not be run; the text has the output."""


def measure_all(folder: Path, on_progress: Callable[[int], None]) -> list[EventDocument]:
    """Run and measure the work in a process of its own; call `on_progress` with the number of finished executions.

    Raises:
        MeasuringFailedError: the process has failed.
    """
    events: list[EventDocument] = []
    with (folder / "measuring.log").open("w+b") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        try:
            for line in child.stdout or ():
                events.append(json.loads(line))
                on_progress(len(events))
            exit_code = child.wait()
        except BaseException:
            with suppress(ProcessLookupError):  # it has just ended
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise
        if exit_code:
            log.seek(0)
            raise MeasuringFailedError(f"measuring ended with {exit_code}\n{log.read().decode(errors='replace')}")
    return events


def main(folder: Path) -> None:
    """Execute the commands one after the other."""
    works = prepare(folder)
    with os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as report:
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)  # for a traceback of this process
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        for agent, user, command in works:
            print(json.dumps(measure(command, agent, user).event), file=report)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
