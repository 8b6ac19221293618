"""How fast `metrics-worker validate` is beside the decoder alone, both in one process and on the same lines.

`python -m tests.benchmarks.validation` prints one JSON object: events a second of each, and the ratio of the two. Turns
alternate and the best of each counts, in CPU time, so that a busy machine changes the ratio little.
"""

import io
import json
from collections.abc import Callable
from time import process_time
from uuid import UUID

import click

from tests.support.events import Record, encoded, event
from worker.events.decode import decode
from worker.validation.line_reader import read_lines
from worker.validation.validator import Validator

_TURNS = 5
_JANUARY_2026 = 1_767_225_600_000
_LONGEST = 1_048_576


def rates(events: int, metrics: int) -> dict[str, float]:
    """Events a second that each of the two reads, and `ratio`: the part of the decoder's rate that `validate` keeps.

    Args:
        events: sound ones, each of another execution.
        metrics: numbers in each of them.
    """
    values = {f"metric_{number}": number * 1.5 for number in range(metrics)}
    lines = [encoded(event(execution_id=str(UUID(int=number)), metrics=values)) for number in range(events)]
    text = b"\n".join(lines)

    def decoding() -> None:
        for line in lines:
            decode(Record(line))

    def validating() -> None:
        validator = Validator(_JANUARY_2026)
        for _ in validator.validate(read_lines(io.BytesIO(text), _LONGEST), include_valid=False):
            raise AssertionError("a sound event is refused")
        if validator.rows != events * metrics:
            raise AssertionError(f"{validator.rows} rows")

    best = _best(decoding, validating)
    return {
        "decode_events_per_second": round(events / best[0]),
        "validate_events_per_second": round(events / best[1]),
        "ratio": round(best[0] / best[1], 2),
    }


def _best(*works: Callable[[], None]) -> list[float]:
    """CPU seconds of the best turn of each."""
    seconds = [float("inf")] * len(works)
    for _ in range(_TURNS):
        for position, work in enumerate(works):
            began = process_time()
            work()
            seconds[position] = min(seconds[position], process_time() - began)
    return seconds


@click.command()
@click.option("--events", default=20_000, show_default=True, help="Events that are read in each turn.")
@click.option("--metrics", default=10, show_default=True, help="Metrics of each.")
def main(events: int, metrics: int) -> None:
    """Measure the rate of `metrics-worker validate` against the decoder's."""
    click.echo(json.dumps({"events": events, "metrics": metrics, **rates(events, metrics)}))


if __name__ == "__main__":
    main()
