"""`metrics-worker completion`: the script with which a shell completes commands and options."""

import click
from click.shell_completion import BashComplete, FishComplete, ZshComplete

from worker.commands.help_page import format_examples

_SHELLS = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
_PROGRAM = "metrics-worker"
_VARIABLE = "_METRICS_WORKER_COMPLETE"
"""By which the script asks the program; click derives the name from that of the program."""
_EXAMPLES = format_examples(
    'eval "$(metrics-worker completion bash)"    # in ~/.bashrc; bash 4.4 or newer',
    'eval "$(metrics-worker completion zsh)"     # in ~/.zshrc, after compinit',
    "metrics-worker completion fish > ~/.config/fish/completions/metrics-worker.fish",
)


@click.command(epilog=_EXAMPLES)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL."""
    script = _SHELLS[shell](context.find_root().command, {}, _PROGRAM, _VARIABLE)
    # Not `source`, which for bash would also start a bash to ask for its version.
    click.echo(script.source_template % script.source_vars())
