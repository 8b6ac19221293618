"""The counts of an action, from the reports that the commands print too."""

from collections.abc import Iterator

from worker.console.actions.run import ClassCount, Counts, Sample
from worker.console.payload import Payload, present
from worker.core.errors import ErrorClass
from worker.replay.edit_preview import EditPreview
from worker.replay.manual_settlement import ManualSettlement
from worker.replay.report import Report, report_preview, report_result
from worker.replay.result import ReplayResult
from worker.replay.session import ReplayPreview

MAX_SAMPLE_BYTES = 16_384
"""Of an event that is shown; each action keeps six."""


def count_preview(preview: ReplayPreview) -> Counts:
    """What a replay would do."""
    report = report_preview(preview.selection)
    notes = [*_describe(report), *(_describe_edits(preview.edits) if preview.edits else ())]
    if preview.edits is None and ErrorClass.ROW_REFUSED in report["classes"]:
        notes.append("whether ClickHouse refuses those of row_refused again shows only when they are sent")
    return Counts(_count_classes(report), notes)


def count_result(result: ReplayResult) -> Counts:
    """What a replay has done."""
    report = report_result(result)
    notes = list(_describe(report))
    if report["remaining"] is None and not report["beyond_limit"]:
        notes.append("not all dead letters were read: what is done stays done, and the same action continues")
    return Counts(_count_classes(report), notes)


def count_settlement(chosen: ManualSettlement) -> Counts:
    """What a discard or a restore does."""
    notes = []
    if chosen.beyond_limit:
        notes.append(f"{chosen.beyond_limit:,} more are beyond the limit")
    if chosen.unreadable:
        notes.append(f"{chosen.unreadable:,} records that the Kafka client cannot read are left alone")
    return Counts([ClassCount(name, count, None, 0) for name, count in chosen.by_class.most_common()], notes)


def sample_edits(edits: EditPreview) -> list[Sample]:
    """The first edited events, as pages show them: the events themselves can be large."""
    return [
        Sample(sample.position, _shorten(sample.edited.before), _shorten(sample.edited.after), sample.problem)
        for sample in edits.samples
    ]


def _shorten(event: bytes) -> Payload:
    return present(event[:MAX_SAMPLE_BYTES])._replace(size=len(event))


def _count_classes(report: Report) -> list[ClassCount]:
    return [
        ClassCount(name, counts["chosen"], counts["written"], counts["failed_again"])
        for name, counts in report["classes"].items()
    ]


def _describe(report: Report) -> Iterator[str]:
    """What is left, and why."""
    for name, counts in report["classes"].items():
        yield from (f"{count:,} {name}: {reason}" for reason, count in counts["left"].items())
    for name, count in report["failed_as"].items():
        yield f"{count:,} failed again as {name}"
    if report["beyond_limit"]:
        counted = report["remaining"] is not None
        yield f"{report['beyond_limit']:,} more are beyond the limit" if counted else "more are left, beyond the limit"
    for table, count in report["other_tables"].items():
        yield f"{count:,} were meant for {table} and are left alone (--any-table of the command)"


def _describe_edits(edits: EditPreview) -> Iterator[str]:
    skipped = ", ".join(f"{count:,} {name}" for name, count in edits.skipped.most_common())
    yield f"the edited events have {edits.rows:,} rows" + (f"; skipped, no numbers: {skipped}" if skipped else "")
    for (_, reason), position in edits.examples.items():
        yield f"for example {position}: {reason}"
    if edits.unchecked is not None:
        yield f"whether the constraints of the table accept the rows is not known: {edits.unchecked}"
