"""The behaviour of a store: one suite, for ClickHouse and for the store in memory that other tests use instead."""

import asyncio
import contextlib
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from deploy.local.process import free_port
from tests.support.events import JANUARY_2026, Record, many_events, read
from tests.support.fakes import MemoryStore, misconfigured, unavailable
from tests.support.local import wait_until
from tests.support.proxy import FaultProxy
from worker.block import Block
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.migrations import migrate
from worker.clickhouse.store import ClickHouseStore
from worker.errors import Constraint, RowRefused, StoreError, StoreMisconfigured, StoreUnavailable, UnknownStoreError
from worker.model import Event, Row
from worker.ports import Store
from worker.telemetry import Telemetry

OpenStore = Callable[..., ClickHouseStore]
Values = list[tuple[str, float]]


class Subject(ABC):
    """A store, what can be seen in it, and what can be done to it from outside. Its values must not be negative."""

    store: Store

    @abstractmethod
    def table(self) -> Values:
        """Metric and value of every row, duplicates included."""

    @abstractmethod
    def view(self) -> Values:
        """Metric and value of every row that people see."""

    @abstractmethod
    def lose_table(self) -> None:
        """Let the table be away, as before the migration."""

    @abstractmethod
    def go_away(self) -> None:
        """Let nobody be there."""


class InMemory(Subject):
    def __init__(self) -> None:
        self.memory = self.store = MemoryStore(lambda row: row.value < 0, names_constraint=True)

    def table(self) -> Values:
        return sorted((row.metric_type, row.metric_value) for row in self.memory.table)

    def view(self) -> Values:
        return sorted((row.metric_type, row.metric_value) for row in self.memory.deduplicated().values())

    def lose_table(self) -> None:
        self.memory.down = misconfigured

    def go_away(self) -> None:
        self.memory.down = unavailable


class OnClickHouse(Subject):
    def __init__(self, client: Client, target: ClickHouseTarget, stores: OpenStore) -> None:
        self._client = client
        self._target = target
        self._stores = stores
        self.store = stores(target)

    def table(self) -> Values:
        return self._values("execution_metrics")

    def view(self) -> Values:
        return self._values("execution_metrics_deduplicated")

    def _values(self, table: str) -> Values:
        rows: Values = self._client.execute(f"SELECT metric_type, metric_value FROM {table} ORDER BY ALL")  # noqa: S608 - ours
        return rows

    def lose_table(self) -> None:
        self._client.execute("DROP TABLE execution_metrics")

    def go_away(self) -> None:
        self.store = self._stores(replace(self._target, port=free_port()))


