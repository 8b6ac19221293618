"""`metrics-worker run`: the worker, until SIGTERM."""

import asyncio

import click

from worker import app
from worker.commands.command_line import exit_without_joining_threads
from worker.commands.help_page import format_examples
from worker.commands.service import load_service_settings, log_fatal_errors
from worker.settings.fields import Settings

_EXAMPLES = format_examples(
    "metrics-worker check && metrics-worker run",
    "LOG_FORMAT=console LOG_LEVEL=DEBUG metrics-worker run",
)


@click.command(epilog=_EXAMPLES)
def run() -> None:
    """Consume events until SIGTERM, write rows, dead-letter what fails.

    Logs on stderr, one JSON object a line, also for the error that ends it. Exit codes: 0 stopped by SIGTERM or
    SIGINT, 2 wrong configuration, 3 Kafka cannot be reached, or lacks a topic or an ACL.
    """
    with log_fatal_errors():
        asyncio.run(_run(load_service_settings()))


async def _run(settings: Settings) -> None:
    await app.run(settings)
    exit_without_joining_threads(0)
