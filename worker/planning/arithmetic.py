"""From what an event costs and how many come, to workers, partitions, batches and disk. Pure functions.

The constants are rules of thumb, and the report names each of them where it is used.
"""

from math import ceil, inf
from typing import NamedTuple

from worker.batch_reader import BatchPolicy
from worker.pipeline import MAX_BYTES

HEADROOM = 2.0
"""Capacity in proportion to the rate: an outage is caught up within as long as it lasted."""
MEASURED_SHARE = 0.5
"""Of the CPU of a worker that `worker.planning.measurement` measures. Of that of `make bench ARGS=worker` it was
between 0.45, with a hundred metrics an event, and 0.65, with ten numbers."""
CORE_SHARE = 0.65
"""Of a core that a worker uses when it works off a backlog: the rest of the time it waits for Kafka and ClickHouse.
51,100 events a second at 12.9 µs were measured, with broker and engine on the same two cores."""
SPARE = 1.5
"""Workers in proportion to those that are needed, so that one zone of three may fail."""
MIN_WORKERS = 2
PARTITIONS_PER_WORKER = 2
PARTITION_STEP = 12
"""A multiple of it can be shared evenly by 2, 3, 4, 6 and 12 workers."""
MAX_PARTS_PER_SECOND = 10.0
"""New parts that one server merges without falling behind."""
LINGERS_MS = (200, 500, 1_000, 2_000, 5_000)
DAY_SECONDS = 86_400
_MICROSECONDS = 1_000_000
_EVENTS_STEP = 1_000
_MAX_EVENTS = 1_000_000
"""The upper bound of BATCH_MAX_EVENTS."""


class EventCosts(NamedTuple):
    """What an event costs, on average.

    Attributes:
        cpu_microseconds: of a whole worker.
        rows: metrics that become rows.
        record_bytes: of key, value and headers.
        block_bytes: estimated memory of its rows, which limits an INSERT.
        inserts_per_batch, parts_per_batch: how many a batch makes, because its events are of several months.
        disk_bytes_per_row: of one copy, merged.
    """

    cpu_microseconds: float
    rows: float
    record_bytes: float
    block_bytes: float
    disk_bytes_per_row: float
    inserts_per_batch: float = 1.0
    parts_per_batch: float = 1.0


class Load(NamedTuple):
    """What the workers have to do.

    Attributes:
        events_per_second: that producers send.
        partitions: of the topic; None if it is not known, or the topic is still to be created.
        lag: events that wait; None if it is not known.
    """

    events_per_second: float
    partitions: int | None = None
    lag: int | None = None


class RetryProtection(NamedTuple):
    """How long ClickHouse must recognize an INSERT that is sent again, and how long it does.

    Attributes:
        window: blocks whose tokens are remembered.
        window_seconds: for how long a token is remembered at most; None for a table without replicas.
        retry_seconds: from the first attempt of an INSERT to the end of the last one.
    """

    window: int
    window_seconds: float | None
    retry_seconds: float


class Batches(NamedTuple):
    """What the batches of all workers make, for one BATCH_LINGER_MS and BATCH_MAX_EVENTS.

    Attributes:
        inserts_per_second, parts_per_second: at the planned rate.
        catch_up_parts_per_second: while the workers work off a backlog, in full batches.
        rows_per_insert: at the planned rate.
    """

    linger_ms: int
    max_events: int
    inserts_per_second: float
    parts_per_second: float
    catch_up_parts_per_second: float
    rows_per_insert: float


class Plan(NamedTuple):
    """What is recommended for a load.

    Attributes:
        worker_capacity: events a second of one worker.
        needed_workers: for the rate, with headroom.
        wanted_workers: with a spare zone.
        workers: no more than the partitions that the topic has.
        partitions: those of the topic if they are enough.
        batches, present_batches: with the recommended settings, and with those of now.
        window_seconds: how long a token is remembered, while the workers work off a backlog; infinite without INSERTs.
        disk_bytes_per_day: of one copy.
        catch_up_seconds: to work off the lag; infinite if the workers are too few; None if the lag is not known.
    """

    worker_capacity: float
    needed_workers: int
    wanted_workers: int
    workers: int
    partitions: int
    batches: Batches
    present_batches: Batches
    window_seconds: float
    disk_bytes_per_day: float
    catch_up_seconds: float | None


