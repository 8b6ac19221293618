"""A run through the real broker, the real engine and a real worker.

1. Start the stack and the worker.
2. Send the records while the worker consumes them.
3. When all are settled, check that the worker is ready and within its memory, and terminate it.
4. Compare rows, dead letters and offsets with the expected ones.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.local.demo.expectations import RecordPosition
from deploy.local.demo.reference import CONSTRAINT
from deploy.local.demo.topic import read_committed_offsets
from deploy.local.demo.worker_progress import terminate, wait_until_ready
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess
from tests.fuzz.generate import make_record
from tests.fuzz.in_process import find_disagreement
from tests.fuzz.report import FuzzReport
from tests.fuzz.sender import Sender
from tests.fuzz.sent_records import SentRecords
from tests.fuzz.verification import TABLE, verify_results
from tests.fuzz.worker_progress import WorkerStoppedError, find_log_errors, read_counts, wait_until_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fuzz.fuzz_record import FuzzRecord

GROUP = "metrics-worker-fuzz"
PARTITIONS = 4
_WORKER = {"KAFKA_GROUP_ID": GROUP, "KAFKA_SESSION_TIMEOUT_SECONDS": "20"}
"""On a busy machine a short session expires, and the rows that are then inserted twice are not the worker's fault."""
BOUND_MB = 250
"""Peak memory of a worker with ordinary records (design, promise 7)."""
HOSTILE_ALLOWANCE_MB = 350
"""More than that for oversized records, and documents that are much larger parsed than written: see README.md."""
_MOST_SUSPECTS = 2_000
_CHECK_EVERY = 1_000


@dataclass(frozen=True)
class Plan:
    """The records, and the time (`time.monotonic`) after which no more are sent."""

    seed: int
    numbers: range
    until: float


def run(plan: Plan, directory: Path, start_step: Callable[[str, int], Callable[[int], None]]) -> FuzzReport:
    """Send the records of `plan` through a stack in `directory`.

    `start_step` is called with the name and the total of each step, and returns what is called with its progress.

    Raises:
        ProcessFailedError, MigrationFailedError: a server or the worker did not start.
    """
    report = FuzzReport(plan.seed)
    sent = SentRecords()
    with Stack(directory, partitions=PARTITIONS) as stack:
        with stack.engine.client(stack.database) as client:
            client.execute(f"ALTER TABLE {TABLE} ADD {CONSTRAINT}")
        with WorkerProcess(directory, {**stack.environment(), **_WORKER}) as worker:
            wait_until_ready(worker)
            try:
                _feed_worker(plan, stack, worker, sent, report, start_step)
            except WorkerStoppedError as error:
                report.add_problem(f"{error}; the end of its log:\n{worker.process.tail()}")
            report.exit_code = terminate(worker)
            if report.exit_code != 0:
                report.add_problem(f"the worker ended with {report.exit_code}")
            for line in find_log_errors(worker):
                report.add_problem(f"the worker's log: {line}")
        report.records = sent.records
        if report.seconds:
            on_progress = start_step("records compared", sent.records)
            asyncio.run(verify_results(stack, GROUP, sent, directory, report, on_progress))
        else:
            _name_suspects(stack, sent, report)
    return report


def _feed_worker(
    plan: Plan,
    stack: Stack,
    worker: WorkerProcess,
    sent: SentRecords,
    report: FuzzReport,
    start_step: Callable[[str, int], Callable[[int], None]],
) -> None:
    """Send the records, wait until they are settled, and check the worker."""
    started = time.perf_counter()
    on_progress = start_step("records sent", len(plan.numbers))
    report.megabytes = asyncio.run(_send(plan, stack, worker, sent, on_progress)) // 1_000_000
    counts = wait_until_settled(worker, sent.records, start_step("records settled", sent.records))
    report.seconds = round(time.perf_counter() - started, 1)
    report.records_per_second = round(sent.records / report.seconds)
    report.skipped, report.commit_failures = counts.skipped, counts.commit_failures
    report.rebalances = counts.rebalances
    if counts.records != sent.records:
        report.add_problem(f"{counts.records} records counted, {sent.records} were sent")
    if reasons := worker.readiness():
        report.add_problem(f"the worker is not ready at the end: {reasons}")
    report.peak_memory_mb = worker.peak_memory_bytes() // 1_000_000
    if report.peak_memory_mb > BOUND_MB + HOSTILE_ALLOWANCE_MB:
        report.add_problem(f"peak memory {report.peak_memory_mb} MB, more than {BOUND_MB} + {HOSTILE_ALLOWANCE_MB}")


async def _send(
    plan: Plan, stack: Stack, worker: WorkerProcess, sent: SentRecords, on_progress: Callable[[int], None]
) -> int:
    """Send the records; returns the bytes of their values."""
    async with Sender(stack.broker.bootstrap_servers, stack.topic, PARTITIONS, sent) as sender:
        await sender.send(_make_records(plan, worker), on_progress)
        return sender.bytes


def _make_records(plan: Plan, worker: WorkerProcess) -> Iterator[tuple[int, FuzzRecord]]:
    for sent, number in enumerate(plan.numbers):
        if sent % _CHECK_EVERY == 0:
            read_counts(worker)  # raises WorkerStoppedError when it has ended
            if time.monotonic() > plan.until:
                return
        yield number, make_record(plan.seed, number)


def _name_suspects(stack: Stack, sent: SentRecords, report: FuzzReport) -> None:
    """The worker has stopped: the record at fault is among the first that are not committed."""
    committed = asyncio.run(read_committed_offsets(stack.broker.bootstrap_servers, stack.topic, GROUP))
    for partition, end in sent.ends.items():
        for offset in range(committed[partition], min(end, committed[partition] + _MOST_SUSPECTS)):
            number = sent.number(RecordPosition(partition, offset))
            if number is not None:
                report.guilty.append(number)
    report.examples.append(f"one of the {len(report.guilty)} records after the committed offsets {committed}")
    for number in report.guilty:
        if found := find_disagreement(number, make_record(report.seed, number)):
            report.add_problem(f"{found.record.name}: {found.problem}", number)
