"""Migrations on the real engine: whatever state they find, they leave the same schema, and one does it at a time."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.lock import Held, MigrationLock
from worker.clickhouse.migration import Migration, known_migrations
from worker.clickhouse.migrations import Migrations, MigrationState
from worker.clickhouse.topology import Topology
from worker.core.errors import DependencyError, MigrationChanged, MigrationLocked, StoreError
from worker.core.outcome import Outcome, OutcomeKind

KNOWN = known_migrations()
STATEMENTS = [
    (number, statement)
    for number, migration in enumerate(KNOWN)
    for statement in range(len(migration.statements(Topology("", "execution_metrics"))))
]


@pytest.fixture
def empty(engine: EngineProcess, database: str) -> ClickHouseTarget:
    """A database without a table."""
    return ClickHouseTarget(engine.host, engine.port, database, timeout_seconds=20.0)


def topology(target: ClickHouseTarget) -> Topology:
    return Topology(target.database, target.table)


def apply(target: ClickHouseTarget, known: Sequence[Migration] | None = None, days: int | None = None) -> list[str]:
    told: list[str] = []
    Migrations(target, None, days, known).apply(told.append)
    return told


def schema(target: ClickHouseTarget) -> dict[str, str]:
    """Everything in the database as ClickHouse would make it again."""
    rows = run_statement(
        target,
        "SELECT name, replaceAll(create_table_query, currentDatabase() || '.', '') FROM system.tables "
        "WHERE database = currentDatabase()",
    )
    return dict(rows)


@pytest.fixture(scope="module")
def right(engine: EngineProcess) -> dict[str, str]:
    """The schema that an empty database gets."""
    with engine.client() as client:
        client.execute("CREATE DATABASE right_schema")
        target = ClickHouseTarget(engine.host, engine.port, "right_schema")
        apply(target)
        found = schema(target)
        client.execute("DROP DATABASE right_schema SYNC")
    return found


class TestOneSchema:
    def test_an_empty_database_gets_every_migration_in_order(
        self, empty: ClickHouseTarget, right: dict[str, str]
    ) -> None:
        assert apply(empty) == [f"applied {migration.name}" for migration in KNOWN]
        assert schema(empty) == right
        assert {"execution_metrics", "execution_metrics_deduplicated", "execution_metrics_per_day"} < right.keys()
        assert not [name for name in right if "lock" in name]

    @pytest.mark.parametrize(("number", "statement"), STATEMENTS)
    def test_every_earlier_state_comes_to_the_same(
        self, empty: ClickHouseTarget, right: dict[str, str], number: int, statement: int
    ) -> None:
        """Those before `number` were applied, and of that one what goes up to `statement`, when all was cut off."""
        apply(empty, KNOWN[:number])
        for done in KNOWN[number].statements(topology(empty))[: statement + 1]:
            run_statement(empty, done)
        assert apply(empty) == [f"applied {migration.name}" for migration in KNOWN[number:]]
        assert schema(empty) == right
        assert apply(empty) == []

    def test_the_sql_of_a_dry_run_comes_to_the_same_by_hand(
        self, empty: ClickHouseTarget, right: dict[str, str]
    ) -> None:
        planned = Migrations(empty).plan()
        assert schema(empty) == {}, "a dry run must change nothing"
        for statement in planned:
            run_statement(empty, statement)
        assert schema(empty) == right
        assert set(Migrations(empty).status().values()) == {MigrationState.APPLIED}
        assert Migrations(empty).plan() == []

    def test_another_name_of_the_table_is_carried_through(self, empty: ClickHouseTarget, right: dict[str, str]) -> None:
        apply(replace(empty, table="other"))
        assert schema(empty) == {
            name.replace("execution_metrics", "other"): made.replace("execution_metrics", "other")
            for name, made in right.items()
        }


class TestLedger:
    def test_status_tells_what_is_applied_pending_changed_and_unknown(self, empty: ClickHouseTarget) -> None:
        later = Migration("9999_later.sql", "CREATE VIEW IF NOT EXISTS {table}_later AS SELECT 1;")
        apply(empty, [KNOWN[0], KNOWN[1], later])
        known = [KNOWN[0], replace(KNOWN[1], text=KNOWN[1].text + "\n"), *KNOWN[2:]]
        assert Migrations(empty, known=known).status() == {
            KNOWN[0].name: MigrationState.APPLIED,
            KNOWN[1].name: MigrationState.CHANGED,
            **{migration.name: MigrationState.PENDING for migration in KNOWN[2:]},
            later.name: MigrationState.UNKNOWN,
        }

    def test_a_changed_file_is_refused_before_anything_is_done(self, empty: ClickHouseTarget) -> None:
        apply(empty, KNOWN[:1])
        before = schema(empty)
        changed = [replace(KNOWN[0], text=KNOWN[0].text + "\n"), *KNOWN[1:]]
        with pytest.raises(
            MigrationChanged, match=rf"{KNOWN[0].name} was changed after it was applied.*\n.*next number"
        ):
            apply(empty, changed)
        assert schema(empty) == before

    def test_a_statement_that_fails_is_named_and_can_be_repaired(self, empty: ClickHouseTarget) -> None:
        broken = Migration(
            "0001_x.sql", "CREATE VIEW {table}_one AS SELECT 1;\n\nCREATE VIEW {table}_two AS SELECT x;\n"
        )
        with pytest.raises(DependencyError, match=r"0001_x.sql, statement 2 of 2:\nCREATE VIEW execution_metrics_two"):
            apply(empty, [broken])
        assert set(Migrations(empty, known=[broken]).status().values()) == {MigrationState.PENDING}
        assert apply(empty, KNOWN) == [f"applied {migration.name}" for migration in KNOWN], "the lock was given up"

    def test_a_statement_of_a_kind_that_no_cluster_was_thought_of_is_refused(self, empty: ClickHouseTarget) -> None:
        odd = Migration("0001_x.sql", "TRUNCATE TABLE {table};\n")
        with pytest.raises(ValueError, match="a migration may CREATE, ALTER or DROP"):
            apply(empty, [odd])


class TestLock:
    def test_of_many_who_migrate_at_once_each_migration_runs_once(
        self, empty: ClickHouseTarget, right: dict[str, str]
    ) -> None:
        together = threading.Barrier(4)

        def contend(_: int) -> int:
            together.wait()
            try:
                return len(apply(empty))
            except MigrationLocked:
                return 0

        with ThreadPoolExecutor(4) as threads:
            applied = list(threads.map(contend, range(4)))
        assert sum(applied) in (0, len(KNOWN))  # all may have stepped back from one another
        apply(empty)
        assert schema(empty) == right
        assert run_statement(empty, "SELECT count(), uniqExact(name) FROM execution_metrics_migrations") == [
            (len(KNOWN), len(KNOWN))
        ]

    def test_of_many_who_want_it_at_once_no_two_get_it(self, empty: ClickHouseTarget) -> None:
        together = threading.Barrier(6)

        def contend(number: int) -> bool:
            lock = MigrationLock(empty, topology(empty), owner=f"contender {number}")
            together.wait()
            try:
                lock.acquire()
            except MigrationLocked:
                return False
            return True

        for _ in range(5):
            with ThreadPoolExecutor(6) as threads:
                got = list(threads.map(contend, range(6)))
            held = MigrationLock(empty, topology(empty)).found()
            assert sum(got) == len(held) <= 1
            for lock in held:
                run_statement(empty, f"DROP TABLE execution_metrics_migrations_lock_{lock.number} SYNC")

    def test_who_finds_it_held_is_told_by_whom_and_how_to_get_out(self, empty: ClickHouseTarget) -> None:
        lock = MigrationLock(empty, topology(empty), owner="process 7 on a pod's host")
        lock.acquire()
        with pytest.raises(
            MigrationLocked, match=r"process 7 on a pod's host is migrating(.|\n)*\nDROP TABLE (\S+) SYNC"
        ) as told:
            apply(empty)
        run_statement(empty, str(told.value).splitlines()[-1])
        assert len(apply(empty)) == len(KNOWN)

    def test_one_that_a_crash_left_is_void_in_time_and_taken_over(self, empty: ClickHouseTarget) -> None:
        crashed = MigrationLock(empty, topology(empty), owner="crashed", lease_seconds=0)
        crashed.acquire()
        assert [lock.live for lock in crashed.found()] == [False]
        assert len(apply(empty)) == len(KNOWN)
        assert crashed.found() == []

    def test_a_holder_who_was_taken_for_dead_stops_before_his_next_statement(self, empty: ClickHouseTarget) -> None:
        slow = MigrationLock(empty, topology(empty), owner="slow", lease_seconds=0)
        slow.acquire()
        with MigrationLock(empty, topology(empty)).held(), pytest.raises(MigrationLocked, match="has taken over"):
            slow.renew()

    def test_a_holder_who_was_taken_for_dead_touches_no_later_lock_of_his_number(self, empty: ClickHouseTarget) -> None:
        slow = MigrationLock(empty, topology(empty), owner="slow", lease_seconds=0)
        slow.acquire()
        with MigrationLock(empty, topology(empty)).held():
            pass
        third = MigrationLock(empty, topology(empty), owner="third")
        third.acquire()
        assert [lock.number for lock in third.found()] == [1], "numbers begin again"
        with pytest.raises(MigrationLocked, match="has taken over"):
            slow.renew()
        slow.release()
        assert [lock.owner for lock in third.found()] == ["third"]

    def test_two_whose_numbers_differ_do_not_both_hold_it(self, empty: ClickHouseTarget) -> None:
        """One was slow between looking and creating, while others came, finished, and began again at 1."""
        now = MigrationLock(empty, topology(empty), owner="now")
        now.acquire()
        run_statement(empty, "RENAME TABLE execution_metrics_migrations_lock_1 TO execution_metrics_migrations_lock_7")
        slow = MigrationLock(empty, topology(empty), owner="slow")
        looks: list[list[Held]] = [[]]  # the first; what he sees later is what there is
        slow.found = lambda: looks.pop() if looks else now.found()  # type: ignore[method-assign]
        with pytest.raises(MigrationLocked, match="now is migrating"):
            slow.acquire()
        assert [lock.owner for lock in now.found()] == ["now"]

    def test_lock_is_kept_when_the_outcome_of_the_last_statement_is_not_known(self, empty: ClickHouseTarget) -> None:
        lock = MigrationLock(empty, topology(empty))
        broken = Outcome(OutcomeKind.UNAVAILABLE, "NetworkError", "the connection broke")
        with pytest.raises(StoreError, match="the connection broke"), lock.held():
            raise StoreError(broken)
        assert [found.live for found in lock.found()] == [True]

    @pytest.mark.parametrize("kind", [OutcomeKind.MISCONFIGURED, OutcomeKind.REFUSED, OutcomeKind.UNCLASSIFIED])
    def test_lock_is_released_when_the_server_has_answered_with_an_error(
        self, empty: ClickHouseTarget, kind: OutcomeKind
    ) -> None:
        lock = MigrationLock(empty, topology(empty))
        with pytest.raises(StoreError), lock.held():
            raise StoreError(Outcome(kind, "UNKNOWN_TABLE", "the server has answered"))
        assert lock.found() == []

    def test_a_comment_that_is_not_ours_is_a_live_lock(self, empty: ClickHouseTarget) -> None:
        run_statement(
            empty,
            "CREATE TABLE execution_metrics_migrations_lock_1 (x UInt8) ENGINE = MergeTree ORDER BY x COMMENT 'mine'",
        )
        with pytest.raises(MigrationLocked, match="somebody is migrating"):
            apply(empty)


class TestRetention:
    @staticmethod
    def ttl(clickhouse: Client) -> str:
        ((made,),) = clickhouse.execute("SELECT engine_full FROM system.tables WHERE name = 'execution_metrics' "
                                        "AND database = currentDatabase()")  # fmt: skip
        return str(made.partition(" TTL ")[2].partition(" SETTINGS ")[0])

    def test_is_off_unless_asked_for_and_stays_until_asked_to_go(
        self, clickhouse: Client, empty: ClickHouseTarget
    ) -> None:
        apply(empty)
        assert self.ttl(clickhouse) == ""
        assert apply(empty, days=0) == []
        assert apply(empty, days=90) == ["applied retention: rows are kept 90 days"]
        assert self.ttl(clickhouse) == "completed_at + toIntervalDay(90)"
        assert apply(empty, days=90) == apply(empty) == []
        assert apply(empty, days=30) == ["applied retention: rows are kept 30 days"]
        assert self.ttl(clickhouse) == "completed_at + toIntervalDay(30)"
        assert apply(empty, days=0) == ["applied retention: rows are kept for ever"]
        assert self.ttl(clickhouse) == ""

    def test_comes_with_the_first_migration_too(self, clickhouse: Client, empty: ClickHouseTarget) -> None:
        assert apply(empty, days=90)[-1] == "applied retention: rows are kept 90 days"
        assert self.ttl(clickhouse) == "completed_at + toIntervalDay(90)"

    def test_takes_old_rows_and_neither_new_ones_nor_those_far_in_the_future(
        self, clickhouse: Client, empty: ClickHouseTarget
    ) -> None:
        apply(empty, days=90)
        for agent, instant in (
            ("oldest", "toDateTime64('1900-01-01 00:00:00', 3, 'UTC')"),
            ("old", "now64(3) - INTERVAL 91 DAY"),
            ("new", "now64(3) - INTERVAL 89 DAY"),
            ("beyond 2106", "toDateTime64('2299-12-31 00:00:00', 3, 'UTC')"),
        ):
            clickhouse.execute(f"INSERT INTO execution_metrics (agent_name, completed_at) SELECT '{agent}', {instant}")
        clickhouse.execute("OPTIMIZE TABLE execution_metrics FINAL")
        assert clickhouse.execute("SELECT agent_name FROM execution_metrics_deduplicated ORDER BY 1") == [
            ("beyond 2106",),
            ("new",),
        ]
