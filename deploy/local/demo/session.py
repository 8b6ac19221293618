"""The demo from beginning to end.

1. Measure real executions.
2. Start the stack, and put the stream on the topic; the ledger takes down what must become of it.
3. Start the worker, and follow it until everything is settled.
4. End the worker, and read everything back.
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
from deploy.local.demo.reference import read
from deploy.local.demo.result import DemoResult, InputSummary
from deploy.local.demo.verification import Verification, audit
from deploy.local.demo.work import HOW_MANY
from deploy.local.demo.worker_progress import WorkerProgress, end, follow, wait_until_ready
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from deploy.local.broker import KafkaServer
    from deploy.local.demo.display import Display

GROUP = "metrics-worker-demo"
SEED = 20260901
_TOLD_EVERY = 250


@dataclass(frozen=True)
class Input:
    """What goes on the topic: `count` messages, and the executions whose rows will be shown."""

    messages: Iterable[Message]
    count: int
    sources: InputSummary
    shown: tuple[str, ...] = ()


def generated(count: int, directory: Path, display: Display) -> Input:
    """Measure executions and replay them as `count` records, careless ones among them."""
    material = directory / "work"
    material.mkdir()
    with display.step("executions measured", HOW_MANY) as on_progress:
        executions = measure_all(material, on_progress)
    # The first of each status: one execution that went well, one that failed.
    by_status = {event["status"]: str(event["execution_id"]) for event in reversed(executions)}
    careless = count_careless(count)
    sources = InputSummary(measured=min(len(executions), count - careless), careless=careless)
    messages = generate_stream(executions, count, Random(SEED))  # noqa: S311 - nothing here is a secret
    return Input(messages, count, sources, tuple(by_status.values()))


def from_file(path: Path) -> Input:
    """The lines of a file, verbatim; those that are blank are left out."""
    with path.open("rb") as file:
        count = sum(bool(line.strip()) for line in file)
    return Input(_lines(path), count, InputSummary(file=path.name))


def _lines(path: Path) -> Iterator[Message]:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                value = line.removesuffix(b"\n")
                owner = read(value, (), 0).owner
                yield Message(owner[0].encode() if owner else None, value)


def run(source: Input, directory: Path, display: Display, broker: KafkaServer) -> DemoResult:
    """Put `source` through a stack with that broker and a worker, all in `directory`.

    Raises:
        ProcessFailedError, MigrationFailedError: a server or the worker did not start.
    """
    ledger = Expectations(directory)
    with ExitStack() as opened, ignore_further_interrupts():
        with display.step("Kafka and ClickHouse up"):
            stack = opened.enter_context(Stack(directory, broker=broker))
            with stack.engine.client(stack.database) as client:
                table.constrain(client)
            environment = {**stack.environment(), "KAFKA_GROUP_ID": GROUP}
        too_large = _send(source, stack, ledger, display)
        flow, exit_code = _work(WorkerProcess(directory, environment), ledger, display)
        with display.step("rows read back", ledger.rows) as on_progress:
            findings = audit(stack, GROUP, ledger, flow.skipped, source.shown, on_progress)
    sources = replace(source.sources, too_large=too_large)
    return _outcome(sources, ledger, flow, exit_code, findings)


def _send(source: Input, stack: Stack, ledger: Expectations, display: Display) -> int:
    with display.step("records sent", source.count) as on_progress, ledger:

        def landed(message: Message, position: RecordPosition, timestamp: int) -> None:
            ledger.enter(message, position, timestamp)
            if ledger.records % _TOLD_EVERY == 0 or ledger.records == source.count:
                on_progress(ledger.records)

        return asyncio.run(topic.send(stack.broker.bootstrap_servers, stack.topic, source.messages, landed))


def _work(worker: WorkerProcess, ledger: Expectations, display: Display) -> tuple[WorkerProgress, int | None]:
    """Start the worker, follow it, end it."""
    with ExitStack() as opened, ignore_further_interrupts():
        with display.step("worker joins its group"):
            opened.enter_context(worker)
            wait_until_ready(worker)
        with display.step("metrics settled", ledger.metrics) as on_progress:
            flow = follow(worker, ledger, on_progress)
        with display.step("worker ends"):
            exit_code = end(worker)
        if flow.stalled or exit_code != 0:
            display.say(f"The worker's last words:\n{worker.process.tail()}")
    return flow, exit_code


def _outcome(
    sources: InputSummary, ledger: Expectations, flow: WorkerProgress, exit_code: int | None, found: Verification
) -> DemoResult:
    return DemoResult(
        sources=sources,
        records=ledger.records,
        events=ledger.events,
        unreadable=ledger.records - ledger.events - ledger.tombstones,
        tombstones=ledger.tombstones,
        metrics=ledger.metrics,
        rows=found.counts.rows_in_view,
        executions=found.counts.executions,
        replaced=found.replaced,
        letters=found.letters,
        dead_letters=found.dead_letters,
        skipped=flow.skipped,
        differences=found.differences,
        uncommitted=found.uncommitted,
        exit_code=exit_code,
        seconds=flow.seconds,
        sample=found.sample,
    )
