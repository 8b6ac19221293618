"""`python -m deploy.local console`: a stack with dead letters, and the console, until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import click
from aiokafka.errors import KafkaError

from deploy.local.demo import table
from deploy.local.demo.event_stream import generate_stream
from deploy.local.demo.measurement import MeasuringFailedError, measure_all
from deploy.local.demo.topic import send_messages
from deploy.local.demo.worker_progress import wait_until_ready
from deploy.local.process import LOOPBACK, ProcessFailedError
from deploy.local.signals import exit_on_signals, wait_for_signal
from deploy.local.stack import MigrationFailedError, Stack
from deploy.local.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.local.demo.careless import Message

DEFAULT_COUNT = 5_000
UNREACHABLE = 3
_SEED = 20260901


@click.command()
@click.option("--count", type=click.IntRange(min=1), default=DEFAULT_COUNT, show_default=True, help="Number of events.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8_090, show_default=True, help="Of the console; 0 takes any."
)
def console(count: int, port: int) -> None:
    """Start the stack, a worker and the console, send events with mistakes among them, run until SIGINT or SIGTERM."""
    exit_on_signals()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="execution-metrics-"))).resolve()
        try:
            click.echo("Measuring executions, and starting Kafka and ClickHouse …", err=True)
            messages = _generate(count, folder)
            stack = opened.enter_context(Stack(folder))
            with stack.engine.client(stack.database) as client:
                table.add_constraint(client)
            worker = opened.enter_context(WorkerProcess(folder, stack.environment()))
            settings = {
                **stack.environment(),
                "CONSOLE_PORT": str(port),
                "CONSOLE_WORKERS_URL": f"http://{LOOPBACK}:{worker.http_port}",
            }
            command = ("console", "--allow-anonymous-actions")
            pages = opened.enter_context(WorkerProcess(folder, settings, "console", command))
            asyncio.run(send_messages(stack.broker.bootstrap_servers, stack.topic, messages, lambda *_: None))
            wait_until_ready(worker)
        except (KafkaError, MeasuringFailedError, MigrationFailedError, ProcessFailedError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(UNREACHABLE)
        _print_addresses(stack, pages.http_port, worker.http_port)
        wait_for_signal()


def _generate(count: int, folder: Path) -> Iterable[Message]:
    """Real executions, repeated, with the events of careless producers among them."""
    material = folder / "work"
    material.mkdir()
    executions = measure_all(material, lambda *_: None)
    return generate_stream(executions, count, Random(_SEED))  # noqa: S311 - nothing here is a secret


def _print_addresses(stack: Stack, console_port: int, worker_port: int) -> None:
    click.echo(f"The console: http://{LOOPBACK}:{console_port}/ (dead letters appear within half a minute)")
    click.echo(f"The worker:  http://{LOOPBACK}:{worker_port}/")
    click.echo("For the commands that the console shows, in another terminal:\n")
    settings = " ".join(f"{name}={value}" for name, value in stack.environment().items())
    click.echo(f"export {settings}\nPATH={Path(sys.executable).parent}:$PATH\n")
    click.echo("Ctrl-C ends it all.")
    sys.stdout.flush()
