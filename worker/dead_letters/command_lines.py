"""The commands that settle dead letters, as an operator can copy them."""

from typing import NamedTuple

from worker.core.model import DeadLetterPosition
from worker.dead_letters.settlement import Action


class CommandLine(NamedTuple):
    """A command, and what it does with the dead letters that it selects."""

    purpose: str
    text: str


def select_one(position: DeadLetterPosition) -> str:
    """The options that select one dead letter."""
    return f"--partition {position.partition} --offset {position.offset}"


def select_cause(cause: str) -> str:
    """The options that select the open dead letters of a cause."""
    return f"--cause {cause}"


def replay_command(selection: str) -> str:
    """The command that replays."""
    return f"metrics-worker replay {selection}"


def discard_command(selection: str) -> str:
    """The command that gives up; the reason is for the operator to replace."""
    return f'metrics-worker dlq discard {selection} --reason "WHY"'


def restore_command(selection: str, settled_by: Action) -> str:
    """The command that reopens what an action has settled."""
    by = "" if settled_by is Action.DISCARDED else f" --settled-by {settled_by.value}"
    return f"metrics-worker dlq restore {selection}{by}"
