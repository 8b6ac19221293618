"""The behaviour of a store: one suite for ClickHouse and for the memory store that other tests use."""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from deploy.local.process import free_port
from tests.support.events import JANUARY_2026, Record, many_events, record
from tests.support.fakes import MISCONFIGURED, UNAVAILABLE, MemoryStore
from tests.support.local import wait_until
from tests.support.proxy import FaultProxy
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.store import ClickHouseStore
from worker.clickhouse.types import COLUMN_TYPES
from worker.core.errors import StoreError
from worker.core.model import Event, Row
from worker.core.outcome import WRITTEN, Constraint, OutcomeKind
from worker.events.block import Block
from worker.events.completed_at import MAX_TIME
from worker.events.decode import EventPolicy, decode
from worker.observability.telemetry import Telemetry

TABLE = f"""
CREATE TABLE execution_metrics ({", ".join(f"{name} {kind}" for name, kind in COLUMN_TYPES.items())})
ENGINE = ReplacingMergeTree ORDER BY (metric_type, agent_name, execution_id)
"""

OpenStore = Callable[..., ClickHouseStore]
Values = list[tuple[str, float]]


class InMemory:
    """A store in memory whose metric values must not be negative; its rows can be read, and it can fail."""

    def __init__(self) -> None:
        self.store = MemoryStore(lambda row: row.value < 0, names_constraint=True)

    def table(self) -> Values:
        """Metric and value of every row, duplicates included."""
        return sorted((row.metric_type, row.metric_value) for row in self.store.table)

    def view(self) -> Values:
        """Metric and value of every row of the de-duplicated view."""
        return sorted((row.metric_type, row.metric_value) for row in self.store.deduplicated().values())

    def drop_table(self) -> None:
        self.store.down = MISCONFIGURED

    def become_unreachable(self) -> None:
        self.store.down = UNAVAILABLE


class OnClickHouse:
    """A store on ClickHouse with the same rule and the same methods."""

    def __init__(self, client: Client, target: ClickHouseTarget, stores: OpenStore) -> None:
        self._client = client
        self._target = target
        self._stores = stores
        self.store = stores(target)

    def table(self) -> Values:
        return self._values("execution_metrics")

    def view(self) -> Values:
        rows = self._values("execution_metrics_deduplicated")
        apart = self._values(
            "execution_metrics_deduplicated", "SETTINGS do_not_merge_across_partitions_select_final = 1"
        )
        assert rows == apart
        return rows

    def _values(self, table: str, settings: str = "") -> Values:
        query = f"SELECT metric_type, metric_value FROM {table} ORDER BY ALL {settings}"  # noqa: S608 - ours
        rows: Values = self._client.execute(query)
        return rows

    def drop_table(self) -> None:
        self._client.execute("DROP TABLE execution_metrics")

    def become_unreachable(self) -> None:
        self.store = self._stores(replace(self._target, port=free_port()))


Subject = InMemory | OnClickHouse