def make_plan(costs: EventCosts, load: Load, policy: BatchPolicy, protection: RetryProtection) -> Plan:
    """The plan for a load; `policy` is that of now, of which the plan keeps the limit of bytes."""
    capacity = CORE_SHARE * _MICROSECONDS / costs.cpu_microseconds
    needed = max(1, ceil(HEADROOM * load.events_per_second / capacity))
    wanted = max(MIN_WORKERS, ceil(SPARE * needed))
    workers = min(wanted, load.partitions or wanted)
    present = _batches(costs, load, policy, workers, capacity)
    batches = _choose_batches(costs, load, policy, workers, capacity)
    parts = max(batches.parts_per_second, batches.catch_up_parts_per_second)
    return Plan(
        worker_capacity=capacity,
        needed_workers=needed,
        wanted_workers=wanted,
        workers=workers,
        partitions=_partitions(wanted, load.partitions),
        batches=batches,
        present_batches=present,
        window_seconds=min(protection.window / parts if parts else inf, protection.window_seconds or inf),
        disk_bytes_per_day=DAY_SECONDS * load.events_per_second * costs.rows * costs.disk_bytes_per_row,
        catch_up_seconds=None if load.lag is None else _catch_up_seconds(load.lag, load, workers * capacity),
    )


def _partitions(wanted_workers: int, present: int | None) -> int:
    if present is not None and present >= wanted_workers:
        return present
    return PARTITION_STEP * ceil(PARTITIONS_PER_WORKER * wanted_workers / PARTITION_STEP)


def _catch_up_seconds(lag: int, load: Load, capacity: float) -> float:
    if not lag:
        return 0.0
    spare = capacity - load.events_per_second
    return lag / spare if spare > 0 else inf


def _choose_batches(costs: EventCosts, load: Load, policy: BatchPolicy, workers: int, capacity: float) -> Batches:
    """The batches with the shortest linger that makes few enough parts, or as few as any."""
    candidates = []
    for linger_ms in LINGERS_MS:
        waiting = HEADROOM * load.events_per_second / workers * linger_ms / 1_000
        max_events = max(BatchPolicy.max_events, min(_EVENTS_STEP * ceil(waiting / _EVENTS_STEP), _MAX_EVENTS))
        limits = BatchPolicy(max_events, policy.max_bytes, linger_ms / 1_000)
        candidates.append(_batches(costs, load, limits, workers, capacity))
    limit = max(MAX_PARTS_PER_SECOND, min(batches.parts_per_second for batches in candidates))
    return next(batches for batches in candidates if batches.parts_per_second <= limit)


def _batches(costs: EventCosts, load: Load, policy: BatchPolicy, workers: int, capacity: float) -> Batches:
    """A batch ends when it is full or has lingered; what is more than a block may hold is written in parts."""
    full = float(policy.max_events)
    for size, limit in ((costs.record_bytes, policy.max_bytes), (costs.block_bytes, MAX_BYTES)):
        full = min(full, limit / size if size else inf)
    full = max(full, 1.0)
    rate = load.events_per_second / workers
    lingering = min(rate, 1 / policy.linger_seconds if policy.linger_seconds else inf)
    batches_per_second = workers * max(lingering, rate / full)
    # A batch of one event has one month, however many the others have.
    events = load.events_per_second / batches_per_second if batches_per_second else 1.0
    inserts = batches_per_second * min(costs.inserts_per_batch, max(events, 1.0))
    return Batches(
        linger_ms=round(policy.linger_seconds * 1_000),
        max_events=policy.max_events,
        inserts_per_second=inserts,
        parts_per_second=batches_per_second * min(costs.parts_per_batch, max(events, 1.0)),
        catch_up_parts_per_second=workers * capacity / full * costs.parts_per_batch,
        rows_per_insert=load.events_per_second * costs.rows / inserts if inserts else 0.0,
    )
