"""Read rows, dead letters and offsets after the worker has ended, and compare them with the expected ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.local.demo import table, topic
from deploy.local.demo.comparison import Differences, compare_rows, compare_skipped
from deploy.local.demo.dead_letters import MAX_RECORD_BYTES, DeadLetterComparison, FoundDeadLetter
from deploy.local.demo.expectations import PAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from deploy.local.demo.expectations import Expectations, RecordPosition
    from deploy.local.demo.worker_progress import WorkerProgress
    from deploy.local.stack import Stack

SAMPLE_METRICS = ("execution_time_ms", "exit_code", "memory_usage_mb")


@dataclass(frozen=True)
class Tolerance:
    """What is allowed beside "everything exactly once".

    Attributes:
        repeats: work may be repeated, because a worker was killed or an answer was lost.
        unfinished: the worker was ended early. What it has committed must be there; the rest may be there.
        pointer_bytes: what the dead-letter topic took at its narrowest; from there on a dead letter may be a pointer.
    """

    repeats: bool = False
    unfinished: bool = False
    pointer_bytes: int = MAX_RECORD_BYTES


STRICT = Tolerance()


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        replaced: metrics whose row a later event of the same execution has replaced.
        letters: how many metrics are dead letters.
        dead_letters: count and an example by class, the most frequent first.
        uncommitted: records by which the worker's committed offsets miss the end of what was sent.
        sample: a few rows.
    """

    counts: table.Counts
    replaced: int
    letters: int
    dead_letters: Mapping[str, tuple[int, FoundDeadLetter]]
    differences: Differences
    uncommitted: int
    sample: list[table.SampleRow] = field(default_factory=list)


def verify_results(
    stack: Stack,
    group: str,
    expectations: Expectations,
    counted: WorkerProgress | None,
    sample_executions: Collection[str],
    on_progress: Callable[[int], None],
    tolerance: Tolerance = STRICT,
) -> Verification:
    """Compare dead letters, rows, skipped metrics and committed offsets.

    Args:
        stack: still running, without a worker.
        group: the worker's.
        expectations: of all records that were sent.
        counted: the worker's counters of what it skipped; None when a worker was killed and they are lost.
        sample_executions: executions whose rows are sampled; none for any.
        on_progress: called with the number of rows compared so far.
        tolerance: what is allowed.
    """
    servers = stack.broker.bootstrap_servers
    committed = asyncio.run(topic.read_committed_offsets(servers, stack.topic, group))
    differences = Differences(repeats_allowed=tolerance.repeats)

    def is_required(position: RecordPosition) -> bool:
        return not tolerance.unfinished or position.offset < committed[position.partition]

    letters = DeadLetterComparison(expectations.letters, differences, tolerance.pointer_bytes)
    asyncio.run(topic.read_dead_letters(servers, stack.dlq_topic, letters.add))
    letters.finish(is_required)
    with stack.engine.client(stack.database) as client:
        counts = table.count_rows(client)
        example = f"{counts.repeated} rows that repeat another's record and metric"
        differences.add_repeats("rows", counts.repeated, example)
        read = replaced = 0
        for number in PAGES:  # page by page: a million events do not fit in memory twice
            page = table.read_page(client, number)
            replaced += compare_rows(expectations.read_page(number), page, letters.unexpected, differences, is_required)
            read += sum(map(len, page.values()))
            on_progress(read + replaced)
        sample = table.read_sample(client, sample_executions, SAMPLE_METRICS)
    for position, metric in letters.unexpected:
        example = f"a dead letter of {metric!a} of record {position.partition}/{position.offset}, not expected"
        differences.add("wrong", 1, example, position)
    if counted is not None:
        compare_skipped("metrics", expectations.skipped, counted.skipped, differences)
        compare_skipped("labels", expectations.skipped_labels, counted.skipped_labels, differences)
    classes = dict(sorted(letters.classes.items(), key=lambda item: item[1][0], reverse=True))
    uncommitted = _count_missed(committed, expectations.ends, tolerance)
    return Verification(counts, replaced, letters.metrics, classes, differences, uncommitted, sample)


def _count_missed(committed: Mapping[int, int], ends: Mapping[int, int], tolerance: Tolerance) -> int:
    """By how many records the committed offsets differ from the ends; if unfinished, only those beyond the ends."""
    missed = (committed[partition] - ends.get(partition, 0) for partition in committed)
    return sum(max(records, 0) if tolerance.unfinished else abs(records) for records in missed)
