"""`metrics-worker`: data on stdout, everything else on stderr.

Exit codes: 0 done, 1 something is left to do, 2 wrong usage or configuration, 3 a dependency is unreachable, or
stdout cannot be written, 141 the reader of stdout has ended (`| head -1`).
"""

import sys
from typing import Any

import click

from worker.commands.help_page import CommandGroup, LazyCommand
from worker.commands.standard_streams import discard_output, is_unwritable_output, let_writes_to_closed_stdout_fail
from worker.core.errors import DependencyError, SettingsError

_READER_HAS_ENDED = 141
"""What a shell reports of a program that SIGPIPE has ended: 128 and the number of the signal. It is not 0, because the
output is not complete, and not the 1 of click, which means here that something is left to do. Python ignores the signal
itself: a connection that is lost would end the program too."""


class _RootGroup(CommandGroup):
    """The group of all commands; each ends quietly when the reader of its output has ended."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as of click
        """Call the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            discard_output()
            ctx.exit(_READER_HAS_ENDED)


@click.group(
    cls=_RootGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`metrics-worker COMMAND --help` has examples.",
)
@click.version_option(package_name="execution-metrics-worker", prog_name="metrics-worker")
def cli() -> None:
    """Agent-execution metrics from Kafka into ClickHouse, without losing one.

    Configuration comes from the environment; `metrics-worker variables` lists the variables.
    """


# Name, place in `worker.commands`, first sentence of the help. Only the command that is called is imported.
for _name, _target, _summary in (
    (
        "audit",
        "audit:audit",
        "Check that every metric of a range of records is in the view, has a dead letter, or is skipped by rule.",
    ),
    ("check", "check:check", "Check the configuration and every dependency, one line each."),
    ("completion", "completion:completion", "Print the script that completes commands and options in SHELL."),
    ("console", "console:console", "Serve pages about the open dead letters to a browser, until SIGTERM."),
    ("dlq", "dlq:dlq", "List, explain, discard and restore dead letters."),
    ("exec", "exec_command:execute", "Run COMMAND, measure it, emit its event, and exit with its code."),
    ("migrate", "migrate:migrate", "Create or update the tables and views in ClickHouse."),
    ("plan", "plan:plan", "Plan workers, partitions, batches and disk, from what events cost on this machine."),
    ("produce", "produce:produce", "Send the JSON lines of FILE (- for standard input) to the topic, unchanged."),
    ("replay", "replay:replay", "Replay dead letters: metrics go to the writer, events to the current decoder."),
    ("run", "run:run", "Consume events until SIGTERM, write rows, dead-letter what fails."),
    (
        "validate",
        "validate:validate",
        "Predict what the worker would do with the events in FILE (- for standard input), JSON lines.",
    ),
    ("variables", "variables:variables", "List the environment variables: default, allowed values and meaning."),
):
    cli.add_command(LazyCommand(_name, f"worker.commands.{_target}", _summary))


def main() -> None:
    """Run a command. An expected error ends it with one message and an exit code."""
    let_writes_to_closed_stdout_fail()
    try:
        cli.main(prog_name="metrics-worker", standalone_mode=True)
    except SettingsError as error:
        click.echo(f"configuration:\n{error}", err=True)
        sys.exit(2)
    except DependencyError as error:
        click.echo(str(error), err=True)
        sys.exit(3)
    except OSError as error:
        if not is_unwritable_output(error):
            raise
        discard_output()
        click.echo(f"the output cannot be written ({error.strerror}); what the command has done stays done", err=True)
        sys.exit(3)
