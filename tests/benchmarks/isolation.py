"""What isolation costs: INSERTs for k invalid rows among n, counted on the real writer against a store in memory.

The store evaluates the constraint that the rows violate, or it says nothing but that it refuses the block.
"""

import asyncio
from random import Random
from statistics import mean

from tests.benchmarks.environment import Figures
from tests.support.events import block_of, many_events
from tests.support.fakes import MemoryStore
from tests.support.worker_harness import rig
from worker.core.model import Event

_METRICS = [f"metric_{number}" for number in range(10)]
_ROWS = (1_000, 10_000, 100_000)
_INVALID = (1, 3, 10, 100)
_PLACEMENTS = 3
_RULED = 5
_REFUSALS = ("constraint", "view")
"""A constraint that the store evaluates, or a view that throws and names no row."""


def isolation() -> list[Figures]:
    """One line for each k and n, by what refuses; means over random placements."""
    lines: list[Figures] = []
    for rows in _ROWS:
        events = many_events(rows // len(_METRICS))
        for invalid in _INVALID:
            line: Figures = {"rows": rows, "invalid": invalid}
            for refusal in _REFUSALS:
                random = Random(20260904)
                costs = [
                    asyncio.run(_isolate(events, frozenset(random.sample(range(rows), invalid)), refusal))
                    for _ in range(_PLACEMENTS)
                ]
                line[f"inserts_{refusal}"] = round(mean(inserts for inserts, _ in costs), 1)
                line[f"refused_with_others_{refusal}"] = round(mean(together for _, together in costs), 1)
            lines.append(line)
    return lines


def always_refused() -> list[Figures]:
    """Inserts of blocks of a hundred events each, while a rule that cannot be asked about refuses one metric of ten."""
    return asyncio.run(_blocks())


async def _blocks() -> list[Figures]:
    rule = True
    store = MemoryStore(lambda row: rule and row.metric == _METRICS[3])
    lines: list[Figures] = []
    async with rig(store) as worker:
        for number in range(7):
            rule = number < _RULED
            events = [event._replace(completed_at=event.completed_at + number) for event in many_events(100)]
            before = len(store.inserts)
            failed = await worker.writer.write(block_of(events, _METRICS))
            inserts = store.inserts[before:]
            sent = {"inserts": len(inserts), "rows_sent": sum(inserts)}
            lines.append({"block": number + 1, "refused_rows": len(failed), **sent})
    return lines


async def _isolate(events: list[Event], invalid: frozenset[int], refusal: str) -> tuple[int, int]:
    """How many INSERTs it takes, and how many valid rows are refused with others. A row's value is its position."""
    store = MemoryStore(lambda row: row.value in invalid, names_constraint=refusal == "constraint")
    async with rig(store) as worker:
        failed = await worker.writer.write(block_of(events, _METRICS))
    refused = {item.value for item in failed}
    if not invalid <= refused:
        raise AssertionError(f"of {len(invalid)} invalid rows {len(invalid - refused)} were written")
    return len(store.inserts), len(refused - invalid)
