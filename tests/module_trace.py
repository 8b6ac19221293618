"""Print which modules of `worker` one event passes through, in order: `python -m tests.module_trace`.

An entry is a call from one module of `worker` into another, or from outside into one. Stores and topics are those in
memory, so what is counted is the own path of the worker, without the adapters: the modules that a reader has to know.
Modules of `worker.observability` are counted apart: what is measured and logged there changes nothing of what follows.
Calls into the modules of values (`_VALUES`) are left out: properties of a value, and what reads one from text, are no
steps of the path; what becomes of the event is decided by the module that asks.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, NamedTuple

from tests.support.events import event, read, record
from tests.support.fakes import MemorySources, MemoryStore, MemoryTopic
from tests.support.worker_harness import FAILURE_LOG, open_worker_harness
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.dead_letters.settlement import Action, Settlement
from worker.events.fan_out import FanOut
from worker.pipeline import Pipeline
from worker.replay.journal import Journal
from worker.replay.plan import ReplayPolicy
from worker.replay.replayer import Replayer
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import WatchedHold
from worker.writing.on_unavailable import OnUnavailable

_VALUES = frozenset({"core.model", "core.times", "core.uuids"})


class Trace(NamedTuple):
    """The entries, each as (module, function), in the order of the calls."""

    entries: list[tuple[str, str]]

    @property
    def path(self) -> list[str]:
        """Each module that decides what becomes of the event, in the order in which they are first entered."""
        return [module for module in self._modules if not module.startswith("observability.")]

    @property
    def observers(self) -> list[str]:
        """Each module that measures or logs, in the same order."""
        return [module for module in self._modules if module.startswith("observability.")]

    @property
    def _modules(self) -> list[str]:
        return list(dict.fromkeys(module for module, _ in self.entries))


class _Tracer:
    """A profile function that notes each call between modules."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str]] = []
        self._seen: list[FrameType] = []  # kept alive, so that no identity is used twice

    def __call__(self, frame: FrameType, what: str, _: object) -> None:
        if what != "call" or not (module := _module(frame)) or module in _VALUES:
            return
        if any(frame is seen for seen in self._seen):
            return  # a coroutine that goes on is no new entry
        self._seen.append(frame)
        callers = [*_callers(frame)]
        # What a store in memory asks of a block is not the worker's path.
        if any(map(_is_fake, callers)):
            return
        if next(filter(None, map(_module, callers)), None) != module:
            self.entries.append((module, frame.f_code.co_qualname))


def _callers(frame: FrameType) -> Iterator[FrameType]:
    while (caller := frame.f_back) is not None:
        yield caller
        frame = caller


def _is_fake(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")) == "tests.support.fakes"


def _module(frame: FrameType) -> str | None:
    name = frame.f_globals.get("__name__", "")
    return name.removeprefix("worker.") if name.startswith("worker.") else None


async def trace_clean_event() -> Trace:
    """An event of ten metrics that all become rows."""
    return await _trace_batch(MemoryStore())


async def trace_constraint_refusal() -> Trace:
    """An event of ten metrics, one of which violates a constraint that the store evaluates."""
    return await _trace_batch(MemoryStore(refuses=lambda row: row.metric == "m3", names_constraint=True))


async def trace_replayed_letter() -> Trace:
    """A dead letter of one metric that becomes a row, from the scan of the topic to its settlement."""
    topic, hold = MemoryTopic(), WatchedHold()
    failure = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "connection refused", 210)
    await topic.write([FailedMetric(read(event()), "cost_usd", 0.5, failure, 3)])
    async with open_worker_harness(MemoryStore(), OnUnavailable.HOLD, hold=hold) as worker:

        async def replay() -> None:
            scan = await DeadLetterScan.begin(topic)
            pipeline = Pipeline(worker.writer, topic, hold, worker.telemetry, FAILURE_LOG, sleep=worker.clock.sleep)
            journal = Journal(topic, Settlement(Action.REPLAYED, "1", "operator@host", 0, None, ""))
            await Replayer(scan, journal, MemorySources(), pipeline, hold, ReplayPolicy()).run(asyncio.Event())

        return await _trace(replay())


async def _trace_batch(store: MemoryStore) -> Trace:
    async with open_worker_harness(store) as worker:
        # What only the first block needs is not counted, nor what only the first two events of a shape need.
        await worker.pipeline.process([_event(offset=0, clean=True)])
        for _ in range(2):
            FanOut().add_record(_event(offset=0))
        return await _trace(worker.pipeline.process([_event(offset=1)]))


def _event(offset: int, *, clean: bool = False) -> Any:
    names = ("first",) if clean else [f"m{number}" for number in range(10)]
    return record(event(metrics=dict.fromkeys(names, 1.5)), offset=offset)


async def _trace(work: Coroutine[Any, Any, object]) -> Trace:
    tracer = _Tracer()
    sys.setprofile(tracer)
    try:
        await work
    finally:
        sys.setprofile(None)
    return Trace(tracer.entries)


TRACES: dict[str, Callable[[], Coroutine[Any, Any, Trace]]] = {
    "clean event": trace_clean_event,
    "constraint refusal": trace_constraint_refusal,
    "replayed letter": trace_replayed_letter,
}


def main() -> None:
    """Print every trace."""
    for name, make in TRACES.items():
        trace = asyncio.run(make())
        print(  # noqa: T201 - it prints
            f"{name}: {len(trace.path)} modules, {len(trace.observers)} of observability, {len(trace.entries)} entries"
        )
        for module, function in trace.entries:
            print(f"    {module}  {function}")  # noqa: T201


if __name__ == "__main__":
    main()
