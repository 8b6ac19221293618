"""What a replay says: before, while and after."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypedDict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from worker.core.errors import ErrorClass
from worker.core.escaping import escape_control_characters
from worker.replay.plan import Plan
from worker.replay.result import ReplayResult


class ClassReport(TypedDict):
    """Dead letters of one class: how many were chosen, and what became of them; `left` by reason."""

    chosen: int
    written: int
    failed_again: int
    left: dict[str, int]


class Report(TypedDict):
    """One object for a program. `remaining` is 0 where nothing of what was meant is left to do.

    `failed_as` counts the new dead letters by their own class, which may be another than that of the letter before.
    """

    dry_run: bool
    classes: dict[str, ClassReport]
    foreign: int
    beyond_limit: int
    metrics_written: int
    failed_as: dict[str, int]
    remaining: int
    interrupted: bool
    problem: str | None


_EXHAUSTED = "replayed too often (--max-replays)"


def report_plan(plan: Plan) -> Report:
    """What a dry run found: `written` are those that the worker would try to write."""
    classes = _classes(plan)
    for error_class, count in plan.accepted.items():
        classes[error_class.value]["written"] = count
    for error_class, count in plan.at_source.items():
        classes[error_class.value]["left"]["not looked at: the contents are at the source"] = count
    for (error_class, rule), count in plan.refused.items():
        classes[error_class.value]["failed_again"] += count
        classes[error_class.value]["left"][f"would be refused: {rule}"] = count
    return _report(plan, classes, ReplayResult(), remaining=plan.left + plan.refused.total(), dry_run=True)


def report_result(plan: Plan, outcome: ReplayResult) -> Report:
    """What a replay has done."""
    classes = _classes(plan)
    beyond_limit = plan.beyond_limit.total()
    # Letters that cannot be put back do not count towards the limit, so that more are looked at than were chosen.
    for error_class, count in outcome.by_class.items():
        more = max(0, count - plan.chosen[error_class])
        classes[error_class.value]["chosen"] += more
        beyond_limit -= more
    for error_class, count in outcome.written.items():
        classes[error_class.value]["written"] = count
    for error_class, count in outcome.failed.items():
        classes[error_class.value]["failed_again"] = count
    for (error_class, reason), count in outcome.left.items():
        classes[error_class.value]["left"][reason] = count
    classes = {name: report for name, report in classes.items() if report["chosen"] or report["left"]}
    report = _report(plan, classes, outcome, remaining=_remaining(plan, outcome), dry_run=False)
    return {**report, "beyond_limit": beyond_limit}


def exit_code(plan: Plan, outcome: ReplayResult) -> int:
    """0 done, 1 something is left to do, 3 a dependency is unreachable."""
    if outcome.problem is not None:
        return 3
    return int(_remaining(plan, outcome) > 0)


def _remaining(plan: Plan, outcome: ReplayResult) -> int:
    return max(0, plan.chosen.total() - outcome.written.total()) + plan.left


def _classes(plan: Plan) -> dict[str, ClassReport]:
    classes: dict[str, ClassReport] = {}
    for error_class in ErrorClass:
        chosen, exhausted = plan.chosen[error_class], plan.exhausted[error_class]
        if chosen or exhausted or plan.beyond_limit[error_class]:
            left = {_EXHAUSTED: exhausted} if exhausted else {}
            classes[error_class.value] = {"chosen": chosen, "written": 0, "failed_again": 0, "left": left}
    return classes


def _report(
    plan: Plan, classes: dict[str, ClassReport], outcome: ReplayResult, *, remaining: int, dry_run: bool
) -> Report:
    return {
        "dry_run": dry_run,
        "classes": classes,
        "foreign": plan.foreign,
        "beyond_limit": plan.beyond_limit.total(),
        "metrics_written": outcome.metrics,
        "failed_as": {error_class.value: count for error_class, count in outcome.failed_as.most_common()},
        "remaining": remaining,
        "interrupted": outcome.interrupted,
        "problem": outcome.problem,
    }


def beforehand(plan: Plan, table: str) -> Iterator[str]:
    """Lines for whoever is about to agree."""
    chosen = ", ".join(f"{count:,} {error_class.value}" for error_class, count in plan.chosen.most_common())
    yield f"{plan.chosen.total():,} dead letters to replay into {table}" + (f": {chosen}" if chosen else "")
    for what, count in (
        ("were replayed too often and are left alone (--max-replays)", plan.exhausted.total()),
        ("more are beyond --limit", plan.beyond_limit.total()),
    ):
        if count:
            yield f"{count:,} {what}"
    if plan.foreign:
        yield f"records on the topic that are no dead letters: {plan.foreign:,}"
    for other, count in plan.tables.most_common(5):
        yield f"warning: {count:,} of them were meant for {escape_control_characters(other, 200)}"


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar with an estimate on stderr, where that is a terminal; what is yielded is told how many are done."""
    # Soft: what is logged meanwhile goes through it, and a line of JSON must not be broken into several.
    console = Console(stderr=True, soft_wrap=True)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown_progress:
        bar = shown_progress.add_task("", total=total)

        def told(done: int) -> None:
            shown_progress.update(bar, completed=done, total=max(total, done))

        yield told


def print_report(report: Report) -> None:
    """A table by class."""
    console = Console(highlight=False)
    table = Table()
    would = report["dry_run"]
    for name in (
        "class",
        "chosen",
        "would be written" if would else "written",
        "would fail" if would else "failed again",
    ):
        table.add_column(name, justify="left" if name == "class" else "right")
    reasons: Counter[str] = Counter()
    for name, of_class in report["classes"].items():
        counts = (of_class["chosen"], of_class["written"], of_class["failed_again"])
        table.add_row(name, *(f"{count:,}" for count in counts))
        reasons.update({f"{name}: {reason}": count for reason, count in of_class["left"].items()})
    console.print(table)
    for reason, count in reasons.items():
        console.print(Text(f"{count:,} {escape_control_characters(reason)}"))
    for name, count in report["failed_as"].items():
        console.print(f"{count:,} failed again: metrics-worker dlq list --error-class {name}")
    if report["beyond_limit"]:
        console.print(f"{report['beyond_limit']:,} beyond --limit")
    if report["foreign"]:
        console.print(f"records on the topic that are no dead letters (metrics-worker dlq list): {report['foreign']:,}")
    left = f"{report['remaining']:,} left to do" if report["remaining"] else "nothing left to do"
    console.print("dry run: nothing was written; " * would + left)
