"""A run through the real broker, the real engine and a real worker.

1. Start the stack and the worker.
2. Send the ordinary events; when they are settled, check the memory of the worker.
3. Send the other records while the worker consumes them.
4. When all are settled, check that the worker is ready and within its memory, and terminate it.
5. Compare rows, dead letters and offsets with the expected ones.
"""

import asyncio
import json
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
from tests.fuzz import memory_probe
from tests.fuzz.fuzz_record import FuzzRecord
from tests.fuzz.generate import ORDINARY, make_record
from tests.fuzz.in_process import find_disagreement
from tests.fuzz.report import FuzzReport
from tests.fuzz.sender import Sender
from tests.support.readings import LABEL_ATTRIBUTES

GROUP = "metrics-worker-fuzz"
PARTITIONS = 4
_WORKER = {
    "KAFKA_GROUP_ID": GROUP,
    "KAFKA_SESSION_TIMEOUT_SECONDS": "20",
    "EVENT_CLOUDEVENT_LABELS": ",".join(LABEL_ATTRIBUTES),
}
"""On a busy machine a short session expires, and the rows that are then inserted twice are not the worker's fault."""
ORDINARY_PEAK_MB, PEAK_MB = 250, 400
"""Peak memory (VmHWM) of a worker after ordinary events, and whatever is sent."""
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

    def divide(self) -> tuple["Plan", "Plan"]:
        """The ordinary events, and the other records."""
        first, end = self.numbers.start, self.numbers.stop
        middle = min(max(first, ORDINARY), end)
        return self._replace(numbers=range(first, middle)), self._replace(numbers=range(middle, end))


def run(plan: Plan, directory: Path, start_step: StartStep, *, probe: bool = False) -> FuzzReport:
    """Send the records of `plan` through a stack in `directory`; `probe` lets the worker describe its peak memory.

    Raises:
        ProcessFailedError, MigrationFailedError: a server or the worker did not start.
    """
    report = FuzzReport(plan.seed)
    with Stack(directory, partitions=PARTITIONS) as stack, Expectations(directory, LABEL_ATTRIBUTES) as expectations:
        with stack.engine.client(stack.database) as client:
            add_constraint(client)
        sender = Sender(stack.broker.bootstrap_servers, stack.topic, PARTITIONS, expectations)
        ordinary, hostile = plan.divide()
        module = memory_probe.__name__ if probe else "worker"
        with WorkerProcess(directory, {**stack.environment(), **_WORKER}, module=module) as worker:
            # Not before it is ready: of a partition whose first batches arrive together, Tansu may name the second one
            # as the start of the log.
            wait_until_ready(worker)
            asyncio.run(sender.send(_make_records(ordinary), start_step("events sent", len(ordinary.numbers))))
            progress = _feed_worker(hostile, worker, sender, report, start_step)
            report.exit_code = terminate(worker)
            report.check(report.exit_code == 0, f"the worker ended with {report.exit_code}")
            for line in worker.process.output().splitlines():
                report.check(not any(text in line for text in _LOGGED_ERRORS), f"the worker's log: {line[:500]}")
                if line.startswith(memory_probe.PREFIX):
                    report.peak_memory = json.loads(line)
        expectations.flush()
        if progress.stalled:
            _name_suspects(stack, sender, report)
        else:
            on_progress = start_step("rows compared", expectations.rows)
            found = verify_results(stack, GROUP, expectations, progress, (), on_progress)
            report.add_results(expectations, found, sender.numbers)
    return report


def _feed_worker(
    plan: Plan, worker: WorkerProcess, sender: Sender, report: FuzzReport, start_step: StartStep
) -> WorkerProgress:
    """Let the worker settle the ordinary events that were sent, send the other records, and check the worker."""
    expected = sender.expectations
    progress = _wait_until_settled(worker, expected, report, start_step)
    if progress.stalled:
        return progress
    report.ordinary_peak_memory_mb = _check_memory(worker, ORDINARY_PEAK_MB, report)
    started, before = time.perf_counter(), expected.records
    records = _make_records(plan, lambda: worker.process.running)
    asyncio.run(sender.send(records, start_step("records sent", len(plan.numbers))))
    progress = _wait_until_settled(worker, expected, report, start_step)
    report.add_sent(sender, time.perf_counter() - started, expected.records - before)
    if progress.stalled:
        return progress
    settled = progress.metrics, progress.records
    report.check(settled == (expected.metrics, expected.whole_records), f"the worker counts {settled} settled")
    reasons, telemetry = worker.readiness(), worker.telemetry()
    report.check(not reasons, f"the worker is not ready at the end: {reasons}")
    report.skipped = progress.skipped
    report.commit_failures = int(telemetry["metrics_worker_commit_failures_total"][()])
    report.rebalances = int(telemetry["metrics_worker_rebalances_total"][()])
    report.peak_memory_mb = _check_memory(worker, PEAK_MB, report)
    return progress


def _wait_until_settled(
    worker: WorkerProcess, expected: Expectations, report: FuzzReport, start_step: StartStep
) -> WorkerProgress:
    on_progress = start_step("metrics settled", expected.metrics)
    progress = wait_until_settled(worker, expected, on_progress, STALLED_SECONDS)
    report.check(not progress.stalled, f"the worker has ended or stalled; the end of its log:\n{worker.process.tail()}")
    return progress


def _check_memory(worker: WorkerProcess, bound_mb: int, report: FuzzReport) -> int:
    peak_mb = worker.peak_memory_bytes() // 1_000_000
    report.check(peak_mb <= bound_mb, f"the worker has taken {peak_mb} MB, more than {bound_mb}")
    return peak_mb


def _make_records(plan: Plan, may_send: Callable[[], bool] = lambda: True) -> Iterator[tuple[int, FuzzRecord]]:
    for sent, number in enumerate(plan.numbers):
        if sent % _CHECK_EVERY == 0 and (time.monotonic() > plan.until or not may_send()):
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
