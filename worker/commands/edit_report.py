"""The output of the preview of an edit."""

from collections.abc import Iterator
from typing import TypedDict

from worker.core.escaping import escape_bytes, escape_control_characters
from worker.replay.edit_preview import EditPreview

_MAX_EVENT_BYTES = 1_000
"""On a terminal."""


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


def summarize_edits(report: EditReport) -> Iterator[str]:
    """Lines for a person: the samples, and where to find the others."""
    for sample in report["samples"]:
        yield f"{sample['place']}  {_shorten(sample['before'])}"
        yield f"{'becomes':>{len(sample['place'])}}  {_shorten(sample['after'])}"
        if sample["problem"] is not None:
            yield f"  would be refused: {escape_control_characters(sample['problem'])}"
    for reason, place in report["examples"].items():
        yield f"for example {place}: {escape_control_characters(reason)}"
    skipped = ", ".join(f"{count:,} {name}" for name, count in report["skipped"].items())
    yield f"the edited events have {report['rows']:,} rows" + (f"; skipped, no numbers: {skipped}" * bool(skipped))
    if (why := report["constraints_unknown"]) is not None:
        yield f"whether the constraints of the table accept the rows is not known: {escape_control_characters(why)}"


def _shorten(event: str) -> str:
    return escape_bytes(event.encode(), _MAX_EVENT_BYTES)
