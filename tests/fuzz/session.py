"""A run through the real broker, the real engine and a real worker.

1. Start the stack and the worker.
2. Put the records onto the topic while the worker takes them.
3. When all have come to their ends: is it the same worker, ready, within its memory? End it.
4. Read everything back and compare it with what is owed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.local.demo.reference import CONSTRAINT
from deploy.local.demo.worker_progress import terminate
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess
from tests.fuzz.generate import make_record
from tests.fuzz.in_process import disagreement
from tests.fuzz.report import FuzzReport
from tests.fuzz.sender import Sender
from tests.fuzz.sent_records import RecordPosition, SentRecords
from tests.fuzz.verification import TABLE, audit
from tests.fuzz.worker_progress import (
    WorkerStoppedError,
    find_log_errors,
    follow,
    read_counts,
    start_time,
    wait_until_ready,
)
from tests.support.topic import committed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fuzz.fuzz_record import FuzzRecord

GROUP = "metrics-worker-fuzz"
PARTITIONS = 4
_WORKER = {"KAFKA_GROUP_ID": GROUP, "KAFKA_SESSION_TIMEOUT_SECONDS": "20"}
"""On a busy machine a short session ends by itself, and what comes twice then would be no fault of the worker's."""
BOUND_MB = 250
"""Peak memory of a worker on ordinary records (design, promise 7)."""
HOSTILE_ALLOWANCE_MB = 350
"""On top of it for giants, and for documents that are much larger parsed than written: see README.md."""
_SUSPECTS = 2_000
_LOOK_EVERY = 1_000


@dataclass(frozen=True)
class Plan:
    """Which records, and for how long at most (as `time.monotonic` tells it)."""

    seed: int
    numbers: range
    until: float


def run(plan: Plan, directory: Path, step: Callable[[str, int], Callable[[int], None]]) -> FuzzReport:
    """Put the records of `plan` through a stack in `directory`; `step` begins a bar and returns who hears of progress.

    Raises:
        ProcessFailedError, MigrationFailedError: a server or the worker did not start.
    """
    report = FuzzReport(plan.seed)
    sent = SentRecords()
    with Stack(directory, partitions=PARTITIONS) as stack:
        with stack.engine.client(stack.database) as client:
            client.execute(f"ALTER TABLE {TABLE} ADD {CONSTRAINT}")
        with WorkerProcess(directory, {**stack.environment(), **_WORKER}) as worker:
            try:
                _work(plan, stack, worker, sent, report, step)
            except (WorkerStoppedError, TimeoutError) as error:
                report.add_problem(f"{error}; the end of its log:\n{worker.process.tail()}")
            report.exit_code = terminate(worker)
            if report.exit_code != 0:
                report.add_problem(f"the worker ended with {report.exit_code}")
            for line in find_log_errors(worker):
                report.add_problem(f"its log says: {line}")
        report.records = sent.records
        if report.seconds:
            on_progress = step("records compared", sent.records)
            asyncio.run(audit(stack, GROUP, sent, directory, report, on_progress))
        else:
            asyncio.run(_suspect(stack, sent, report))
    return report


def _work(
    plan: Plan,
    stack: Stack,
    worker: WorkerProcess,
    sent: SentRecords,
    report: FuzzReport,
    step: Callable[[str, int], Callable[[int], None]],
) -> None:
    """Send, follow, and look whether it is still the worker that was started."""
    wait_until_ready(worker)
    born, started = start_time(worker.pid), time.perf_counter()
    on_progress = step("records sent", len(plan.numbers))
    report.megabytes = asyncio.run(_send(plan, stack, worker, sent, on_progress)) // 1_000_000
    found = follow(worker, sent.records, step("records settled", sent.records))
    report.seconds = round(time.perf_counter() - started, 1)
    report.records_per_second = round(sent.records / report.seconds)
    report.skipped, report.commit_failures = found.skipped, found.commit_failures
    report.rebalances = found.rebalances
    if found.records != sent.records:
        report.add_problem(f"{found.records} records counted, {sent.records} were sent")
    if start_time(worker.pid) != born:
        report.add_problem(f"process {worker.pid} is another one now")
    if reasons := worker.readiness():
        report.add_problem(f"the worker is not ready at the end: {reasons}")
    report.peak_memory_mb = worker.peak_memory_bytes() // 1_000_000
    if report.peak_memory_mb > BOUND_MB + HOSTILE_ALLOWANCE_MB:
        report.add_problem(f"peak memory {report.peak_memory_mb} MB, more than {BOUND_MB} + {HOSTILE_ALLOWANCE_MB}")


async def _send(
    plan: Plan, stack: Stack, worker: WorkerProcess, sent: SentRecords, on_progress: Callable[[int], None]
) -> int:
    """Put the records onto the topic; how many bytes of values they have is returned."""
    async with Sender(stack.broker.bootstrap_servers, stack.topic, PARTITIONS, sent) as sender:
        await sender.send(_records(plan, worker), on_progress)
        return sender.bytes


def _records(plan: Plan, worker: WorkerProcess) -> Iterator[tuple[int, FuzzRecord]]:
    for sent, number in enumerate(plan.numbers):
        if sent % _LOOK_EVERY == 0:
            read_counts(worker)  # raises when it has ended: no use in going on
            if time.monotonic() > plan.until:
                return
        yield number, make_record(plan.seed, number)


async def _suspect(stack: Stack, sent: SentRecords, report: FuzzReport) -> None:
    """Whoever stands next after what is committed: the guilty record is among the first batch of these."""
    ends = sent.ends
    offsets = await committed(stack.broker.bootstrap_servers, stack.topic, GROUP, len(ends))
    for partition, end_offset in ends.items():
        first = offsets[partition] or 0
        for offset in range(first, min(end_offset, first + _SUSPECTS)):
            number = sent.number(RecordPosition(partition, offset))
            if number is not None:
                report.guilty.append(number)
    report.examples.append(f"the guilty record is one of the {len(report.guilty)} after what is committed: {offsets}")
    for number in report.guilty:
        if found := disagreement(number, make_record(report.seed, number)):
            report.add_problem(f"{found.record.name}: {found.problem}", number)
