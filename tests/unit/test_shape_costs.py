"""Finds cliffs: kinds of events that cost the worker much more than the plain one.

Counted is how many instructions of Python's virtual machine the way from record to encoded block executes, so that the
result does not depend on the machine. What C code does within one instruction is not counted.
"""

import sys
from collections.abc import Callable, Iterable
from functools import cache
from types import FrameType
from typing import Any

import pytest

from tests.benchmarks.events import EventGenerator
from tests.benchmarks.named_shapes import ORDINARY, UNKNOWN
from tests.benchmarks.shape import Shape
from tests.support.events import Record
from worker.clickhouse.encoding import ENCODERS
from worker.events.block import merge_rare_months
from worker.events.fan_out import FanOut

EVENTS = 600
"""Enough that the fixed costs of a block do not matter."""
LIMIT = 1.3
MOST_INSTRUCTIONS = {
    "new names in each event": 1_150,
    "new names and two strings in each event": 2_350,
    "new labels in each event": 1_150,
    "a new order in each event": 810,
    "a new order and two strings in each event": 2_020,
}
"""Per event, on Python 3.11, whose instructions are the most. To remember shapes must not make these dearer."""


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_event_costs_at_most_1_3_times_a_plain_one_of_as_many_rows(name: str) -> None:
    rows, instructions = measure(ORDINARY[name])
    assert instructions / plain_instructions(rows) <= LIMIT


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_event_unlike_all_before_costs_no_more_than_without_memory_of_shapes(name: str) -> None:
    _, instructions = measure(UNKNOWN[name])
    assert instructions <= MOST_INSTRUCTIONS[name]


@pytest.mark.parametrize("name", [*ORDINARY, *UNKNOWN])
def test_the_benchmarks_know_how_many_rows_their_events_become(name: str) -> None:
    shape = {**ORDINARY, **UNKNOWN}[name]
    results = sum(event.results for event in EventGenerator(shape, seed=3).generate(EVENTS))
    fan_out = process(records(shape, seed=3))
    assert (fan_out.rows, fan_out.failed) == (results, [])


@cache
def measure(shape: Shape) -> tuple[float, float]:
    """Rows and instructions per event, when the worker has seen as many other events of `shape` before."""
    process(records(shape, seed=1))
    batch = records(shape, seed=2)
    rows = process(batch).rows
    return rows / EVENTS, count_instructions(lambda: process(batch)) / EVENTS


def plain_instructions(rows: float) -> float:
    """Instructions for a plain event of so many rows, which are between two whole numbers."""
    fewer, more = (measure(Shape(number))[1] for number in (int(rows), int(rows) + 1))
    return fewer + (more - fewer) * (rows - int(rows))


def records(shape: Shape, seed: int) -> list[Record]:
    generated = EventGenerator(shape, seed).generate(EVENTS)
    return [
        Record(event.value, offset=offset, timestamp=event.timestamp, key=event.key, headers=event.headers)
        for offset, event in enumerate(generated)
    ]


def process(batch: Iterable[Record]) -> FanOut:
    """Everything that the worker does with each event between Kafka's client and ClickHouse's."""
    fan_out = FanOut()
    for record in batch:
        fan_out.add_record(record)
    for block in merge_rare_months(fan_out.blocks.values()):
        block.deduplication_token()
        for _, encode in ENCODERS.values():
            encode(block)
    return fan_out


def count_instructions(call: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    sys._getframe().f_trace_opcodes = True  # Python 3.12 begins to report instructions only where a frame has asked
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
