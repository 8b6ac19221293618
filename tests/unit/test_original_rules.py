"""The rules of the code that this worker replaces, of which one test stayed: what it did right is still done.

There, one `try` around all the writes of an execution lost every metric after the first that failed.
"""

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.support.events import EXECUTION_ID, event, event_without, record
from tests.support.fakes import MemoryStore, unavailable, unknown
from tests.support.rig import rig
from worker.errors import ErrorClass, RowRefused, StoreError
from worker.model import FailedMetric

TWO_METRICS = {"test_metric": 123, "another_metric": 456.78}


def refused() -> StoreError:
    return RowRefused("constraint is violated", name="VIOLATED_CONSTRAINT", code=469)


class TestAStoreThatAlwaysFails:
    @pytest.mark.parametrize(
        ("error", "error_class"),
        [
            (refused, ErrorClass.ROW_REFUSED),
            (unavailable, ErrorClass.STORE_UNAVAILABLE),
            (unknown, ErrorClass.STORE_UNAVAILABLE),
        ],
    )
    async def test_is_tried_with_both_metrics_and_both_are_dead_letters(
        self, error: Callable[[], StoreError], error_class: ErrorClass
    ) -> None:
        attempted: set[str] = set()

        class Watched(MemoryStore):
            async def insert(self, block: object) -> None:
                attempted.update(row.metric for row in block.rows())  # type: ignore[attr-defined]
                await super().insert(block)  # type: ignore[arg-type]

        async with rig(Watched()) as worker:
            worker.store.broken = error
            await worker.pipeline.process([record(event(metrics=TWO_METRICS))])
            assert attempted == set(TWO_METRICS)
            letters = [item for item in worker.dead_letters.letters if isinstance(item, FailedMetric)]
            assert {item.metric: item.value for item in letters} == TWO_METRICS
            assert {item.failure.error_class for item in letters} == {error_class}
            assert all(item.attempts >= 1 for item in letters)

    @pytest.mark.parametrize("error", [refused, unavailable, unknown])
    async def test_does_not_keep_the_worker_from_the_next_batch(self, error: Callable[[], StoreError]) -> None:
        async with rig() as worker:
            worker.store.broken = error
            await worker.pipeline.process([record(event(metrics=TWO_METRICS), offset=1)])
            worker.store.broken = None
            await worker.pipeline.process([record(event(metrics=TWO_METRICS), offset=2)])
            assert {(row.metric_type, row.source_offset) for row in worker.store.table} == {
                ("test_metric", 2),
                ("another_metric", 2),
            }
            assert len(worker.dead_letters.letters) == 2

    async def test_of_one_metric_only_costs_that_metric_only(self) -> None:
        store = MemoryStore(lambda row: row.metric == "test_metric")
        async with rig(store) as worker:
            await worker.pipeline.process([record(event(metrics=TWO_METRICS))])
            assert [row.metric_type for row in store.table] == ["another_metric"]
            (letter,) = worker.dead_letters.letters
            assert isinstance(letter, FailedMetric)
            assert letter.metric == "test_metric"


class TestTheNumericFilter:
    async def test_takes_ints_floats_and_booleans_and_nothing_else(self) -> None:
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


class TestTheRecord:
    async def test_has_the_execution_the_agent_the_user_the_name_and_the_value(self) -> None:
        async with rig() as worker:
            await worker.pipeline.process([record(event(metrics={"cpu_percent": 45}, agent_name="a", user_id="u"))])
            (row,) = worker.store.table
        assert row[:5] == (UUID(EXECUTION_ID), "a", "u", "cpu_percent", 45.0)

    @pytest.mark.parametrize("document", [event_without("user_id"), event(user_id=None)])
    async def test_may_be_without_a_user(self, document: dict[str, object]) -> None:
        async with rig() as worker:
            await worker.pipeline.process([record(document)])
            assert {row.user_id for row in worker.store.table} == {None}
            assert len(worker.store.table) == 2
