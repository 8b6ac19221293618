"""The output of a replay: before, during and after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from worker.commands import edit_report
from worker.commands.command_line import print_json, print_stderr
from worker.core.escaping import escape_control_characters
from worker.replay.edit_preview import EditPreview
from worker.replay.plan import ReplaySelection
from worker.replay.report import Report, describe_edits


def summarize_preview(preview: ReplaySelection, table: str, edits: EditPreview | None = None) -> Iterator[str]:
    """Lines for the person who is about to confirm the replay."""
    if edits is not None:
        yield from edit_report.summarize_edits(describe_edits(edits))
        yield f"{preview.accepted.total():,} would be written"
        for (error_class, reason), count in preview.refused.most_common():
            yield escape_control_characters(f"{count:,} {error_class.value} would be refused: {reason}")
    chosen = ", ".join(f"{count:,} {error_class.value}" for error_class, count in preview.chosen.most_common())
    yield f"{preview.chosen.total():,} dead letters to replay into {table}" + (f": {chosen}" if chosen else "")
    if exhausted := preview.exhausted.total():
        yield f"{exhausted:,} were replayed too often and are left alone (--max-replays)"
    if beyond_limit := preview.beyond_limit.total():
        yield f"{beyond_limit:,} more are beyond --limit"
    if preview.foreign:
        yield f"records on the topic that are no dead letters: {preview.foreign:,}"
    for other, count in preview.other_tables.most_common(5):
        yield _other_table(other, count)


def _other_table(table: str, count: int) -> str:
    return f"{count:,} were meant for {escape_control_characters(table, 200)} and are left alone (--any-table)"


@contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on stderr, where that is a terminal; yields a function that sets how many are done.

    `total` is None if it is not known.
    """
    # soft_wrap: log lines pass through this console, and a line of JSON must not be broken.
    console = Console(stderr=True, soft_wrap=True)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)


def print_stop_message(seconds: float) -> None:
    """Say that a replay finishes its batch, which takes at most `seconds`."""
    print_stderr(f"finishing the current batch, at most {seconds:.0f} s; a second signal ends it at once, without loss")


def print_report(report: Report, *, as_json: bool) -> None:
    """Print the report as one JSON object or as tables."""
    if as_json:
        print_json(report)
    else:
        _print_tables(report)


def _print_tables(report: Report) -> None:
    """Print a table by class, the reasons of what is left, and what is left to do."""
    console = Console(highlight=False)
    dry_run = report["dry_run"]
    table = Table("class")
    for title in ("chosen", *(("would be written", "would fail") if dry_run else ("written", "failed again"))):
        table.add_column(title, justify="right")
    reasons: list[str] = []
    for name, of_class in report["classes"].items():
        table.add_row(name, f"{of_class['chosen']:,}", f"{of_class['written']:,}", f"{of_class['failed_again']:,}")
        reasons += [f"{count:,} {name}: {reason}" for reason, count in of_class["left"].items()]
    for line in edit_report.summarize_edits(report["edit"]) if "edit" in report else ():
        console.print(Text(line), soft_wrap=True)
    console.print(table)
    for reason in reasons:
        console.print(Text(escape_control_characters(reason)))
    for name, count in report["failed_as"].items():
        console.print(f"{count:,} failed again: metrics-worker dlq list --error-class {name}")
    if report["beyond_limit"] and report["remaining"] is not None:
        console.print(f"{report['beyond_limit']:,} beyond --limit")
    if report["foreign"]:
        console.print(f"records on the topic that are no dead letters (metrics-worker dlq list): {report['foreign']:,}")
    for table_name, count in report["other_tables"].items():
        console.print(Text(_other_table(table_name, count)))
    if report["remaining"] is None:
        left = "more are left, beyond --limit" if report["beyond_limit"] else "not all dead letters were read"
    else:
        left = f"{report['remaining']:,} left to do" if report["remaining"] else "nothing left to do"
    console.print("dry run: nothing was written; " * dry_run + left)
