"""An action as those who are no editors see it."""

from copy import copy

from worker.console.actions.run import ActionRun, Counts
from worker.console.mask import Mask
from worker.console.masked_json import MASKED


def mask_run(run: ActionRun, mask: Mask) -> ActionRun:
    """The action without texts that can quote a value: expression, samples, and reasons."""
    if not mask.rules:
        return run
    seen = copy(run)
    seen.samples = ()
    seen.failures = [failure._replace(reason=MASKED) for failure in run.failures]
    seen.preview, seen.result = _mask_notes(run.preview), _mask_notes(run.result)
    seen.problem = run.problem and _cut_detail(run.problem)
    if run.request.expression is not None:
        seen.request = run.request._replace(expression=MASKED)
    return seen


def _mask_notes(counts: Counts | None) -> Counts | None:
    return counts and counts._replace(notes=[_cut_detail(note) for note in counts.notes])


def _cut_detail(text: str) -> str:
    """What is before the first colon: a count, or what has failed. The reason after it can quote a value."""
    head, colon, _ = text.partition(": ")
    return f"{head}: {MASKED}" if colon else head
