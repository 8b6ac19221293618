"""What becomes of each metric of an event in turn: for events of which a metric fails."""

from typing import NamedTuple

from worker.core.errors import ErrorClass
from worker.core.model import Failure, UnrepresentableNumber
from worker.events.decode import MAX_NAME_LENGTH
from worker.events.metric_shapes import KNOWN_NAMES, SkippedMetric, check_names

_NAME_RULE = f"the name of a metric has 1 to {MAX_NAME_LENGTH} characters that can be written as UTF-8"


class CheckedMetrics(NamedTuple):
    """The metrics of an event, each in exactly one of these.

    Attributes:
        names, values: of the rows, in order.
        skipped: name and type.
        failed: name, value and failure.
        new_characters: of the names of rows that are new.
    """

    names: tuple[str, ...]
    values: list[float]
    skipped: tuple[SkippedMetric, ...]
    failed: list[tuple[str, float | UnrepresentableNumber, Failure]]
    new_characters: int


def check_metrics(metrics: dict[str, object]) -> CheckedMetrics:
    """Check each metric."""
    rows: dict[str, float] = {}
    skipped: list[SkippedMetric] = []
    failed: list[tuple[str, float | UnrepresentableNumber, Failure]] = []
    new_characters = 0
    for name, value in metrics.items():
        if isinstance(value, UnrepresentableNumber):
            message = f"{_shorten(value.literal)} does not fit a Float64"
            failed.append((name, value, Failure(ErrorClass.INVALID_METRIC, "UnrepresentableNumber", message)))
        elif not isinstance(value, int | float):
            skipped.append((name[:MAX_NAME_LENGTH], type(value)))
        elif (new := 0 if name in KNOWN_NAMES else check_names((name,))) is None:
            failed.append((name, value, Failure(ErrorClass.INVALID_METRIC, "InvalidName", _NAME_RULE)))
        else:
            rows[name] = value
            new_characters += new
    return CheckedMetrics(tuple(rows), [*rows.values()], tuple(skipped), failed, new_characters)


def _shorten(literal: str) -> str:
    return literal if len(literal) <= 40 else f"{literal[:40]}…"
