"""INSERTs that isolate k invalid rows among n, counted on the real writer with a store in memory.

The store names the constraint that the rows violate, or only refuses the block.
"""

import asyncio
from random import Random
from statistics import mean

from tests.benchmarks.environment import Figures
from tests.support.events import block_of, many_events
from tests.support.fakes import MemoryStore
from tests.support.worker_harness import open_worker_harness
from worker.core.model import Event

_METRICS = [f"metric_{number}" for number in range(10)]
_ROWS = (1_000, 10_000, 100_000)
_INVALID = (1, 3, 10, 100)
_PLACEMENTS = 3
_REFUSED_BLOCKS = 5
_REFUSALS = ("constraint", "view")
"""A constraint that the store evaluates, or a view that throws and names no row."""


def count_bisection_inserts() -> list[Figures]:
    """One line for each k and n, by kind of refusal; means over random placements."""
    lines: list[Figures] = []
    for rows in _ROWS:
        events = many_events(rows // len(_METRICS))
        for invalid in _INVALID:
            line: Figures = {"rows": rows, "invalid": invalid}
            for refusal in _REFUSALS:
                random = Random(20260904)
                costs = [
                    asyncio.run(_count_inserts(events, frozenset(random.sample(range(rows), invalid)), refusal))
                    for _ in range(_PLACEMENTS)
                ]
                line[f"inserts_{refusal}"] = round(mean(inserts for inserts, _ in costs), 1)
                line[f"refused_with_others_{refusal}"] = round(mean(together for _, together in costs), 1)
            lines.append(line)
    return lines


def count_inserts_of_refused_metric() -> list[Figures]:
    """Inserts of blocks of a hundred events each, while the store refuses one metric of ten and names no constraint."""
    return asyncio.run(_write_blocks())


async def _write_blocks() -> list[Figures]:
    refuses = True
    store = MemoryStore(lambda row: refuses and row.metric == _METRICS[3])
    lines: list[Figures] = []
    async with open_worker_harness(store) as worker:
        for number in range(7):
            refuses = number < _REFUSED_BLOCKS
            events = [event._replace(completed_at=event.completed_at + number) for event in many_events(100)]
            before = len(store.inserts)
            failed = await worker.write(block_of(events, _METRICS))
            inserts = store.inserts[before:]
            sent = {"inserts": len(inserts), "rows_sent": sum(inserts)}
            lines.append({"block": number + 1, "refused_rows": len(failed), **sent})
    return lines


async def _count_inserts(events: list[Event], invalid: frozenset[int], refusal: str) -> tuple[int, int]:
    """Number of INSERTs, and of valid rows refused with invalid ones. A row's value is its position."""
    store = MemoryStore(lambda row: row.value in invalid, names_constraint=refusal == "constraint")
    async with open_worker_harness(store) as worker:
        failed = await worker.write(block_of(events, _METRICS))
    refused = {item.value for item in failed}
    if not invalid <= refused:
        raise AssertionError(f"of {len(invalid)} invalid rows {len(invalid - refused)} were written")
    return len(store.inserts), len(refused - invalid)
