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

from deploy.local.demo.flow import end
from deploy.local.demo.reference import CONSTRAINT
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess
from tests.fuzz.audit import TABLE, audit
from tests.fuzz.generate import make
from tests.fuzz.in_process import disagreement
from tests.fuzz.ledger import Ledger, Place
from tests.fuzz.outcome import Outcome
from tests.fuzz.sending import Sender
from tests.fuzz.watching import WorkerStoppedError, counted, follow, noise, start_time, wait_until_ready
from tests.support.topic import committed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.fuzz.record import Fuzzed

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


def run(plan: Plan, directory: Path, step: Callable[[str, int], Callable[[int], None]]) -> Outcome:
    """Put the records of `plan` through a stack in `directory`; `step` begins a bar and returns who hears of progress.

    Raises:
        ProcessFailedError, MigrationFailedError: a server or the worker did not start.
    """
    outcome = Outcome(plan.seed)
    ledger = Ledger()
    with Stack(directory, partitions=PARTITIONS) as stack:
        with stack.engine.client(stack.database) as client:
            client.execute(f"ALTER TABLE {TABLE} ADD {CONSTRAINT}")
        with WorkerProcess(directory, {**stack.environment(), **_WORKER}) as worker:
            try:
                _work(plan, stack, worker, ledger, outcome, step)
            except (WorkerStoppedError, TimeoutError) as error:
                outcome.complain(f"{error}; the end of its log:\n{worker.process.tail()}")
            outcome.exit_code = end(worker)
            if outcome.exit_code != 0:
                outcome.complain(f"the worker ended with {outcome.exit_code}")
            for line in noise(worker):
                outcome.complain(f"its log says: {line}")
        outcome.records = ledger.records
        if outcome.seconds:
            told = step("records compared", ledger.records)
            asyncio.run(audit(stack, GROUP, ledger, directory, outcome, told))
        else:
            asyncio.run(_suspect(stack, ledger, outcome))
    return outcome


def _work(
    plan: Plan,
    stack: Stack,
    worker: WorkerProcess,
    ledger: Ledger,
    outcome: Outcome,
    step: Callable[[str, int], Callable[[int], None]],
) -> None:
    """Send, follow, and look whether it is still the worker that was started."""
    wait_until_ready(worker)
    born, started = start_time(worker.pid), time.perf_counter()
    told = step("records sent", len(plan.numbers))
    outcome.megabytes = asyncio.run(_send(plan, stack, worker, ledger, told)) // 1_000_000
    found = follow(worker, ledger.records, step("records settled", ledger.records))
    outcome.seconds = round(time.perf_counter() - started, 1)
    outcome.records_per_second = round(ledger.records / outcome.seconds)
    outcome.skipped, outcome.commit_failures = found.skipped, found.commit_failures
    outcome.rebalances = found.rebalances
    if found.records != ledger.records:
        outcome.complain(f"{found.records} records counted, {ledger.records} were sent")
    if start_time(worker.pid) != born:
        outcome.complain(f"process {worker.pid} is another one now")
    if reasons := worker.readiness():
        outcome.complain(f"the worker is not ready at the end: {reasons}")
    outcome.peak_memory_mb = worker.peak_memory_bytes() // 1_000_000
    if outcome.peak_memory_mb > BOUND_MB + HOSTILE_ALLOWANCE_MB:
        outcome.complain(f"peak memory {outcome.peak_memory_mb} MB, more than {BOUND_MB} + {HOSTILE_ALLOWANCE_MB}")


async def _send(plan: Plan, stack: Stack, worker: WorkerProcess, ledger: Ledger, told: Callable[[int], None]) -> int:
    """Put the records onto the topic; how many bytes of values they have is returned."""
    async with Sender(stack.broker.bootstrap_servers, stack.topic, PARTITIONS, ledger) as sender:
        await sender.send(_records(plan, worker), told)
        return sender.bytes


def _records(plan: Plan, worker: WorkerProcess) -> Iterator[tuple[int, Fuzzed]]:
    for sent, number in enumerate(plan.numbers):
        if sent % _LOOK_EVERY == 0:
            counted(worker)  # raises when it has ended: no use in going on
            if time.monotonic() > plan.until:
                return
        yield number, make(plan.seed, number)


async def _suspect(stack: Stack, ledger: Ledger, outcome: Outcome) -> None:
    """Whoever stands next after what is committed: the guilty record is among the first batch of these."""
    ends = ledger.ends
    offsets = await committed(stack.broker.bootstrap_servers, stack.topic, GROUP, len(ends))
    for partition, end_offset in ends.items():
        first = offsets[partition] or 0
        for offset in range(first, min(end_offset, first + _SUSPECTS)):
            number = ledger.number(Place(partition, offset))
            if number is not None:
                outcome.guilty.append(number)
    outcome.examples.append(f"the guilty record is one of the {len(outcome.guilty)} after what is committed: {offsets}")
    for number in outcome.guilty:
        if found := disagreement(number, make(outcome.seed, number)):
            outcome.complain(f"{found.record.name}: {found.problem}", number)