@pytest.fixture(params=["memory", "clickhouse"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "memory":
        return InMemory()
    arguments = (request.getfixturevalue(name) for name in ("clickhouse", "target", "stores"))
    return OnClickHouse(*arguments)


def block(*rows: tuple[str, float], event: Event | None = None) -> Block:
    owner = event or read({"execution_id": "0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081", "agent_name": "a", "metrics": {}})
    return Block.of(202601, [Row(owner, metric, value) for metric, value in rows])


class Traceable(SimpleNamespace):
    """A record to which there are weak references; to tuples there are none."""


class TestEveryStore:
    async def test_keeps_the_rows_of_a_block(self, subject: Subject) -> None:
        await subject.store.insert(block(("a", 1), ("b", 2.5), ("c", True)))
        assert subject.table() == [("a", 1.0), ("b", 2.5), ("c", 1.0)]

    async def test_takes_the_same_block_once(self, subject: Subject) -> None:
        for _ in range(3):
            await subject.store.insert(block(("a", 1), ("b", 2)))
        assert subject.table() == [("a", 1.0), ("b", 2.0)]

    async def test_takes_another_block_with_the_same_source(self, subject: Subject) -> None:
        await subject.store.insert(block(("a", 1)))
        await subject.store.insert(block(("a", 2)))
        assert subject.table() == [("a", 1.0), ("a", 2.0)]

    async def test_refuses_a_block_whole_and_names_the_row(self, subject: Subject) -> None:
        with pytest.raises(RowRefused) as refused:
            await subject.store.insert(block(("a", 1), ("b", -1), ("c", 2)))
        assert (refused.value.code, refused.value.name, refused.value.row) == (469, "VIOLATED_CONSTRAINT", 1)
        assert subject.table() == []

    async def test_tells_which_rows_violate_a_constraint(self, subject: Subject) -> None:
        with pytest.raises(RowRefused) as refused:
            await subject.store.insert(block(("a", 1), ("b", -1)))
        constraint = refused.value.constraint
        assert constraint is not None
        assert constraint.expression == "metric_value >= 0"
        asked = block(("a", -1), ("b", -0.0), ("c", -1e-300), ("d", 5), ("e", -3))
        assert list(await subject.store.violating(constraint, asked)) == [0, 2, 4]
        assert list(await subject.store.violating(constraint, block(("a", 1)))) == []
        assert subject.table() == []

    async def test_cannot_be_asked_about_the_constraint_of_another_table(self, subject: Subject) -> None:
        with pytest.raises(UnknownStoreError):
            await subject.store.violating(Constraint("metrics.another", "metric_value >= 0", "no"), block(("a", -1)))

    async def test_away_it_cannot_be_asked_either(self, subject: Subject) -> None:
        with pytest.raises(RowRefused) as refused:
            await subject.store.insert(block(("b", -1)))
        assert refused.value.constraint is not None
        subject.go_away()
        with pytest.raises(StoreUnavailable):
            await subject.store.violating(refused.value.constraint, block(("a", -1)))

    async def test_goes_on_after_a_refusal(self, subject: Subject) -> None:
        with pytest.raises(RowRefused):
            await subject.store.insert(block(("a", -1)))
        await subject.store.insert(block(("a", 1)))
        assert subject.table() == [("a", 1.0)]

    @pytest.mark.parametrize("order", [(1, 2), (2, 1)])
    async def test_shows_the_younger_record_whichever_came_last(self, subject: Subject, order: tuple[int, int]) -> None:
        instant = "2026-01-31T12:00:00Z"
        for number in order:
            document = {
                "execution_id": "0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081",
                "agent_name": "a",
                "completed_at": instant,
                "metrics": {},
            }
            await subject.store.insert(block(("a", number), event=read(document, timestamp=JANUARY_2026 + number)))
        assert subject.view() == [("a", 2.0)]

    async def test_a_probe_writes_nothing(self, subject: Subject) -> None:
        await subject.store.probe()
        assert subject.table() == []

    async def test_without_a_table_it_is_misconfigured(self, subject: Subject) -> None:
        subject.lose_table()
        with pytest.raises(StoreMisconfigured, match=r"(?i)table"):
            await subject.store.insert(block(("a", 1)))
        with pytest.raises(StoreMisconfigured):
            await subject.store.probe()

    async def test_away_it_is_unavailable(self, subject: Subject) -> None:
        subject.go_away()
        with pytest.raises(StoreUnavailable):
            await subject.store.insert(block(("a", 1)))
        with pytest.raises(StoreUnavailable):
            await subject.store.probe()


class TestClickHouse:
    """What only the real one can show."""

    @pytest.mark.parametrize(
        ("month", "instant", "written"),
        [
            (190001, "1900-01-01T00:00:00Z", "1900-01-01 00:00:00.000"),
            (229912, "2299-12-31T23:59:59.999Z", "2299-12-31 23:59:59.999"),
        ],
    )
    async def test_takes_the_first_and_the_last_instant(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore, month: int, instant: str, written: str
    ) -> None:
        document = {"execution_id": "0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081", "agent_name": "a", "metrics": {}}
        event = read(document | {"completed_at": instant})
        await stores(target).insert(Block.of(month, [Row(event, "a", 1)]))
        answer = clickhouse.execute(
            "SELECT toString(completed_at), toUInt32(_partition_id) FROM execution_metrics FINAL"
        )
        assert answer == [(written, month)]

    @pytest.mark.parametrize(
        ("expression", "violating"),
        [
            ("metric_type != 'b'", [1]),
            ("bitAnd(toUInt8(metric_value), 3)", [1, 2, 3]),
            ("user_id != 'u' OR metric_value < 1.5", [1, 2, 3]),
            ("user_id IS NULL OR metric_value > 1.5", [0]),
            ("execution_id = generateUUIDv4() OR NOT (source_partition = 3 AND source_offset >= 9)", [3]),
            ("completed_at < toDateTime64('2026-01-01', 3) AND recorded_at > completed_at", [0, 1, 2, 3]),
            ("NOT has(splitByChar('.', source_topic), 'no') OR agent_name LIKE '%)%'", []),
            ("(metric_type, `metric_value`) NOT IN (('c', 3), ('d', 4))", [2, 3]),
        ],
    )
    async def test_violating_are_the_rows_that_it_refuses_one_by_one(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore, expression: str, violating: list[int]
    ) -> None:
        document = {"execution_id": "0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081", "agent_name": "a", "metrics": {}}
        user, nobody = read(document | {"user_id": "u"}), read(document)
        nobody = nobody._replace(record=Record(None, partition=3, offset=9))
        rows = [Row(user, "a", 1), Row(user, "b", 2), Row(user, "c", 3), Row(nobody, "d", 4)]
        constraint = Constraint(f"`{target.database}`.execution_metrics", expression, "no")
        store = stores(target)
        assert list(await store.violating(constraint, Block.of(202601, rows))) == violating
        clickhouse.execute(f"ALTER TABLE execution_metrics ADD CONSTRAINT another CHECK {expression}")
        refused = []
        for position, row in enumerate(rows):
            try:
                await store.insert(Block.of(202601, [row]))
            except RowRefused:
                refused.append(position)
        assert refused == violating

    @pytest.mark.parametrize(
        "expression",
        ["ingested_at > 0", "row_number = 0", "no_such_column = 1", "1 +", "throwIf(metric_value = 1) = 0"],
    )
    async def test_says_when_it_cannot_be_asked(
        self, target: ClickHouseTarget, stores: OpenStore, expression: str
    ) -> None:
        store = stores(target)
        with pytest.raises(StoreError):
            await store.violating(Constraint(f"{target.database}.execution_metrics", expression, "no"), block(("a", 1)))
        await store.insert(block(("a", 1)))

    async def test_a_witness_is_written_at_every_probe(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        clickhouse.execute("SYSTEM STOP MERGES execution_metrics")
        store = stores(target)
        for _ in range(3):
            await store.probe(block(("a", 1)))
        assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(3,)]

    async def test_values_and_names_survive(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        rows = [("tiny", 5e-324), ("large", 1.7976931348623157e308), ("2^53+1", 2**53 + 1), ("naïve\0 ✓", 0.1)]
        await stores(target).insert(block(*rows))
        found = clickhouse.execute("SELECT metric_type, metric_value FROM execution_metrics ORDER BY ALL")
        assert dict(found) == {metric: float(value) for metric, value in rows}

    async def test_the_sign_of_zero_survives(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        await stores(target).insert(block(("zero", -0.0)))
        assert clickhouse.execute("SELECT toString(metric_value) FROM execution_metrics") == [("-0",)]

    async def test_a_row_can_be_traced_to_its_record(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        await stores(target).insert(block(("a", 1)))
        answer = clickhouse.execute(
            "SELECT user_id, source_topic, source_partition, source_offset, toUnixTimestamp64Milli(recorded_at) "
            "FROM execution_metrics"
        )
        assert answer == [(None, "execution-completed", 0, 0, JANUARY_2026)]

    async def test_blocks_are_written_at_once_by_several_threads(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        store = stores(target, 4)
        await asyncio.gather(*(store.insert(block((f"m{number}", number))) for number in range(40)))
        assert clickhouse.execute("SELECT count(), sum(metric_value) FROM execution_metrics") == [(40, 780.0)]

    async def test_an_answer_that_is_lost_makes_no_duplicate(
        self, engine: EngineProcess, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        rows = Block.of(202601, [Row(event, "a", 1) for event in many_events(1_000)])
        async with FaultProxy(engine.port) as proxy:
            store = stores(replace(target, port=proxy.port))
            await store.probe()
            proxy.lose_answer_after(10_000)
            with pytest.raises(StoreUnavailable):
                await store.insert(rows)
            assert proxy.cuts == 1
            assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(1_000,)]
            await store.insert(rows)
        assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(1_000,)]

    async def test_a_server_that_is_not_there_is_counted_as_a_failed_insert(self, target: ClickHouseTarget) -> None:
        telemetry = Telemetry()
        store = ClickHouseStore(replace(target, port=free_port()), 1, telemetry)
        with pytest.raises(StoreUnavailable):
            await store.insert(block(("a", 1)))
        store.close()
        labels = {"outcome": "StoreUnavailable", "code": "210"}
        assert telemetry.registry.get_sample_value("metrics_worker_inserts_total", labels) == 1
        assert telemetry.registry.get_sample_value("metrics_worker_insert_seconds_count") == 1

    async def test_a_server_that_never_answers_is_unavailable_in_time(
        self, engine: EngineProcess, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        async with FaultProxy(engine.port) as proxy:
            proxy.silent = True
            store = stores(replace(target, port=proxy.port, timeout_seconds=0.3))
            with pytest.raises(StoreUnavailable):
                await store.insert(block(("a", 1)))

    async def test_closing_frees_a_thread_that_waits_for_the_server(
        self, engine: EngineProcess, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        async with FaultProxy(engine.port) as proxy:
            store = stores(replace(target, port=proxy.port, timeout_seconds=60.0))
            await store.probe()
            proxy.silent = True
            waiting = asyncio.create_task(store.insert(block(("a", 1))))
            await asyncio.wait_for(proxy.held.wait(), 5)
            store.close()
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(waiting, 5)

    @pytest.mark.parametrize("host", ["clickhouse..svc", "x" * 70])
    async def test_a_host_that_cannot_be_a_name_is_no_fault_of_the_row(
        self, target: ClickHouseTarget, stores: OpenStore, host: str
    ) -> None:
        store = stores(replace(target, host=host))
        with pytest.raises(StoreMisconfigured, match="CLICKHOUSE_HOST"):
            await store.insert(block(("a", 1)))

    async def test_an_answer_that_is_not_clickhouse_s_is_unavailable(
        self, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\x00\x04\xff\xfe\xff\xfe" + b"\xff" * 64)  # a Hello whose name is not UTF-8
            writer.close()

        async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
            store = stores(replace(target, port=server.sockets[0].getsockname()[1]))
            with pytest.raises(StoreUnavailable):
                await store.insert(block(("a", 1)))

    async def test_a_wrong_password_is_no_fault_of_the_row(self, target: ClickHouseTarget, stores: OpenStore) -> None:
        store = stores(replace(target, password="wrong"))  # noqa: S106
        with pytest.raises(StoreMisconfigured) as refused:
            await store.insert(block(("a", 1)))
        assert refused.value.code == 516
        assert "wrong" not in str(refused.value)

    async def test_a_view_that_throws_is_the_row_s_fault(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        clickhouse.execute(
            "CREATE MATERIALIZED VIEW picky ENGINE = MergeTree ORDER BY tuple() AS "
            "SELECT throwIf(metric_value = 13) AS unlucky FROM execution_metrics"
        )
        with pytest.raises(RowRefused) as refused:
            await stores(target).insert(block(("a", 13)))
        assert refused.value.code == 395

    @pytest.mark.usefixtures("no_collector")
    async def test_rows_that_are_refused_are_not_kept_until_a_collection(
        self, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        store = stores(target)
        record = Traceable(**Record(None)._asdict())
        refused = block(("a", -1), event=many_events(1)[0]._replace(record=record))
        kept = weakref.ref(record)
        del record
        with contextlib.suppress(RowRefused):
            await store.insert(refused)
        del refused
        # A thread lets go of its work a moment after it has told the loop.
        await asyncio.to_thread(wait_until, lambda: kept() is None, "nobody holds the row")


def test_migrating_twice_changes_nothing(clickhouse: Client, target: ClickHouseTarget) -> None:
    before = clickhouse.execute("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()")
    told: list[str] = []
    assert migrate(target, told.append) == 0
    assert told == []
    after = clickhouse.execute("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()")
    assert after == before
