"""An action that this process does not know, as the journal has it: of another console, or from before a restart."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from worker.console.actions.form import InvalidForm, parse_form
from worker.console.actions.request import ActionRequest
from worker.console.mask import Mask
from worker.dead_letters.history import Operation
from worker.dead_letters.settlement import MAX_TEXT, Settlement

OPERATION_ID = re.compile(r"[0-9a-f]{32}")
_COMMAND = re.compile(
    r"console: (?P<do>\w+) (?:--cause (?P<cause>\w+)|(?P<letters>[\d:]+(?: [\d:]+)*)) --limit (?P<limit>\d+)"
    r"(?: --rate (?P<rate>\d+) --max-replays (?P<max_replays>\d+))?(?: --settled-by (?P<settled_by>\w+))?",
    re.ASCII,
)
"""As `ActionRequest.description` writes it."""


class PastAction(NamedTuple):
    """An operation, as the journal has it.

    Attributes:
        request: the same action; None if the journal does not have all of it, or a command has done it.
    """

    operation: Operation
    request: ActionRequest | None


def find_past_action(operations: Sequence[Operation], action: str, mask: Mask) -> PastAction | None:
    """The action with this ID, as a reader may see it; None if the journal does not have it."""
    for operation in operations:
        if operation.entry.operation == action:
            return PastAction(mask.mask_operation(operation), parse_request(operation.entry))
    return None


def parse_request(entry: Settlement) -> ActionRequest | None:
    """What an action of the console was asked to do. Anybody can write to the topic, so it is read as a form is."""
    match = _COMMAND.fullmatch(entry.command) if len(entry.command) < MAX_TEXT else None  # a longer one was cut
    if match is None:
        return None
    fields = {name: value.split() for name, value in match.groupdict("").items() if value}
    fields |= {"letter": fields.pop("letters", []), "reason": [entry.why or ""], "expression": [entry.edit or ""]}
    try:
        form = parse_form(fields)
    except InvalidForm:
        return None
    return None if form.problems else form.request
