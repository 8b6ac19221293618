"""Migrations on the real engine: whatever state they find, and however many run at once, they leave the same schema."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from clickhouse_driver import Client

from deploy.local.engine_process import EngineProcess
from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.migrations import Migration, Migrations, MigrationState, load_migrations
from worker.clickhouse.topology import Topology
from worker.core.errors import DependencyError, MigrationChanged

KNOWN = load_migrations()
STATEMENTS = [
    (number, statement)
    for number, migration in enumerate(KNOWN)
    for statement in range(len(migration.statements(Topology("", "execution_metrics"))))
]


@pytest.fixture
def empty(engine: EngineProcess, database: str) -> ClickHouseTarget:
    """A database without a table."""
    return ClickHouseTarget(engine.host, engine.port, database, timeout_seconds=20.0)


def apply(target: ClickHouseTarget, known: Sequence[Migration] = KNOWN, days: int | None = None) -> list[str]:
    """Apply `known`, by default all; the lines of progress."""
    lines: list[str] = []
    assert Migrations(target, days, known).apply(lines.append) == len(lines)
    return lines


def schema(target: ClickHouseTarget) -> dict[str, str]:
    """The statement that creates each table and view of the database, by name; running refreshes are left out."""
    rows = run_statement(
        target,
        "SELECT name, replaceAll(create_table_query, currentDatabase() || '.', '') FROM system.tables "
        "WHERE database = currentDatabase() AND NOT startsWith(name, '.tmp')",
    )
    return dict(rows)


@pytest.fixture(scope="module")
def expected_schema(engine: EngineProcess) -> dict[str, str]:
    """The schema that an empty database gets."""
    with engine.client() as client:
        client.execute("CREATE DATABASE expected_schema")
        target = ClickHouseTarget(engine.host, engine.port, "expected_schema")
        apply(target)
        found = schema(target)
        client.execute("DROP DATABASE expected_schema SYNC")
    return found


class TestSchema:
    def test_empty_database_gets_every_migration_in_order(
        self, empty: ClickHouseTarget, expected_schema: dict[str, str]
    ) -> None:
        assert apply(empty) == [f"applied {migration.name}" for migration in KNOWN]
        assert {"execution_metrics", "execution_metrics_deduplicated", "execution_metrics_per_day"} < schema(
            empty
        ).keys()
        assert apply(empty) == []
        assert schema(empty) == expected_schema

    @pytest.mark.parametrize(("number", "statement"), STATEMENTS)
    def test_run_that_was_cut_off_after_any_statement_is_completed(
        self, empty: ClickHouseTarget, expected_schema: dict[str, str], number: int, statement: int
    ) -> None:
        """The migrations before `number` were applied, and the statements of that one up to `statement` have run."""
        apply(empty, KNOWN[:number])
        for done in KNOWN[number].statements(Topology(empty.database, empty.table))[: statement + 1]:
            run_statement(empty, done)
        assert apply(empty) == [f"applied {migration.name}" for migration in KNOWN[number:]]
        assert schema(empty) == expected_schema

    def test_four_runs_at_once_leave_the_same_schema_as_one(
        self, empty: ClickHouseTarget, expected_schema: dict[str, str]
    ) -> None:
        together = threading.Barrier(4)

        def run(_: int) -> None:
            together.wait()
            apply(empty, days=90)

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(run, range(4)))
        apply(empty, days=0)
        assert schema(empty) == expected_schema
        assert set(Migrations(empty).status().values()) == {MigrationState.APPLIED}

    def test_migration_that_another_run_has_applied_meanwhile_is_skipped(self, empty: ClickHouseTarget) -> None:
        """A slow run must not bring back the view that a newer migration has replaced."""
        view = "CREATE OR REPLACE VIEW {table}_x AS SELECT "
        known = [Migration("0001.sql", f"{view}1;\n"), Migration("0002.sql", f"{view}2;\n")]
        lines: list[str] = []

        def run_newer(line: str) -> None:
            if not lines:
                apply(empty, [*known, Migration("0003.sql", f"{view}3;\n")])
            lines.append(line)

        assert Migrations(empty, known=known).apply(run_newer) == 1
        assert run_statement(empty, "SELECT * FROM execution_metrics_x") == [(3,)]

    def test_sql_of_a_dry_run_makes_the_same_schema_by_hand(
        self, empty: ClickHouseTarget, expected_schema: dict[str, str]
    ) -> None:
        planned = Migrations(empty).plan()
        assert schema(empty) == {}, "a dry run must change nothing"
        for statement in planned:
            run_statement(empty, statement)
        assert schema(empty) == expected_schema
        assert set(Migrations(empty).status().values()) == {MigrationState.APPLIED}
        assert Migrations(empty).plan() == []

    def test_every_name_follows_the_name_of_the_table(
        self, empty: ClickHouseTarget, expected_schema: dict[str, str]
    ) -> None:
        apply(replace(empty, table="other"))
        assert schema(empty) == {
            name.replace("execution_metrics", "other"): statement.replace("execution_metrics", "other")
            for name, statement in expected_schema.items()
        }


class TestHistory:
    def test_status_is_applied_pending_changed_or_unknown(self, empty: ClickHouseTarget) -> None:
        later = Migration("9999_later.sql", "CREATE VIEW IF NOT EXISTS {table}_later AS SELECT 1;")
        apply(empty, [KNOWN[0], KNOWN[1], later])
        known = [KNOWN[0], replace(KNOWN[1], text=KNOWN[1].text + "\n"), *KNOWN[2:]]
        assert Migrations(empty, known=known).status() == {
            KNOWN[0].name: MigrationState.APPLIED,
            KNOWN[1].name: MigrationState.CHANGED,
            **{migration.name: MigrationState.PENDING for migration in KNOWN[2:]},
            later.name: MigrationState.UNKNOWN,
        }

    def test_older_version_changes_nothing_of_the_tables_of_a_newer_one(self, empty: ClickHouseTarget) -> None:
        later = Migration("9999_later.sql", "ALTER TABLE {table} ADD COLUMN IF NOT EXISTS later String DEFAULT 'x';")
        apply(empty, [*KNOWN, later])
        newer = schema(empty)
        assert apply(empty) == []
        assert schema(empty) == newer
        assert "later" in newer["execution_metrics"]

    def test_changed_file_is_refused_before_anything_is_done(self, empty: ClickHouseTarget) -> None:
        apply(empty, KNOWN[:1])
        before = schema(empty)
        changed = [replace(KNOWN[0], text=KNOWN[0].text + "\n"), *KNOWN[1:]]
        with pytest.raises(
            MigrationChanged, match=rf"{KNOWN[0].name} was changed after it was applied.*\n.*next number"
        ):
            apply(empty, changed)
        assert schema(empty) == before

    def test_failed_statement_is_named_and_can_be_repaired(self, empty: ClickHouseTarget) -> None:
        broken = Migration(
            "0001_x.sql", "CREATE VIEW {table}_one AS SELECT 1;\n\nCREATE VIEW {table}_two AS SELECT x;\n"
        )
        with pytest.raises(DependencyError, match=r"in 0001_x.sql:\nCREATE VIEW execution_metrics_two"):
            apply(empty, [broken])
        assert set(Migrations(empty, known=[broken]).status().values()) == {MigrationState.PENDING}
        assert apply(empty, KNOWN) == [f"applied {migration.name}" for migration in KNOWN]

    def test_statement_without_a_form_for_clusters_is_refused(self, empty: ClickHouseTarget) -> None:
        truncate = Migration("0001_x.sql", "TRUNCATE TABLE {table};\n")
        with pytest.raises(ValueError, match="a migration may CREATE, ALTER or DROP"):
            apply(empty, [truncate])


class TestRetention:
    def test_ttl_is_off_by_default_and_changes_only_with_the_setting(self, empty: ClickHouseTarget) -> None:
        apply(empty)
        for days, lines, ttl in (
            (0, [], ""),
            (90, ["applied retention: rows are kept 90 days"], " TTL day + toIntervalDay(90) "),
            (90, [], " TTL day + toIntervalDay(90) "),
            (None, [], " TTL day + toIntervalDay(90) "),
            (30, ["applied retention: rows are kept 30 days"], " TTL day + toIntervalDay(30) "),
            (0, ["applied retention: rows are kept for ever"], ""),
        ):
            assert apply(empty, days=days) == lines
            created = schema(empty)["execution_metrics"]
            assert ttl in created
            assert (" TTL " in created) is bool(ttl)

    def test_ttl_removes_old_rows_and_neither_new_ones_nor_those_far_in_the_future(
        self, clickhouse: Client, empty: ClickHouseTarget
    ) -> None:
        assert apply(empty, days=90)[-1] == "applied retention: rows are kept 90 days"
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
