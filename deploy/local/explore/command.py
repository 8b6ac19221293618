"""`python -m deploy.local explore`: a stack with a month of executions, to query until Ctrl-C."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import click
from aiokafka.errors import KafkaError

from deploy.local.demo.topic import send_messages
from deploy.local.demo.worker_progress import wait_until_ready
from deploy.local.explore.month import DAYS, count_rows, generate_month
from deploy.local.explore.queries import query_commands
from deploy.local.process import ProcessFailedError
from deploy.local.signals import exit_on_signals, wait_for_signal
from deploy.local.stack import MigrationFailedError, Stack
from deploy.local.worker_process import WorkerProcess

DEFAULT_COUNT = 20_000
UNREACHABLE = 3
_MOST_SECONDS = 300.0
_POLL_SECONDS = 0.1


@click.command()
@click.option(
    "--count", type=click.IntRange(min=1), default=DEFAULT_COUNT, show_default=True, help="Number of executions."
)
def explore(count: int) -> None:
    """Start the stack and a worker, send a month of executions, print queries to try, run until SIGINT or SIGTERM."""
    exit_on_signals()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="execution-metrics-"))).resolve()
        try:
            stack = opened.enter_context(Stack(folder))
            click.echo(f"Kafka and ClickHouse run. Sending {count:,} executions of {DAYS} days …", err=True)
            messages = list(generate_month(count, datetime.now(UTC)))
            rows = sum(map(count_rows, messages))
            asyncio.run(send_messages(stack.broker.bootstrap_servers, stack.topic, messages, lambda *_: None))
            worker = opened.enter_context(WorkerProcess(folder, stack.environment()))
            wait_until_ready(worker)
            _wait_until_written(worker, rows)
        except (ProcessFailedError, MigrationFailedError, KafkaError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(UNREACHABLE)
        _print_queries(stack, rows, worker.http_port)
        wait_for_signal()


def _wait_until_written(worker: WorkerProcess, rows: int) -> None:
    """Wait until the worker has written so many rows.

    Raises:
        ProcessFailedError: the worker ended or took too long.
    """
    deadline = time.monotonic() + _MOST_SECONDS
    while worker.process.running and time.monotonic() < deadline:
        with suppress(OSError):  # it has ended, and the loop does too
            if worker.telemetry()["metrics_worker_rows_written_total"][()] >= rows:
                return
        time.sleep(_POLL_SECONDS)
    raise ProcessFailedError(f"the worker has not written {rows:,} rows\n{worker.process.tail()}")


def _print_queries(stack: Stack, rows: int, http_port: int) -> None:
    click.echo(f"{rows:,} rows of {DAYS} days are in ClickHouse. In another terminal:\n")
    for question, command in query_commands(stack.engine.host, stack.engine.port, stack.database).items():
        click.echo(f"# {question}\n{command}\n")
    click.echo(f"More of them: schemas/QUERIES.md. The worker: http://127.0.0.1:{http_port}/. Ctrl-C ends it all.")
    sys.stdout.flush()
