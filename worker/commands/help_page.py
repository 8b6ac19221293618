"""Help pages: a group lists each command with its whole summary, and each command ends with examples."""

from pkgutil import resolve_name

import click

_NO_LIMIT = 10_000
"""Characters of a summary: longer than any first sentence, so that click never cuts one."""


class LazyCommand(click.Command):
    """The entry of a command in the list of its group. Its module is imported only when the command is called.

    Args:
        name: of the command.
        target: where it is, as `module:attribute`.
        summary: the first sentence of its help.
    """

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._target = target

    def load(self) -> click.Command:
        """Import the command."""
        command: click.Command = resolve_name(self._target)
        return command


class CommandGroup(click.Group):
    """A group of commands whose summaries are wrapped, not cut, and some of which are imported only when called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with the first sentence of its help."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(_NO_LIMIT)) for name in self.list_commands(ctx)]
            )


def format_examples(*lines: str) -> str:
    """The end of a command's help page: each of `lines` is an example for the shell."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
