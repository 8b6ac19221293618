"""Reports of a replay, before and after it, as JSON objects."""

from typing import NotRequired, TypedDict

from worker.core.errors import ErrorClass
from worker.replay.edit_preview import EditPreview
from worker.replay.plan import ReplaySelection
from worker.replay.result import ReplayResult


class SampleReport(TypedDict):
    """An event before and after the edit, as JSON; `problem` is None if it would be written."""

    place: str
    before: str
    after: str
    problem: str | None


class EditReport(TypedDict):
    """What an edit would do.

    `examples` has the place of a dead letter for each reason for which some would be refused. `constraints_unknown` is
    why the rows could not be compared with the constraints of the table, None if they were. `rows` is how many the
    edited events have, and `skipped` how many of their metrics are no numbers, by JSON type: those are skipped.
    """

    samples: list[SampleReport]
    examples: dict[str, str]
    constraints_unknown: str | None
    rows: int
    skipped: dict[str, int]


class ClassReport(TypedDict):
    """Dead letters of one class: how many were chosen, and their results; `left` counts by reason."""

    chosen: int
    written: int
    failed_again: int
    left: dict[str, int]


class Report(TypedDict):
    """The JSON object that a replay prints.

    `remaining` is 0 where all selected dead letters are done, and None where the replay ended before it had read all:
    then `beyond_limit` is 1 if it ended there, while a dry run counts all of them.
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
    edit: NotRequired[EditReport]


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
        report["edit"] = describe_edits(edits)
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


def describe_edits(edits: EditPreview) -> EditReport:
    """What `replay --edit … --dry-run --json` prints of the edit."""
    return {
        "samples": [
            {
                "place": str(sample.position),
                "before": sample.edited.before.decode("utf-8", "replace"),
                "after": sample.edited.after.decode("utf-8", "replace"),
                "problem": sample.problem,
            }
            for sample in edits.samples
        ],
        "examples": {reason: str(position) for (_, reason), position in reversed(edits.examples.items())},
        "constraints_unknown": edits.unchecked,
        "rows": edits.rows,
        "skipped": dict(edits.skipped.most_common()),
    }
