"""The output of a replay: before, during and after it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NotRequired, TypedDict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from worker.commands import edit_report
from worker.commands.command_line import print_json, print_stderr
from worker.core.errors import ErrorClass
from worker.core.escaping import escape_control_characters
from worker.replay.edit_preview import EditPreview
from worker.replay.plan import ReplaySelection
from worker.replay.result import ReplayResult


class ClassReport(TypedDict):
    """Dead letters of one class: how many were chosen, and their results; `left` counts by reason."""

    chosen: int
    written: int
    failed_again: int
    left: dict[str, int]


class Report(TypedDict):
    """The JSON object that a replay prints.

    `remaining` is 0 where all selected dead letters are done, and None where the replay ended before it had read all.
    `other_tables` counts dead letters that are left alone, because their rows were for another table.
    `edit` is only in the report of a dry run with `--edit`.
    `failed_as` counts the new dead letters by their own class, which can differ from the class of the replayed one.
    """

    dry_run: bool
    classes: dict[str, ClassReport]
    foreign: int
    other_tables: dict[str, int]
    beyond_limit: int
    metrics_written: int
    failed_as: dict[str, int]
    remaining: int | None
    interrupted: bool
    problem: str | None
    edit: NotRequired[edit_report.EditReport]


def report_preview(preview: ReplaySelection, edits: EditPreview | None = None) -> Report:
    """The report of a dry run; `written` counts what the worker would try to write."""
    classes = _classes_of(preview)
    for error_class, count in preview.accepted.items():
        classes[error_class.value]["written"] = count
    for error_class, count in preview.at_source.items():
        classes[error_class.value]["left"]["not checked: the event is only in the source topic"] = count
    for (error_class, rule), count in preview.refused.items():
        classes[error_class.value]["failed_again"] += count
        classes[error_class.value]["left"][f"would be refused: {rule}"] = count
    remaining = preview.remaining + preview.refused.total()
    report = _report(classes, ReplayResult(preview), remaining, dry_run=True)
    if edits is not None:
        report["edit"] = edit_report.describe_edits(edits)
    return report


def report_result(result: ReplayResult) -> Report:
    """The report of a replay."""
    classes = _classes_of(result.selection)
    for error_class, count in result.written.items():
        classes[error_class.value]["written"] = count
    for error_class, count in result.failed_again.items():
        classes[error_class.value]["failed_again"] = count
    for (error_class, reason), count in result.unreplayable.items():
        classes[error_class.value]["left"][reason] = count
    classes = {name: report for name, report in classes.items() if report["chosen"] or report["left"]}
    return _report(classes, result, result.remaining, dry_run=False)


def exit_code(result: ReplayResult) -> int:
    """0 done, 1 something is left to do, 3 a dependency is unreachable."""
    if result.problem is not None:
        return 3
    return int(result.remaining != 0)


def _classes_of(preview: ReplaySelection) -> dict[str, ClassReport]:
    classes: dict[str, ClassReport] = {}
    for error_class in ErrorClass:
        chosen, exhausted = preview.chosen[error_class], preview.exhausted[error_class]
        if chosen or exhausted or preview.beyond_limit[error_class]:
            left = {"replayed too often (--max-replays)": exhausted} if exhausted else {}
            classes[error_class.value] = {"chosen": chosen, "written": 0, "failed_again": 0, "left": left}
    return classes


def _report(classes: dict[str, ClassReport], result: ReplayResult, remaining: int | None, *, dry_run: bool) -> Report:
    selection = result.selection
    return {
        "dry_run": dry_run,
        "classes": classes,
        "foreign": selection.foreign,
        "other_tables": dict(selection.other_tables.most_common()),
        "beyond_limit": selection.beyond_limit.total(),
        "metrics_written": result.metrics_written,
        "failed_as": {error_class.value: count for error_class, count in result.failed_as.most_common()},
        "remaining": remaining,
        "interrupted": result.interrupted,
        "problem": result.problem,
    }


def summarize_preview(preview: ReplaySelection, table: str, edits: EditPreview | None = None) -> Iterator[str]:
    """Lines for the person who is about to confirm the replay."""
    if edits is not None:
        yield from edit_report.summarize_edits(edit_report.describe_edits(edits))
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
    if report["beyond_limit"]:
        console.print(f"{report['beyond_limit']:,} beyond --limit")
    if report["foreign"]:
        console.print(f"records on the topic that are no dead letters (metrics-worker dlq list): {report['foreign']:,}")
    for table_name, count in report["other_tables"].items():
        console.print(Text(_other_table(table_name, count)))
    if report["remaining"] is None:
        left = "not all dead letters were read"
    else:
        left = f"{report['remaining']:,} left to do" if report["remaining"] else "nothing left to do"
    console.print("dry run: nothing was written; " * dry_run + left)
