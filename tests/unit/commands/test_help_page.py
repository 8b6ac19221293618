"""Help pages: whole summaries, and examples that the command accepts."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from worker.cli import cli

PROGRAM = "metrics-worker"


def find_command(group: click.Group, name: str) -> click.Command:
    """The command that a call of `name` runs."""
    command = group.resolve_command(click.Context(group), [name])[1]
    assert command is not None
    return command


def commands_of(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below `group`, with the words that call it."""
    for name in group.commands:
        command = find_command(group, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands_of(command, (*path, name))


COMMANDS = dict(commands_of(cli))
GROUPS = [(), *(path for path, command in COMMANDS.items() if isinstance(command, click.Group))]
WITH_EXAMPLES = [path for path in COMMANDS if path != ("dlq",)]


def help_page(*path: str) -> str:
    return CliRunner().invoke(cli, [*path, "--help"], terminal_width=80).output


def calls_in(line: str) -> Iterator[list[str]]:
    """The arguments of each call of the program in a line of shell."""
    lexer = shlex.shlex(line.replace('"$(', "").replace(')"', ""), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True  # at white space and punctuation only
    words = list(lexer)
    while PROGRAM in words:
        words = words[words.index(PROGRAM) + 1 :]
        ends = [index for index, word in enumerate(words) if set(word) <= set(lexer.punctuation_chars)]
        yield words[: ends[0]] if ends else words


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_summaries_of_commands_are_not_cut(path: tuple[str, ...]) -> None:
    listed = help_page(*path).partition("\nCommands:\n")[2]
    group = COMMANDS[path] if path else cli
    assert isinstance(group, click.Group)
    assert "..." not in listed
    words = " ".join(listed.split())
    for name in group.commands:
        summary = " ".join((find_command(group, name).help or "").partition("\n\n")[0].split())
        assert f"{name} {summary.partition('. ')[0].removesuffix('.')}" in words


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=" ".join)
def test_command_accepts_the_examples_of_its_help(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    examples = [line.strip() for line in help_page(*path).partition("Examples:\n")[2].splitlines()]
    calls = [call for line in examples for call in calls_in(line)]
    assert any(tuple(call[: len(path)]) == path for call in calls), examples
    for call in calls:
        accept(call)


def accept(words: list[str]) -> None:
    """Parse the arguments of a command, which click refuses with an exception; nothing runs."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = find_command(command, words[0]), words[1:]
    with command.make_context(PROGRAM, list(words)):
        pass
