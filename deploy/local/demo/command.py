"""`python -m deploy.local demo`: real executions through the stack, and a check that nothing is lost."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import click
from aiokafka.errors import KafkaError
from rich.console import Console

from deploy.local.apache_kafka.jars import KafkaMissingError
from deploy.local.demo import report
from deploy.local.demo.display import Display
from deploy.local.demo.interrupts import InterruptHandler, ignore_further_interrupts
from deploy.local.demo.measurement import MeasuringFailedError
from deploy.local.demo.session import generate_input, read_input, run
from deploy.local.process import ProcessFailedError
from deploy.local.stack import BROKERS, MigrationFailedError

DEFAULT_COUNT = 20_000
UNREACHABLE = 3


@click.command()
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help=f"Number of records to make from the measured executions.  [default: {DEFAULT_COUNT}]",
)
@click.option(
    "--events",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Send the lines of this file instead, byte for byte.",
)
@click.option(
    "--broker", type=click.Choice(sorted(BROKERS)), default="tansu", show_default=True, help="Kind of broker."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of the report.")
def demo(count: int | None, events: Path | None, broker: str, as_json: bool) -> None:
    """Run real executions through Kafka, the worker and ClickHouse, and show what became of them.

    Exit code 0 when every metric is accounted for, 1 when not.
    """
    if events and count:
        raise click.UsageError("--count and --events exclude each other")
    interrupts = InterruptHandler()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="execution-metrics-demo-") as folder,
            Display(Console(stderr=True)) as display,
            ignore_further_interrupts(),
        ):
            directory = Path(folder).resolve()
            source = read_input(events) if events else generate_input(count or DEFAULT_COUNT, directory, display)
            result = run(source, directory, display, BROKERS[broker](directory))
    except KeyboardInterrupt:
        click.echo("Stopped; nothing is left running.", err=True)
        sys.exit(interrupts.exit_code)
    except (KafkaMissingError, MeasuringFailedError, ProcessFailedError, MigrationFailedError, KafkaError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(UNREACHABLE)
    if as_json:
        click.echo(json.dumps(result.as_json()))
    else:
        report.print_report(result, Console())
    sys.exit(not result.passed)
