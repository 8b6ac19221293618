"""When the worker has ended: read everything back, and compare it with what was owed."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.local.demo import table, topic
from deploy.local.demo.comparison import Differences, FoundDeadLetter, compare_letters, compare_rows, compare_skipped
from deploy.local.demo.expectations import PAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from deploy.local.demo.expectations import Expectations, RecordPosition
    from deploy.local.stack import Stack

SHOWN_METRICS = ("execution_time_ms", "exit_code", "memory_usage_mb")


@dataclass(frozen=True)
class Tolerance:
    """What the books allow beside the plain "each once, all of it".

    Attributes:
        repeats: something may have been done twice, because a worker was killed or an answer was lost.
        unfinished: the worker was ended before it had taken everything. What it has committed must be there; what it
            has not committed may be.
    """

    repeats: bool = False
    unfinished: bool = False


STRICT = Tolerance()


@dataclass(frozen=True)
class Verification:
    """What was read back; the attributes are those of `DemoResult`."""

    counts: table.Counts
    replaced: int
    letters: int
    dead_letters: Mapping[str, tuple[int, FoundDeadLetter]]
    differences: Differences
    uncommitted: int
    sample: list[table.SampleRow] = field(default_factory=list)


def audit(
    stack: Stack,
    group: str,
    ledger: Expectations,
    skipped: Mapping[str, int] | None,
    shown: Collection[str],
    on_progress: Callable[[int], None],
    tolerance: Tolerance = STRICT,
) -> Verification:
    """Compare dead letters, rows and skipped metrics.

    Args:
        stack: still running; the worker is not.
        group: the worker's.
        ledger: what is owed.
        skipped: what the worker has counted, by JSON type; None when a worker has died and its count with it.
        shown: executions whose rows are shown; none for any.
        on_progress: called with the number of rows compared so far.
        tolerance: what is allowed.
    """
    servers = stack.broker.bootstrap_servers
    committed = asyncio.run(topic.committed(servers, stack.topic, group))
    letters = asyncio.run(topic.dead_letters(servers, stack.dlq_topic))
    differences = Differences(repeats_allowed=tolerance.repeats)

    def is_required(position: RecordPosition) -> bool:
        return not tolerance.unfinished or position.offset < committed[position.partition]

    stray = compare_letters(ledger.letters, letters, differences, is_required)
    with stack.engine.client(stack.database) as client:
        counts = table.counts(client)
        differences.repeat("rows", counts.repeated, f"{counts.repeated} rows that repeat another's record and metric")
        read = replaced = 0
        for digit in PAGES:  # page by page: a million events do not fit in memory twice
            page = table.page(client, digit)
            replaced += compare_rows(ledger.page(digit), page, stray, differences, is_required)
            read += sum(map(len, page.values()))
            on_progress(read + replaced)
        sample = table.sample(client, shown, SHOWN_METRICS)
    for letter in stray.values():
        differences.add("wrong", 1, f"a dead letter, {letter.error_class} of {letter.metric}, was not owed")
    if skipped is not None:
        compare_skipped(ledger.skipped, skipped, differences)
    metric_letters = sum(letter.metric is not None for letter in letters)
    uncommitted = _beside(committed, ledger.ends, tolerance)
    return Verification(counts, replaced, metric_letters, _by_class(letters), differences, uncommitted, sample)


def _beside(committed: Mapping[int, int], ends: Mapping[int, int], tolerance: Tolerance) -> int:
    """By how many records the committed offsets miss the ends; of an unfinished worker only those beyond them."""
    missed = (committed[partition] - ends.get(partition, 0) for partition in committed)
    return sum(max(records, 0) if tolerance.unfinished else abs(records) for records in missed)


def _by_class(letters: Iterable[FoundDeadLetter]) -> dict[str, tuple[int, FoundDeadLetter]]:
    examples: dict[str, FoundDeadLetter] = {}
    numbers: Counter[str] = Counter()
    for letter in letters:
        numbers[letter.error_class] += 1
        examples.setdefault(letter.error_class, letter)
    return {name: (number, examples[name]) for name, number in numbers.most_common()}
