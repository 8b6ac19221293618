"""The output of the preview of an edit."""

from collections.abc import Iterator

from worker.core.escaping import escape_bytes, escape_control_characters
from worker.replay.report import EditReport

_MAX_EVENT_BYTES = 1_000
"""On a terminal."""


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
