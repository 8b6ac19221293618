"""Finding in the journal what an action of the console was asked to do."""

import pytest

from tests.unit.replay.harness import ENTRY
from worker.console.actions.form import MAX_LETTERS
from worker.console.actions.past_action import parse_request
from worker.console.actions.request import ActionKind, ActionRequest
from worker.core.model import DeadLetterPosition
from worker.dead_letters.settlement import MAX_TEXT, Action

SOME = (DeadLetterPosition(0, 1), DeadLetterPosition(2, 34))


@pytest.mark.parametrize(
    "request_",
    [
        ActionRequest(ActionKind.REPLAY, "0123abcd", limit=7, rate=8, max_replays=9),
        ActionRequest(ActionKind.REPLAY, None, SOME, reason="it is back"),
        ActionRequest(ActionKind.EDIT, None, SOME[:1], reason="the sign", expression=".a\n|= -."),
        ActionRequest(ActionKind.DISCARD, "foreign", limit=20_000, reason="a test"),
        ActionRequest(ActionKind.RESTORE, "0123abcd", settled_by=Action.REPLAYED),
    ],
    ids=str,
)
def test_request_is_found_again(request_: ActionRequest) -> None:
    entry = ENTRY._replace(command=request_.description, why=request_.reason, edit=request_.expression)
    assert parse_request(entry) == request_


@pytest.mark.parametrize(
    "command",
    [
        "",
        "metrics-worker replay --cause 0123abcd",
        "console: replay --cause 0123abcd",  # of an earlier version
        "console: replay --cause <script> --limit 1",
        "console: replay --cause zzzzzzzz --limit 1",
        "console: destroy --cause 0123abcd --limit 1",
        "console: replay 0:1 : --limit 1",
        "console: replay --cause foreign --limit 1",
        "console: discard --cause 0123abcd --limit 1",  # without a reason
    ],
)
def test_other_commands_are_no_request(command: str) -> None:
    assert parse_request(ENTRY._replace(command=command)) is None


def test_command_that_the_journal_has_cut_is_no_request() -> None:
    """It could end with another position than the one that was meant."""
    letters = tuple(DeadLetterPosition(0, 10_000 + number) for number in range(MAX_LETTERS))
    command = ActionRequest(ActionKind.REPLAY, None, letters).description
    assert len(command) > MAX_TEXT
    assert parse_request(ENTRY._replace(command=command[:MAX_TEXT])) is None
    assert parse_request(ENTRY._replace(command=f"console: replay 0:1 --limit 1{'0' * MAX_TEXT}"[:MAX_TEXT])) is None
