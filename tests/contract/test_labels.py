"""Labels on ClickHouse's engine: what was sent is what is read, whatever their number and their texts."""

from collections.abc import Callable, Iterable

import pytest
from clickhouse_driver import Client

from tests.support.events import many_events
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.store import ClickHouseStore
from worker.core.model import Event, Labels, Row
from worker.core.outcome import WRITTEN, Constraint
from worker.events.block import Block

SIXTEEN: Labels = tuple((f"{number:02}", f"value {number}") for number in range(16))
ODD: Labels = (("", ""), ("größe\0", "\n\t\\'`"), ("💥" * 64, "💥" * 256), ("コスト", "ü"))


@pytest.fixture
def store(target: ClickHouseTarget, stores: Callable[..., ClickHouseStore]) -> ClickHouseStore:
    return stores(target)


def labelled(all_labels: Iterable[Labels]) -> list[Event]:
    """One event for each of `all_labels`; the number of its metrics is its position modulo 4, and 1 more."""
    all_labels = list(all_labels)
    return [event._replace(labels=it) for event, it in zip(many_events(len(all_labels)), all_labels, strict=True)]


def block_of_events(events: list[Event]) -> Block:
    block = Block(202601)
    for number, event in enumerate(events):
        names = tuple(f"metric {metric}" for metric in range(number % 4 + 1))
        block.add_rows(event, names, [float(number)] * len(names))
    return block


async def assert_round_trip(clickhouse: Client, store: ClickHouseStore, events: list[Event]) -> None:
    block = block_of_events(events)
    assert await store.insert(block) == WRITTEN
    rows = clickhouse.execute("SELECT execution_id, metric_type, metric_value, labels FROM execution_metrics")
    expected = [(row.event.execution_id, row.metric, row.value, dict(row.event.labels)) for row in block.rows()]
    assert sorted(rows, key=lambda row: row[:3]) == sorted(expected, key=lambda row: row[:3])


@pytest.mark.parametrize(
    "all_labels",
    [
        [(), (), ()],
        [SIXTEEN],
        [(), SIXTEEN, (), (("a", "b"),), ()],
        [(("a", "b"),), ()],
        [ODD, (), ODD, (("", "v"),), (("a", ""),)],
        [(("a", "b"),), (("b", "a"),), (("a", "a"), ("b", "b"))],
    ],
    ids=["none", "16", "some", "last without", "odd texts", "names that are values"],
)
async def test_labels_are_read_as_they_were_sent(
    clickhouse: Client, store: ClickHouseStore, all_labels: list[Labels]
) -> None:
    await assert_round_trip(clickhouse, store, labelled(all_labels))


@pytest.mark.parametrize("count", [255, 256, 257, 65_535, 65_536, 65_537])
@pytest.mark.parametrize("varied", ["name", "value"])
async def test_dictionaries_of_any_length_are_read_as_they_were_sent(
    clickhouse: Client, store: ClickHouseStore, count: int, varied: str
) -> None:
    """The indexes into a dictionary are as wide as it is long."""
    of_each = ((str(number), "v") if varied == "name" else ("n", str(number)) for number in range(count))
    await assert_round_trip(clickhouse, store, labelled((label, ("~", "same")) for label in of_each))


async def test_column_without_dictionaries_takes_labels_too(clickhouse: Client, store: ClickHouseStore) -> None:
    clickhouse.execute("ALTER TABLE execution_metrics MODIFY COLUMN labels Map(String, String)")
    await assert_round_trip(clickhouse, store, labelled([(), SIXTEEN, ODD, ()]))


async def test_constraint_can_name_labels(store: ClickHouseStore, database: str) -> None:
    constraint = Constraint(f"{database}.execution_metrics", "labels['model'] != 'old'", "no")
    events = labelled([(("model", "old"),), (), (("model", "new"),), (("model", "old"), ("z", "z"))])
    block = Block.from_rows(202601, [Row(event, "m", 1) for event in events])
    assert list(await store.find_violating_rows(constraint, block)) == [0, 3]