@pytest.fixture(params=["memory", "clickhouse"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "memory":
        return InMemory()
    arguments = (request.getfixturevalue(name) for name in ("clickhouse", "target", "stores"))
    return OnClickHouse(*arguments)


def read_event(timestamp: int = JANUARY_2026, offset: int = 0, **fields: object) -> Event:
    document = {"execution_id": "0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081", "agent_name": "a", "metrics": {}}
    event = decode(record(document | fields, timestamp=timestamp, offset=offset), EventPolicy(max_age_days=0))
    assert event is not None
    return event


def block(*rows: tuple[str, float], event: Event | None = None, month: int = 202601) -> Block:
    owner = event or read_event()
    return Block.from_rows(month, [Row(owner, metric, value) for metric, value in rows])


class Traceable(SimpleNamespace):
    """A record that can be weakly referenced, which a tuple cannot."""


@pytest.fixture
def store(target: ClickHouseTarget, stores: OpenStore) -> ClickHouseStore:
    return stores(target)


class TestEveryStore:
    async def test_rows_of_a_block_are_kept(self, subject: Subject) -> None:
        assert await subject.store.insert(block(("a", 1), ("b", 2.5), ("c", True))) == WRITTEN
        assert subject.table() == [("a", 1.0), ("b", 2.5), ("c", 1.0)]

    async def test_same_block_is_deduplicated(self, subject: Subject) -> None:
        for _ in range(3):
            assert await subject.store.insert(block(("a", 1), ("b", 2))) == WRITTEN
        assert subject.table() == [("a", 1.0), ("b", 2.0)]

    async def test_other_values_of_the_same_source_are_not_deduplicated(self, subject: Subject) -> None:
        assert await subject.store.insert(block(("a", 1))) == WRITTEN
        assert await subject.store.insert(block(("a", 2))) == WRITTEN
        assert subject.table() == [("a", 1.0), ("a", 2.0)]

    async def test_block_with_an_invalid_row_is_refused_whole_and_the_row_named(self, subject: Subject) -> None:
        outcome = await subject.store.insert(block(("a", 1), ("b", -1), ("c", 2)))
        assert (outcome.kind, outcome.code, outcome.name) == (OutcomeKind.REFUSED, 469, "VIOLATED_CONSTRAINT")
        assert outcome.row == 1
        assert "is violated" in outcome.message
        assert subject.table() == []

    async def test_violating_rows_are_found_without_writing(self, subject: Subject) -> None:
        constraint = (await subject.store.insert(block(("a", 1), ("b", -1)))).constraint
        assert constraint is not None
        assert constraint.expression == "metric_value >= 0"
        asked = block(("a", -1), ("b", -0.0), ("c", -1e-300), ("d", 5), ("e", -3))
        assert list(await subject.store.find_violating_rows(constraint, asked)) == [0, 2, 4]
        assert list(await subject.store.find_violating_rows(constraint, block(("a", 1)))) == []
        assert subject.table() == []

    async def test_constraint_of_another_table_is_not_evaluated(self, subject: Subject) -> None:
        other = Constraint("metrics.another", "metric_value >= 0", "no")
        with pytest.raises(StoreError) as refused:
            await subject.store.find_violating_rows(other, block(("a", -1)))
        assert refused.value.outcome.kind is OutcomeKind.UNCLASSIFIED

    async def test_unreachable_store_cannot_evaluate_a_constraint(self, subject: Subject) -> None:
        constraint = (await subject.store.insert(block(("b", -1)))).constraint
        assert constraint is not None
        subject.become_unreachable()
        with pytest.raises(StoreError) as failed:
            await subject.store.find_violating_rows(constraint, block(("a", -1)))
        assert failed.value.outcome.kind is OutcomeKind.UNAVAILABLE

    async def test_insert_after_a_refusal_is_written(self, subject: Subject) -> None:
        assert (await subject.store.insert(block(("a", -1)))).kind is OutcomeKind.REFUSED
        assert await subject.store.insert(block(("a", 1))) == WRITTEN
        assert subject.table() == [("a", 1.0)]

    @pytest.mark.parametrize("order", [(1, 2), (2, 1)])
    async def test_view_shows_the_younger_record_whichever_was_inserted_last(
        self, subject: Subject, order: tuple[int, int]
    ) -> None:
        for number in order:
            event = read_event(JANUARY_2026 + number, completed_at="2026-01-01T12:00:00Z")
            assert await subject.store.insert(block(("a", number), event=event)) == WRITTEN
        assert subject.view() == [("a", 2.0)]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    @pytest.mark.parametrize("first_offset", [0, 2**16 - 1, 2**20 - 1, 2**32 - 1, 2**63 - 2])
    @pytest.mark.parametrize("timestamp", [-1, JANUARY_2026])
    async def test_view_shows_the_later_of_two_records_of_one_millisecond_whichever_was_inserted_last(
        self, subject: Subject, timestamp: int, first_offset: int, order: tuple[int, int]
    ) -> None:
        for number in order:
            event = read_event(timestamp, offset=first_offset + number, completed_at="2026-01-31T12:00:00Z")
            assert await subject.store.insert(block(("a", number), event=event)) == WRITTEN
        assert subject.view() == [("a", 1.0)]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    async def test_view_shows_the_latest_of_two_rows_of_a_metric_in_one_block(
        self, subject: Subject, order: Sequence[int]
    ) -> None:
        events = [read_event(offset=number) for number in order]
        rows = [Row(event, "a", number) for event, number in zip(events, order, strict=True)]
        assert await subject.store.insert(Block.from_rows(202601, rows)) == WRITTEN
        assert subject.table() == [("a", 0.0), ("a", 1.0)]
        assert subject.view() == [("a", 1.0)]

    async def test_probe_succeeds_and_writes_nothing(self, subject: Subject) -> None:
        assert await subject.store.probe() == WRITTEN
        assert subject.table() == []

    async def test_missing_table_is_misconfigured(self, subject: Subject) -> None:
        subject.drop_table()
        outcome = await subject.store.insert(block(("a", 1)))
        assert (outcome.kind, outcome.code, outcome.name) == (OutcomeKind.MISCONFIGURED, 60, "UNKNOWN_TABLE")
        assert "table" in outcome.message.lower()
        assert (await subject.store.probe()).kind is OutcomeKind.MISCONFIGURED

    async def test_unreachable_store_is_unavailable(self, subject: Subject) -> None:
        subject.become_unreachable()
        assert (await subject.store.insert(block(("a", 1)))).kind is OutcomeKind.UNAVAILABLE
        assert (await subject.store.probe()).kind is OutcomeKind.UNAVAILABLE


class TestClickHouse:
    """Behaviour that the memory store does not have."""

    @pytest.mark.parametrize(
        ("month", "instant", "written"),
        [
            (190001, "1900-01-01T00:00:00Z", "1900-01-01 00:00:00.000"),
            (229912, "2299-12-31T23:59:59.999Z", "2299-12-31 23:59:59.999"),
        ],
    )
    async def test_first_and_last_instant_are_written(
        self, clickhouse: Client, store: ClickHouseStore, month: int, instant: str, written: str
    ) -> None:
        assert await store.insert(block(("a", 1), event=read_event(-1, completed_at=instant), month=month)) == WRITTEN
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
            ("labels['model'] = 'm' OR NOT mapContains(labels, 'status')", []),
            ("empty(labels) AND metric_type > 'b'", [0, 1]),
            ("execution_id = toString(generateUUIDv4()) OR NOT (source_partition = 3 AND version % 16 >= 9)", [3]),
            ("completed_at < toDateTime64('2026-01-01', 3) AND version > 5", [0, 1, 2, 3]),
            ("NOT has(splitByChar('.', source_topic), 'no') OR agent_name LIKE '%)%'", []),
            ("(metric_type, `metric_value`) NOT IN (('c', 3), ('d', 4))", [2, 3]),
        ],
    )
    async def test_violating_rows_are_those_that_are_refused_one_by_one(
        self, clickhouse: Client, store: ClickHouseStore, database: str, expression: str, violating: list[int]
    ) -> None:
        user, anonymous = read_event(user_id="u"), read_event()._replace(record=Record(None, partition=3, offset=9))
        rows = [Row(user, "a", 1), Row(user, "b", 2), Row(user, "c", 3), Row(anonymous, "d", 4)]
        constraint = Constraint(f"`{database}`.execution_metrics", expression, "no")
        assert list(await store.find_violating_rows(constraint, Block.from_rows(202601, rows))) == violating
        clickhouse.execute(f"ALTER TABLE execution_metrics ADD CONSTRAINT another CHECK {expression}")
        outcomes = [(await store.insert(Block.from_rows(202601, [row]))).kind for row in rows]
        assert outcomes == [
            OutcomeKind.REFUSED if position in violating else OutcomeKind.WRITTEN for position in range(len(rows))
        ]

    @pytest.mark.parametrize(
        "expression",
        ["ingested_at > 0", "row_number = 0", "no_such_column = 1", "1 +", "throwIf(metric_value = 1) = 0"],
    )
    async def test_constraint_that_cannot_be_evaluated_raises_and_the_connection_is_usable(
        self, store: ClickHouseStore, database: str, expression: str
    ) -> None:
        with pytest.raises(StoreError):
            await store.find_violating_rows(
                Constraint(f"{database}.execution_metrics", expression, "no"), block(("a", 1))
            )
        assert await store.insert(block(("a", 1))) == WRITTEN

    @pytest.mark.parametrize("table", ["{database}.execution_metrics_local", "`{database}`.`execution_metrics_local`"])
    async def test_constraint_of_the_local_table_is_evaluated_on_a_cluster_only(
        self, target: ClickHouseTarget, stores: OpenStore, table: str
    ) -> None:
        constraint = Constraint(table.format(database=target.database), "metric_value >= 0", "no")
        rows = block(("a", -1), ("b", 1), ("c", -2))
        clustered = stores(replace(target, cluster="metrics"))
        assert list(await clustered.find_violating_rows(constraint, rows)) == [0, 2]
        for other_table in ("elsewhere.execution_metrics", "elsewhere.execution_metrics_local"):
            with pytest.raises(StoreError):
                await clustered.find_violating_rows(constraint._replace(table=other_table), rows)
        own = constraint._replace(table=f"{target.database}.execution_metrics")
        assert list(await clustered.find_violating_rows(own, rows)) == [0, 2]
        with pytest.raises(StoreError) as refused:
            await stores(target).find_violating_rows(constraint, rows)
        assert refused.value.outcome[:2] == (OutcomeKind.UNCLASSIFIED, "OtherTable")

    async def test_row_is_not_known_when_the_target_of_a_view_has_the_constraint(
        self, clickhouse: Client, store: ClickHouseStore, database: str
    ) -> None:
        """Its column has the name of ours, and other values."""
        clickhouse.execute(
            "CREATE TABLE positive (metric_value Float64, CONSTRAINT c CHECK metric_value > 0) "
            "ENGINE = MergeTree ORDER BY ()"
        )
        clickhouse.execute(
            "CREATE MATERIALIZED VIEW only_b TO positive AS "
            "SELECT metric_value - 1 AS metric_value FROM execution_metrics WHERE metric_type = 'b'"
        )
        outcome = await store.insert(block(("a", 2), ("b", 1)))
        assert (outcome.kind, outcome.code, outcome.row) == (OutcomeKind.REFUSED, 469, None)
        assert outcome.constraint is not None
        assert outcome.constraint.table == f"{database}.positive"
        with pytest.raises(StoreError) as refused:
            await store.find_violating_rows(outcome.constraint, block(("b", 1)))
        assert refused.value.outcome.name == "OtherTable"

    async def test_values_and_names_are_kept_exactly(self, clickhouse: Client, store: ClickHouseStore) -> None:
        rows = [("tiny", 5e-324), ("large", 1.7976931348623157e308), ("2^53+1", 2**53 + 1), ("naïve\0 ✓", 0.1)]
        assert await store.insert(block(*rows, ("zero", -0.0))) == WRITTEN
        found = dict(clickhouse.execute("SELECT metric_type, metric_value FROM execution_metrics"))
        assert str(found.pop("zero")) == "-0.0"
        assert found == {metric: float(value) for metric, value in rows}

    @pytest.mark.parametrize(
        ("timestamp", "offset", "recorded_at"),
        [
            (-1, 0, 0),  # a record without a timestamp
            (JANUARY_2026 + 1, 2**31, JANUARY_2026 + 1),
            (MAX_TIME, 2**63 - 1, MAX_TIME),
            (2**62, 9, MAX_TIME),
        ],
    )
    async def test_row_names_its_record(
        self, clickhouse: Client, store: ClickHouseStore, timestamp: int, offset: int, recorded_at: int
    ) -> None:
        event = read_event(timestamp, offset=offset, completed_at="2026-01-31T12:00:00Z")
        assert await store.insert(block(("a", 1), event=event)) == WRITTEN
        assert clickhouse.execute(
            "SELECT user_id, source_topic, source_partition, source_offset, toUnixTimestamp64Milli(recorded_at) "
            "FROM execution_metrics"
        ) == [(None, "execution-completed", 0, offset, recorded_at)]

    async def test_profile_that_sends_no_profile_events_does_not_delay_inserts(
        self, target: ClickHouseTarget, stores: OpenStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With `send_profile_events=0` a server announces such packets, and sends none; here none has them at all."""
        driver = "clickhouse_driver.defines.DBMS_MIN_PROTOCOL_VERSION_WITH_PROFILE_EVENTS_IN_INSERT"
        monkeypatch.setattr(driver, 0)
        assert await stores(replace(target, timeout_seconds=1.0)).insert(block(("a", 1))) == WRITTEN

    @pytest.mark.parametrize(
        "delete",
        [
            "ALTER TABLE execution_metrics DELETE WHERE 1 SETTINGS mutations_sync = 2",
            "DELETE FROM execution_metrics WHERE 1",
            "ALTER TABLE execution_metrics DROP PARTITION 202601",
        ],
    )
    async def test_deleted_rows_are_written_again_by_another_process(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore, delete: str
    ) -> None:
        assert await stores(target).insert(block(("a", 1))) == WRITTEN
        clickhouse.execute(delete)
        assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(0,)]
        assert await stores(target).insert(block(("a", 1))) == WRITTEN
        assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(1,)]

    @pytest.mark.parametrize(
        ("delete", "rows"),
        [
            ("ALTER TABLE execution_metrics DELETE WHERE 1 SETTINGS mutations_sync = 2", 0),
            ("DELETE FROM execution_metrics WHERE 1", 0),
            ("ALTER TABLE execution_metrics DROP PARTITION 202601", 1),
            ("TRUNCATE TABLE execution_metrics", 1),
        ],
    )
    async def test_clickhouse_remembers_tokens_after_rows_are_deleted_but_not_after_partitions_are(
        self, clickhouse: Client, store: ClickHouseStore, delete: str, rows: int
    ) -> None:
        """Why the tokens of another process must differ, and what deploy/RUNBOOK.md says about deletions."""
        assert await store.insert(block(("a", 1))) == WRITTEN
        clickhouse.execute(delete)
        assert await store.insert(block(("a", 1))) == WRITTEN
        assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(rows,)]

    async def test_blocks_are_inserted_concurrently(
        self, clickhouse: Client, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        store = stores(target, 4)
        outcomes = await asyncio.gather(*(store.insert(block((f"m{number}", number))) for number in range(40)))
        assert outcomes == [WRITTEN] * 40
        assert clickhouse.execute("SELECT count(), sum(metric_value) FROM execution_metrics") == [(40, 780.0)]

    async def test_unreachable_server_is_counted_as_a_failed_insert(self, target: ClickHouseTarget) -> None:
        telemetry = Telemetry()
        store = ClickHouseStore(replace(target, port=free_port()), 1, telemetry)
        assert (await store.insert(block(("a", 1)))).kind is OutcomeKind.UNAVAILABLE
        store.close()
        labels = {"outcome": "unavailable", "code": "210"}
        assert telemetry.registry.get_sample_value("metrics_worker_inserts_total", labels) == 1
        assert telemetry.registry.get_sample_value("metrics_worker_insert_seconds_count") == 1

    async def test_silent_server_is_unavailable_after_the_time_out(
        self, engine: EngineProcess, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        async with FaultProxy(engine.port) as proxy:
            proxy.silent = True
            store = stores(replace(target, port=proxy.port, timeout_seconds=0.3))
            outcome = await store.insert(block(("a", 1)))
            assert outcome.kind is OutcomeKind.UNAVAILABLE
            assert outcome.message == "no answer in 0.3 s; see CLICKHOUSE_HOST and CLICKHOUSE_PORT"

    async def test_close_ends_an_insert_that_waits_for_the_server(
        self, engine: EngineProcess, target: ClickHouseTarget, stores: OpenStore
    ) -> None:
        async with FaultProxy(engine.port) as proxy:
            store = stores(replace(target, port=proxy.port, timeout_seconds=60.0))
            assert await store.probe() == WRITTEN
            proxy.silent = True
            waiting = asyncio.create_task(store.insert(block(("a", 1))))
            await asyncio.wait_for(proxy.held.wait(), 5)
            store.close()
            assert (await asyncio.wait_for(waiting, 5)).kind is OutcomeKind.UNAVAILABLE

    async def test_answer_of_another_protocol_is_unavailable(self, target: ClickHouseTarget, stores: OpenStore) -> None:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\x00\x04\xff\xfe\xff\xfe" + b"\xff" * 64)  # a Hello whose name is not UTF-8
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            store = stores(replace(target, port=server.sockets[0].getsockname()[1]))
            assert (await store.insert(block(("a", 1)))).kind is OutcomeKind.UNAVAILABLE

    @pytest.mark.usefixtures("no_collector")
    @pytest.mark.parametrize(
        ("alteration", "difference"),
        [
            (
                "completed_at DateTime64(6, 'UTC')",
                "column completed_at is DateTime64(6, 'UTC')",
            ),  # ClickHouse accepts it
            ("metric_value Int64", "column metric_value is Int64"),  # ClickHouse refuses each row
            ("metric_value String", "column metric_value is String"),  # the driver raises
            ("version UInt64", "column version is UInt64"),
        ],
    )
    async def test_column_that_is_altered_while_the_worker_runs_is_misconfigured(
        self, clickhouse: Client, store: ClickHouseStore, alteration: str, difference: str
    ) -> None:
        assert await store.insert(block(("a", 1))) == WRITTEN
        # Another table in its place, because ClickHouse cannot alter the version column of the engine.
        clickhouse.execute("DROP TABLE execution_metrics SYNC")
        name, _, kind = alteration.partition(" ")
        clickhouse.execute(TABLE.replace(f"{name} {COLUMN_TYPES[name]}", f"{name} {kind}"))
        outcome = await store.insert(block(("a", 2)))
        assert (outcome.kind, outcome.name) == (OutcomeKind.MISCONFIGURED, "ColumnTypeDiffers")
        assert difference in outcome.message

    async def test_refused_rows_are_freed_without_a_collection(self, store: ClickHouseStore) -> None:
        source = Traceable(**Record(None)._asdict())
        refused = block(("a", -1), event=many_events(1)[0]._replace(record=source))
        kept = weakref.ref(source)
        del source
        assert (await store.insert(refused)).kind is OutcomeKind.REFUSED
        del refused
        # A thread drops its work a moment after its result is set.
        await asyncio.to_thread(wait_until, lambda: kept() is None, "the row is freed")
