"""`metrics-worker exec`: run a command, and emit an event about it."""

import asyncio
import json
from pathlib import Path

import click

from worker.commands.command_line import load_settings, print_stderr
from worker.commands.exec_signals import ignore_signals
from worker.commands.execution import measure
from worker.commands.help_page import format_examples
from worker.commands.produce import connect_producer, produce_event
from worker.core.errors import DependencyError, SettingsError
from worker.settings.loading import RequiredVariable

_EXAMPLES = format_examples(
    "metrics-worker exec -- pytest -q",
    'metrics-worker exec --agent nightly-report --user "$USER" -- ./report.sh --full',
)


@click.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=_EXAMPLES,
)
@click.option("--agent", help="agent_name of the event; the name of the command by default.")
@click.option("--user", help="user_id of the event; none by default.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(agent: str | None, user: str | None, command: tuple[str, ...]) -> None:
    """Run COMMAND, measure it, emit its event, and exit with its code.

    COMMAND runs also if Kafka cannot be reached, or a variable is wrong. Its exit code is returned then too, and the
    event goes to stderr.
    """
    with ignore_signals():
        execution = measure(command, agent_name=agent or Path(command[0]).name or "command", user_id=user)
        if execution.problem:
            print_stderr(execution.problem)
        try:
            asyncio.run(_emit(execution.event))
        except (DependencyError, SettingsError) as error:
            print_stderr(f"the event was not emitted: {error}\n{json.dumps(execution.event)}")
    raise SystemExit(execution.exit_code)


async def _emit(event: dict[str, object]) -> None:
    # Any wrong variable counts: without a valid KAFKA_TOPIC the event must not go to the default topic.
    settings = load_settings(RequiredVariable.KAFKA)
    async with connect_producer(settings) as producer:
        await produce_event(event, producer, settings.kafka_topic)
