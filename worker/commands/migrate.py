"""`metrics-worker migrate`: bring the tables in ClickHouse up to date, or see what that would mean."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import click

from worker.clickhouse.migrations import Migrations, MigrationState
from worker.commands.command_line import load_settings, print_stderr
from worker.core.errors import MigrationChanged, MigrationLocked
from worker.settings.loading import Dependency
from worker.settings.targets import clickhouse_target


@click.group(invoke_without_command=True)
@click.option("--dry-run", is_flag=True, help="Print the SQL that would run, and run none.")
@click.pass_context
def migrate(context: click.Context, dry_run: bool) -> None:
    """Create or update the tables and views in ClickHouse.

    Each file of SQL runs once, in order, by one process at a time; a process that died while it migrated leaves a lock
    that is void ten minutes after its last statement, and the message says how not to wait. With CLICKHOUSE_CLUSTER the
    tables are made on every server of the cluster; with CLICKHOUSE_RETENTION_DAYS rows are kept so long.

    Exit codes: 0 done, 1 somebody else is migrating, 2 wrong configuration, or a file was changed after it was applied,
    3 ClickHouse refuses or cannot be reached.
    """
    if context.invoked_subcommand:
        return
    migrations = _of_environment()
    with _told_apart():
        if dry_run:
            for statement in migrations.plan():
                click.echo(f"{statement};\n")
            return
        applied = migrations.apply(print_stderr)
    print_stderr(f"{applied} applied" if applied else "nothing to apply")


@migrate.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def status(as_json: bool) -> None:
    """Each migration, and whether it was applied; exit 1 when some are to be, 2 when one was changed."""
    found = _of_environment().status()
    for name, state in found.items():
        click.echo(json.dumps({"migration": name, "state": state.name.lower()}) if as_json else f"{name}  {state}")
    if MigrationState.CHANGED in found.values():
        raise SystemExit(2)
    if MigrationState.PENDING in found.values():
        raise SystemExit(1)


def _of_environment() -> Migrations:
    settings = load_settings(Dependency.CLICKHOUSE)
    return Migrations(clickhouse_target(settings), settings.clickhouse_cluster, settings.clickhouse_retention_days)


@contextmanager
def _told_apart() -> Iterator[None]:
    try:
        yield
    except MigrationChanged as error:
        print_stderr(str(error))
        raise SystemExit(2) from error
    except MigrationLocked as error:
        print_stderr(str(error))
        raise SystemExit(1) from error
