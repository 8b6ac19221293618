"""`metrics-worker migrate`: create or update the tables in ClickHouse, or show what that would change."""

import click

from worker.clickhouse.connection import ClickHouseTarget, choose_server
from worker.clickhouse.migrations import Migrations, MigrationState
from worker.commands.command_line import load_settings, print_json, print_stderr
from worker.commands.help_page import CommandGroup, format_examples
from worker.core.errors import DependencyError, MigrationChanged, StoreError
from worker.settings.clickhouse_target import clickhouse_target
from worker.settings.loading import RequiredVariable

_EXAMPLES = format_examples(
    "metrics-worker migrate --dry-run",
    "CLICKHOUSE_RETENTION_DAYS=365 metrics-worker migrate",
)
_STATUS_EXAMPLES = format_examples(
    "metrics-worker migrate status || metrics-worker migrate",
)


@click.group(cls=CommandGroup, invoke_without_command=True, epilog=_EXAMPLES)
@click.option("--dry-run", is_flag=True, help="Print the SQL that would run, without running it.")
@click.pass_context
def migrate(context: click.Context, dry_run: bool) -> None:
    """Create or update the tables and views in ClickHouse.

    Each SQL file runs once, in order; several runs at once do no harm. With CLICKHOUSE_CLUSTER the tables are created
    on every server of the cluster; of several in CLICKHOUSE_HOST the first that can be used runs every statement. With
    CLICKHOUSE_RETENTION_DAYS rows are deleted after so many days.

    Exit codes: 0 done, 2 wrong configuration, or a file was changed after it was applied, 3 ClickHouse refuses or
    cannot be reached.
    """
    if context.invoked_subcommand:
        return
    migrations = _load_migrations()
    try:
        if dry_run:
            for statement in migrations.plan():
                click.echo(f"{statement};\n")
        else:
            applied = migrations.apply(print_stderr)
            print_stderr(f"{applied} applied" if applied else "nothing to apply")
    except MigrationChanged as error:
        print_stderr(str(error))
        raise SystemExit(2) from error


@migrate.command(epilog=_STATUS_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def status(as_json: bool) -> None:
    """List the migrations and their states; exit 1 when one is pending, 2 when one was changed."""
    states = _load_migrations().status()
    for name, state in states.items():
        if as_json:
            print_json({"migration": name, "state": state.name.lower()})
        else:
            click.echo(f"{name}  {state}")
    if MigrationState.CHANGED in states.values():
        raise SystemExit(2)
    if MigrationState.PENDING in states.values():
        raise SystemExit(1)


def _load_migrations() -> Migrations:
    settings = load_settings(RequiredVariable.CLICKHOUSE)
    target = clickhouse_target(settings)
    if len(target.servers) > 1:
        target = _choose_server(target)
    return Migrations(target, settings.clickhouse_retention_days)


def _choose_server(target: ClickHouseTarget) -> ClickHouseTarget:
    """One server for all statements: another one may have neither the tables nor the history of the first."""
    try:
        chosen = choose_server(target)
    except StoreError as error:
        raise DependencyError(f"ClickHouse {target.address}: {error.outcome}") from error
    print_stderr(f"every statement runs on {chosen.address}; `metrics-worker check` compares it with the others")
    return chosen
