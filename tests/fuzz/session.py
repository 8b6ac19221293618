"""A run through the real broker, the real engine and a real worker.

1. Start the stack and the worker.
2. Send the records while the worker consumes them.
3. When all are settled, check that the worker is ready and within its memory, and terminate it.
4. Compare rows, dead letters and offsets with the expected ones.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from deploy.local.demo.expectations import Expectations
from deploy.local.demo.table import add_constraint
from deploy.local.demo.topic import read_committed_offsets
from deploy.local.demo.verification import verify_results
from deploy.local.demo.worker_progress import WorkerProgress, terminate, wait_until_ready, wait_until_settled
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess
from tests.fuzz.fuzz_record import FuzzRecord
from tests.fuzz.generate import make_record
from tests.fuzz.in_process import find_disagreement
from tests.fuzz.report import FuzzReport
from tests.fuzz.sender import Sender

GROUP = "metrics-worker-fuzz"
PARTITIONS = 4
_WORKER = {"KAFKA_GROUP_ID": GROUP, "KAFKA_SESSION_TIMEOUT_SECONDS": "20"}
"""On a busy machine a short session expires, and the rows that are then inserted twice are not the worker's fault."""
BOUND_MB = 250
"""Peak memory of a worker with ordinary records (design, promise 7)."""
HOSTILE_ALLOWANCE_MB = 350
"""More than that for oversized records, and documents that are much larger parsed than written: see README.md."""
STALLED_SECONDS = 90.0
_MOST_SUSPECTS = 2_000
_CHECK_EVERY = 1_000
_LOGGED_ERRORS = ("Traceback (most recent call last)", "failed unexpectedly", "never retrieved")

StartStep = Callable[[str, int], Callable[[int], None]]
"""Is called with the name and the total of each step, and returns what is called with its progress."""


class Plan(NamedTuple):
    """The records, and the time (`time.monotonic`) after which no more are sent."""

    seed: int
    numbers: range
    until: float


def run(plan: Plan, directory: Path, start_step: StartStep) -> FuzzReport:
    """Send the records of `plan` through a stack in `directory`.

    Raises:
        ProcessFailedError, MigrationFailedError: a server or the worker did not start.
    """
    report = FuzzReport(plan.seed)
    with Stack(directory, partitions=PARTITIONS) as stack, Expectations(directory) as expectations:
        with stack.engine.client(stack.database) as client:
            add_constraint(client)
        sender = Sender(stack.broker.bootstrap_servers, stack.topic, PARTITIONS, expectations)
        with WorkerProcess(directory, {**stack.environment(), **_WORKER}) as worker:
            wait_until_ready(worker)
            progress = _feed_worker(plan, worker, sender, report, start_step)
            report.exit_code = terminate(worker)
            report.check(report.exit_code == 0, f"the worker ended with {report.exit_code}")
            for line in worker.process.output().splitlines():
                report.check(not any(text in line for text in _LOGGED_ERRORS), f"the worker's log: {line[:500]}")
        expectations.flush()
        if progress.stalled:
            _name_suspects(stack, sender, report)
        else:
            on_progress = start_step("rows compared", expectations.rows)
            found = verify_results(stack, GROUP, expectations, progress.skipped, (), on_progress)
            report.add_results(expectations, found, sender.numbers)
    return report


def _feed_worker(
    plan: Plan, worker: WorkerProcess, sender: Sender, report: FuzzReport, start_step: StartStep
) -> WorkerProgress:
    """Send the records, wait until they are settled, and check the worker."""
    started, expected = time.perf_counter(), sender.expectations
    asyncio.run(sender.send(_make_records(plan, worker), start_step("records sent", len(plan.numbers))))
    on_progress = start_step("metrics settled", expected.metrics)
    progress = wait_until_settled(worker, expected, on_progress, STALLED_SECONDS)
    report.records, report.megabytes = expected.records, sender.bytes // 1_000_000
    report.seconds = round(time.perf_counter() - started, 1)
    report.records_per_second = round(report.records / report.seconds)
    report.check(not progress.stalled, f"the worker has ended or stalled; the end of its log:\n{worker.process.tail()}")
    if progress.stalled:
        return progress
    settled = progress.metrics, progress.records
    report.check(settled == (expected.metrics, expected.whole_records), f"the worker counts {settled} settled")
    reasons, telemetry = worker.readiness(), worker.telemetry()
    report.check(not reasons, f"the worker is not ready at the end: {reasons}")
    report.skipped = progress.skipped
    report.commit_failures = int(telemetry["metrics_worker_commit_failures_total"][()])
    report.rebalances = int(telemetry["metrics_worker_rebalances_total"][()])
    peak = report.peak_memory_mb = worker.peak_memory_bytes() // 1_000_000
    report.check(peak <= BOUND_MB + HOSTILE_ALLOWANCE_MB, f"{peak} MB, more than {BOUND_MB} + {HOSTILE_ALLOWANCE_MB}")
    return progress


def _make_records(plan: Plan, worker: WorkerProcess) -> Iterator[tuple[int, FuzzRecord]]:
    for sent, number in enumerate(plan.numbers):
        if sent % _CHECK_EVERY == 0 and (time.monotonic() > plan.until or not worker.process.running):
            return
        yield number, make_record(plan.seed, number)


def _name_suspects(stack: Stack, sender: Sender, report: FuzzReport) -> None:
    """The worker has stopped: the record at fault is among the first that are not committed."""
    committed = asyncio.run(read_committed_offsets(stack.broker.bootstrap_servers, stack.topic, GROUP))
    report.guilty = [
        number
        for position, number in sender.numbers.items()
        if 0 <= position.offset - committed[position.partition] < _MOST_SUSPECTS
    ]
    report.examples.append(f"one of the {len(report.guilty)} records after the committed offsets {committed}")
    for number in report.guilty:
        found = find_disagreement(number, make_record(report.seed, number))
        report.check(found is None, str(found))
