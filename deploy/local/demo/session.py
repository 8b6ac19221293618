"""The demo from beginning to end.

1. Measure real executions.
2. Start the stack and send the stream; the expectations note what must become of each record.
3. Start the worker and wait until everything is settled.
4. Terminate the worker, read everything and compare it with the expectations.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from deploy.local.demo import table, topic
from deploy.local.demo.careless import Message
from deploy.local.demo.event_stream import count_careless, generate_stream
from deploy.local.demo.expectations import Expectations, RecordPosition
from deploy.local.demo.interrupts import ignore_further_interrupts
from deploy.local.demo.measurement import measure_all
from deploy.local.demo.reference import read_event
from deploy.local.demo.result import DemoResult, InputSummary
from deploy.local.demo.verification import verify_results
from deploy.local.demo.work import HOW_MANY
from deploy.local.demo.worker_progress import WorkerProgress, terminate, wait_until_ready, wait_until_settled
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from deploy.local.broker import KafkaServer
    from deploy.local.demo.display import Display

GROUP = "metrics-worker-demo"
SEED = 20260901
_PROGRESS_EVERY = 250


@dataclass(frozen=True)
class Input:
    """What is sent: `count` messages, and the executions of which the report shows rows."""

    messages: Iterable[Message]
    count: int
    sources: InputSummary
    sample: tuple[str, ...] = ()


def generate_input(count: int, directory: Path, display: Display) -> Input:
    """Measure executions and replay them as `count` records, those of careless producers among them."""
    material = directory / "work"
    material.mkdir()
    with display.step("executions measured", HOW_MANY) as on_progress:
        executions = measure_all(material, on_progress)
    # The first execution of each status: one that succeeded, one that failed.
    by_status = {event["status"]: str(event["execution_id"]) for event in reversed(executions)}
    careless = count_careless(count)
    sources = InputSummary(measured=min(len(executions), count - careless), careless=careless)
    messages = generate_stream(executions, count, Random(SEED))  # noqa: S311 - nothing here is a secret
    return Input(messages, count, sources, tuple(by_status.values()))


def read_input(path: Path) -> Input:
    """The lines of a file, verbatim; those that are blank are left out."""
    with path.open("rb") as file:
        count = sum(bool(line.strip()) for line in file)
    return Input(_read_lines(path), count, InputSummary(file=path.name))


def _read_lines(path: Path) -> Iterator[Message]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                value = line.removesuffix(b"\n")
                owner = read_event(value, (), 0).owner
                yield Message(owner[0].encode() if owner else None, value)


def run(source: Input, directory: Path, display: Display, broker: KafkaServer) -> DemoResult:
    """Send `source` through a stack with `broker` and one worker, all in `directory`.

    Raises:
        ProcessFailedError, MigrationFailedError: a server or the worker did not start.
    """
    expectations = Expectations(directory)
    with ExitStack() as opened, ignore_further_interrupts():
        with display.step("Kafka and ClickHouse up"):
            stack = opened.enter_context(Stack(directory, broker=broker))
            with stack.engine.client(stack.database) as client:
                table.add_constraint(client)
            environment = {**stack.environment(), "KAFKA_GROUP_ID": GROUP}
        too_large = _send(source, stack, expectations, display)
        progress, exit_code = _run_worker(WorkerProcess(directory, environment), expectations, display)
        with display.step("rows read back", expectations.rows) as on_progress:
            found = verify_results(stack, GROUP, expectations, progress, source.sample, on_progress)
    sources = replace(source.sources, too_large=too_large)
    return DemoResult(sources, expectations, found, progress, exit_code)


def _send(source: Input, stack: Stack, expectations: Expectations, display: Display) -> int:
    with display.step("records sent", source.count) as on_progress, expectations:

        def on_acknowledged(message: Message, position: RecordPosition, timestamp: int) -> None:
            expectations.add_record(message, position, timestamp)
            if expectations.records % _PROGRESS_EVERY == 0 or expectations.records == source.count:
                on_progress(expectations.records)

        return asyncio.run(
            topic.send_messages(stack.broker.bootstrap_servers, stack.topic, source.messages, on_acknowledged)
        )


def _run_worker(
    worker: WorkerProcess, expectations: Expectations, display: Display
) -> tuple[WorkerProgress, int | None]:
    """Start the worker, wait until everything is settled, terminate it."""
    with ExitStack() as opened, ignore_further_interrupts():
        with display.step("worker joins its group"):
            opened.enter_context(worker)
            wait_until_ready(worker)
        with display.step("metrics settled", expectations.metrics) as on_progress:
            progress = wait_until_settled(worker, expectations, on_progress)
        with display.step("worker ends"):
            exit_code = terminate(worker)
        if progress.stalled or exit_code != 0:
            display.print(f"The end of the worker's log:\n{worker.process.tail()}")
    return progress, exit_code
