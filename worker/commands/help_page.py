"""Help pages: a group lists each command with its whole summary, and each command ends with examples."""

import click

_NO_LIMIT = 10_000
"""Characters of a summary: longer than any first sentence, so that click never cuts one."""


class CommandGroup(click.Group):
    """A group of commands whose summaries are wrapped, not cut."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with the first sentence of its help."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(_NO_LIMIT)) for name in self.list_commands(ctx)]
            )


def format_examples(*lines: str) -> str:
    """The end of a command's help page: each of `lines` is an example for the shell."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
