"""What the code that this worker replaces did right is still done; one of its tests is left.

There, one `try` around all the writes of an execution lost every metric after the first that failed.
"""

import asyncio
from uuid import UUID

import pytest

from tests.support.clock import until
from tests.support.events import EXECUTION_ID, event, event_without, record
from tests.support.fakes import REFUSED, UNAVAILABLE, UNCLASSIFIED, MemoryStore
from tests.support.worker_harness import rig
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric
from worker.core.outcome import Outcome
from worker.events.block import Block

TWO_METRICS = {"test_metric": 123, "another_metric": 456.78}


class TestStoreThatAlwaysFails:
    @pytest.mark.parametrize(
        ("outcome", "error_class"),
        [
            (REFUSED, ErrorClass.ROW_REFUSED),
            (UNAVAILABLE, ErrorClass.STORE_UNAVAILABLE),
        ],
    )
    async def test_both_metrics_are_attempted_and_become_dead_letters(
        self, outcome: Outcome, error_class: ErrorClass
    ) -> None:
        attempted: set[str] = set()

        class Watched(MemoryStore):
            async def insert(self, block: Block) -> Outcome:
                attempted.update(row.metric for row in block.rows())
                return await super().insert(block)

        async with rig(Watched()) as worker:
            worker.store.broken = outcome
            await worker.pipeline.process([record(event(metrics=TWO_METRICS))])
            assert attempted == set(TWO_METRICS)
            letters = [item for item in worker.dead_letters.letters if isinstance(item, FailedMetric)]
            assert {item.metric: item.value for item in letters} == TWO_METRICS
            assert {item.failure.error_class for item in letters} == {error_class}
            assert all(item.attempts >= 1 for item in letters)

    async def test_error_of_unknown_meaning_loses_nothing(self) -> None:
        async with rig() as worker:
            worker.store.broken = UNCLASSIFIED
            batch = asyncio.create_task(worker.pipeline.process([record(event(metrics=TWO_METRICS))]))
            await until(lambda: worker.hold.active)
            worker.store.broken = None
            await batch
            assert {row.metric_type for row in worker.store.table} == set(TWO_METRICS)
            assert worker.dead_letters.letters == []

    @pytest.mark.parametrize("outcome", [REFUSED, UNAVAILABLE])
    async def test_next_batch_is_processed(self, outcome: Outcome) -> None:
        async with rig() as worker:
            worker.store.broken = outcome
            await worker.pipeline.process([record(event(metrics=TWO_METRICS), offset=1)])
            worker.store.broken = None
            await worker.pipeline.process([record(event(metrics=TWO_METRICS), offset=2)])
            assert {(row.metric_type, row.source_offset) for row in worker.store.table} == {
                ("test_metric", 2),
                ("another_metric", 2),
            }
            assert len(worker.dead_letters.letters) == 2

    async def test_failure_of_one_metric_fails_only_that_metric(self) -> None:
        store = MemoryStore(lambda row: row.metric == "test_metric")
        async with rig(store) as worker:
            await worker.pipeline.process([record(event(metrics=TWO_METRICS))])
            assert [row.metric_type for row in store.table] == ["another_metric"]
            (letter,) = worker.dead_letters.letters
            assert isinstance(letter, FailedMetric)
            assert letter.metric == "test_metric"


class TestNumericFilter:
    async def test_ints_floats_and_booleans_become_rows_and_nothing_else(self) -> None:
        metrics = {
            "execution_time_ms": 100,
            "cpu_percent": 45.5,
            "result_success": True,
            "model": "text",
            "nothing": None,
            "list": [1],
            "object": {"a": 1},
            "digits": "42",
        }
        async with rig() as worker:
            await worker.pipeline.process([record(event(metrics=metrics))])
            assert {row.metric_type: row.metric_value for row in worker.store.table} == {
                "execution_time_ms": 100.0,
                "cpu_percent": 45.5,
                "result_success": 1.0,
            }
            assert all(type(row.metric_value) is float for row in worker.store.table)
            assert worker.dead_letters.letters == []


class TestRow:
    async def test_row_has_execution_agent_user_name_and_value(self) -> None:
        async with rig() as worker:
            await worker.pipeline.process([record(event(metrics={"cpu_percent": 45}, agent_name="a", user_id="u"))])
            (row,) = worker.store.table
        assert row[:5] == (UUID(EXECUTION_ID), "a", "u", "cpu_percent", 45.0)

    @pytest.mark.parametrize("document", [event_without("user_id"), event(user_id=None)])
    async def test_user_is_optional(self, document: dict[str, object]) -> None:
        async with rig() as worker:
            await worker.pipeline.process([record(document)])
            assert {row.user_id for row in worker.store.table} == {None}
            assert len(worker.store.table) == 2
