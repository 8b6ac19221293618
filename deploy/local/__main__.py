"""`python -m deploy.local`: run the local stack."""

from __future__ import annotations

import shlex
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from deploy.local.apache_kafka.jars import KafkaMissingError
from deploy.local.console.command import console
from deploy.local.demo.command import demo
from deploy.local.explore.command import explore
from deploy.local.process import ProcessFailedError
from deploy.local.signals import exit_on_signals, wait_for_signal
from deploy.local.stack import BROKERS, MigrationFailedError, Stack

UNREACHABLE = 3


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Kafka and ClickHouse on this machine, without containers."""


@main.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Keep tables and logs in this folder.")
@click.option(
    "--partitions", type=click.IntRange(min=1), default=4, show_default=True, help="Partitions of the events' topic."
)
@click.option(
    "--broker", type=click.Choice(sorted(BROKERS)), default="tansu", show_default=True, help="Kind of broker."
)
@click.option("--migrate/--no-migrate", default=True, help="Create the tables, or leave the database empty.")
def up(data: Path | None, partitions: int, broker: str, migrate: bool) -> None:
    """Start a broker and ClickHouse, print `export` lines for a worker's environment, run until SIGINT or SIGTERM."""
    exit_on_signals()
    with ExitStack() as opened:
        directory = data or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="execution-metrics-")))
        try:
            folder = directory.resolve()
            server = BROKERS[broker](folder)
            stack = opened.enter_context(Stack(folder, broker=server, partitions=partitions, migrate=migrate))
        except (KafkaMissingError, ProcessFailedError, MigrationFailedError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(UNREACHABLE)
        click.echo("".join(f"export {name}={shlex.quote(value)}\n" for name, value in stack.environment().items()))
        sys.stdout.flush()
        wait_for_signal()


main.add_command(console)
main.add_command(demo)
main.add_command(explore)

if __name__ == "__main__":
    main()
