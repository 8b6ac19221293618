"""`metrics-worker`: data on stdout, everything else on stderr.

Exit codes: 0 done, 1 something is left to do, 2 wrong usage or configuration, 3 a dependency is unreachable, or
stdout cannot be written.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BufferedReader
from pathlib import Path

import click

from worker import app
from worker.commands.audit import audit
from worker.commands.check import check_dependencies
from worker.commands.command_line import exit_without_joining_threads, load_settings, print_stderr, print_warning
from worker.commands.completion import completion
from worker.commands.console import console
from worker.commands.dlq import dlq
from worker.commands.exec_signals import ignore_signals
from worker.commands.execution import measure
from worker.commands.help_page import CommandGroup, format_examples
from worker.commands.migrate import migrate
from worker.commands.plan import plan
from worker.commands.produce import ProduceResult, produce_event, produce_lines
from worker.commands.replay import replay
from worker.commands.service import load_service_settings, log_fatal_errors
from worker.commands.standard_streams import (
    InputFile,
    discard_output,
    is_unwritable_output,
    let_writes_to_closed_stdout_fail,
)
from worker.commands.validate import validate
from worker.commands.variables import variables
from worker.core.errors import DependencyError, SettingsError
from worker.kafka.connection import require_topics
from worker.kafka.topic_producer import TopicProducer, open_producer
from worker.settings.encryption import find_unencrypted_connections
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable
from worker.settings.targets import kafka_target

_RUN_EXAMPLES = format_examples(
    "metrics-worker check && metrics-worker run",
    "LOG_FORMAT=console LOG_LEVEL=DEBUG metrics-worker run",
)
_CHECK_EXAMPLES = format_examples(
    "metrics-worker check",
    "metrics-worker check --json | jq 'select(.ok | not)'",
)
_PRODUCE_EXAMPLES = format_examples(
    "metrics-worker produce events.jsonl",
    "tail -f events.jsonl | metrics-worker produce -",
)
_EXEC_EXAMPLES = format_examples(
    "metrics-worker exec -- pytest -q",
    'metrics-worker exec --agent nightly-report --user "$USER" -- ./report.sh --full',
)


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`metrics-worker COMMAND --help` has examples.",
)
@click.version_option(app.VERSION, prog_name="metrics-worker")
def cli() -> None:
    """Agent-execution metrics from Kafka into ClickHouse, without losing one.

    Configuration comes from the environment; `metrics-worker variables` lists the variables.
    """


for _command in (audit, completion, console, dlq, migrate, plan, replay, validate, variables):
    cli.add_command(_command)


@cli.command(epilog=_RUN_EXAMPLES)
def run() -> None:
    """Consume events until SIGTERM, write rows, dead-letter what fails.

    Logs on stderr, one JSON object a line, also for the error that ends it. Exit codes: 0 stopped by SIGTERM or
    SIGINT, 2 wrong configuration, 3 Kafka cannot be reached, or lacks a topic or an ACL.
    """
    with log_fatal_errors():
        asyncio.run(_run(load_service_settings()))


@cli.command(epilog=_CHECK_EXAMPLES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def check(as_json: bool) -> None:
    """Check the configuration and every dependency, one line each.

    Exit code 0 if all of them are ok, 3 if not. What is allowed, but may be a mistake, is a warning on stderr.
    """
    settings = load_settings()
    for warning in find_unencrypted_connections(settings):
        print_warning(warning)
    findings = asyncio.run(check_dependencies(settings))
    for finding in findings:
        click.echo(json.dumps(finding._asdict()) if as_json else finding.format_line())
    if not all(finding.ok for finding in findings):
        raise SystemExit(3)


@cli.command(epilog=_PRODUCE_EXAMPLES)
@click.argument("file", type=InputFile())
def produce(file: BufferedReader) -> None:
    """Send the JSON lines of FILE (- for standard input) to the topic, unchanged."""
    settings = load_settings(RequiredVariable.KAFKA)

    async def send() -> ProduceResult:
        async with _connect_producer(settings) as producer:
            return await produce_lines(file, producer, settings.kafka_topic)

    produced = asyncio.run(send())
    print_stderr(
        f"{produced.sent} {'record' if produced.sent == 1 else 'records'} acknowledged by {settings.kafka_topic}"
    )
    if produced.too_large:
        print_stderr(f"too large for the topic and not sent: line {', '.join(map(str, produced.too_large))}")
        raise SystemExit(1)


@cli.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog=_EXEC_EXAMPLES,
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
    async with _connect_producer(settings) as producer:
        await produce_event(event, producer, settings.kafka_topic)


@asynccontextmanager
async def _connect_producer(settings: Settings) -> AsyncIterator[TopicProducer]:
    target = kafka_target(settings)
    await require_topics(target, [settings.kafka_topic])
    idempotent = settings.kafka_producer_idempotence
    async with open_producer(target, settings.kafka_topic, idempotent=idempotent) as producer:
        yield producer


async def _run(settings: Settings) -> None:
    await app.run(settings)
    exit_without_joining_threads(0)


def main() -> None:
    """Run a command. An expected error ends it with one message and an exit code."""
    let_writes_to_closed_stdout_fail()
    try:
        cli.main(prog_name="metrics-worker", standalone_mode=True)
    except SettingsError as error:
        print_stderr(f"configuration:\n{error}")
        sys.exit(2)
    except DependencyError as error:
        print_stderr(str(error))
        sys.exit(3)
    except OSError as error:
        if not is_unwritable_output(error):
            raise
        discard_output()
        print_stderr(f"the output cannot be written ({error.strerror}); what the command has done stays done")
        sys.exit(3)
