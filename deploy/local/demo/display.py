"""Progress on stderr: bars on a terminal, one line a step elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from rich.console import Console

_WIDTH = 28


class Display:
    """The steps of the demo; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✔[/]"),
            TextColumn("{task.description}"),
            BarColumn(_WIDTH),
            _Count(),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def print(self, text: str) -> None:
        """Print something above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """One step; call what it yields with the progress. Without `total` only the time is shown."""
        bar = self._progress.add_task(f"{name:<24}", total=total)
        started, done = time.monotonic(), 0

        def update(completed: int) -> None:
            nonlocal done
            done = completed
            self._progress.update(bar, completed=completed)

        yield update
        if total is None:
            self._progress.update(bar, total=1, completed=1)
        if not self._console.is_terminal:
            count = "" if total is None else f"{done:,} in "
            self._console.print(f"{name}: {count}{time.monotonic() - started:.1f} s", highlight=False)


class _Count(ProgressColumn):
    """The count, and the mean rate since the step began."""

    def render(self, task: Task) -> Text:
        if task.total in (None, 1):
            return Text()
        # Not the task's own speed: it covers the last moments only, and the worker settles whole batches.
        seconds = task.finished_time or task.elapsed
        rate = f"{task.completed / seconds:>9,.0f}/s" if seconds else ""
        return Text(f"{int(task.completed):>9,}{rate}")
