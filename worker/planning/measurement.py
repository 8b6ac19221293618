"""Runs a sample through the code of the worker, from bytes to encoded columns, and counts what comes of it.

It writes nothing. What a worker does beside this is not measured: fetching, gathering batches, sending INSERTs,
committing. `worker.planning.arithmetic` adds it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from time import monotonic, thread_time
from typing import NamedTuple

from worker.clickhouse.encoding import encode_columns
from worker.core.model import Record, size_of
from worker.events.block import Block, merge_rare_months
from worker.events.decode import DEFAULT_POLICY, EventPolicy
from worker.events.fan_out import FanOut
from worker.pipeline import MAX_BYTES

_MICROSECONDS = 1_000_000
_MIN_PASSES = 3
"""The first one fills the caches; the median is of the others."""


class SampleCounts(NamedTuple):
    """What a sample becomes.

    Attributes:
        records, events: records, and those of them that are events.
        rows: metrics that are rows.
        record_bytes: of keys, values and headers.
        block_bytes: estimated memory of the rows, which limits an INSERT.
        encoded_bytes: of the rows in the native protocol.
        portions: the sample is one batch; one of many rows is written in portions.
        inserts: INSERTs of all portions.
        parts: months in these INSERTs, each of which is a part in ClickHouse.
        skipped: metrics that are skipped, by JSON type.
        skipped_labels: labels that are skipped, by reason.
        failed: dead letters, by error type.
    """

    records: int
    events: int
    rows: int
    record_bytes: int
    block_bytes: int
    encoded_bytes: int
    portions: int
    inserts: int
    parts: int
    skipped: Counter[str]
    skipped_labels: Counter[str]
    failed: Counter[str]


class Measurement(NamedTuple):
    """What a sample becomes, and the CPU that decoding, fan-out, token and encoding take for one record of it.

    Attributes:
        passes: how often the sample was run through.
        cpu_microseconds: median of the passes but the first.
    """

    counts: SampleCounts
    passes: int
    cpu_microseconds: float


def measure(
    records: Sequence[Record],
    policy: EventPolicy = DEFAULT_POLICY,
    seconds: float = 1.5,
    *,
    clock: Callable[[], float] = monotonic,
    cpu_clock: Callable[[], float] = thread_time,
) -> Measurement:
    """Run one record or more through the code of the worker for `seconds`, but at least three times.

    Args:
        records: the sample; it is one batch.
        policy: see `decode`.
        seconds: no pass begins later, by `clock`.
        clock: the time in seconds.
        cpu_clock: the CPU time of this thread in seconds.
    """
    counts = _process(records, policy)
    times: list[float] = []
    started = clock()
    while len(times) < _MIN_PASSES - 1 or clock() - started < seconds:
        before = cpu_clock()
        _process(records, policy)
        times.append(cpu_clock() - before)
    return Measurement(counts, len(times) + 1, median(times) / len(records) * _MICROSECONDS)


def _process(records: Sequence[Record], policy: EventPolicy) -> SampleCounts:
    counts = SampleCounts(len(records), 0, 0, 0, 0, 0, 0, 0, 0, Counter(), Counter(), Counter())
    for fan_out in _fan_out(records, policy):
        blocks = merge_rare_months(fan_out.blocks.values())
        encoded = sum(map(_encode, blocks))
        counts.skipped.update(fan_out.skipped)
        counts.skipped_labels.update(fan_out.skipped_labels.by_reason())
        counts.failed.update(item.failure.error_type for item in fan_out.failed)
        counts = counts._replace(
            events=counts.events + fan_out.events,
            rows=counts.rows + fan_out.rows,
            block_bytes=counts.block_bytes + fan_out.bytes,
            encoded_bytes=counts.encoded_bytes + encoded,
            portions=counts.portions + 1,
            inserts=counts.inserts + len(blocks),
            parts=counts.parts + len(fan_out.blocks),
        )
    return counts._replace(record_bytes=sum(map(size_of, records)))


def _encode(block: Block) -> int:
    """Do what an INSERT does before it is sent; returns the number of bytes."""
    block.deduplication_token()
    return sum(map(len, encode_columns(block)))


def _fan_out(records: Sequence[Record], policy: EventPolicy) -> Iterator[FanOut]:
    """Fan out as `Pipeline` does: as many records at once as may be in memory."""
    fan_out = FanOut(policy)
    for record in records:
        fan_out.add_record(record)
        if fan_out.bytes >= MAX_BYTES:
            yield fan_out
            fan_out = FanOut(policy)
    if fan_out.records:
        yield fan_out
