"""Reads an action from the fields of a form. Nothing in them is believed."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs

from worker.console.actions.request import (
    DEFAULT_LIMIT,
    DEFAULT_MAX_REPLAYS,
    DEFAULT_RATE,
    ActionKind,
    ActionRequest,
)
from worker.core.errors import WorkerError
from worker.core.model import MAX_EXPRESSION_LENGTH, DeadLetterPosition
from worker.dead_letters.causes import CAUSE_ID, FOREIGN
from worker.dead_letters.settlement import Action

MAX_BODY_BYTES = 64 * 1024
MAX_LETTERS = 200
"""Of an explicit selection; a page has 50."""
_MAX_FIELDS = MAX_LETTERS + 50
_MAX_REASON = 1_000
_MAX_NUMBER = 10_000_000
_NUMBER = re.compile(r"[0-9]{1,9}")
_POSITION = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")
_SETTLED_BY = (Action.DISCARDED, Action.REPLAYED, Action.EDITED)
Fields = Mapping[str, Sequence[str]]


class InvalidForm(WorkerError):
    """The form does not say what to do with which dead letters."""


class Form(NamedTuple):
    """A form as it was filled in.

    Attributes:
        request: what it asks for, as far as it is valid.
        problems: what an operator has to correct; none if all of it is valid.
    """

    request: ActionRequest
    problems: Sequence[str]


def parse_fields(text: bytes) -> Fields:
    """The fields of a form, as a browser encodes them. Raises InvalidForm."""
    try:
        return parse_qs(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:  # UnicodeDecodeError is one too
        raise InvalidForm(f"The form cannot be read, or selects more than {MAX_LETTERS} dead letters.") from error


def parse_form(fields: Fields) -> Form:
    """The action that a form asks for.

    Raises InvalidForm if it does not say which action, or on which dead letters: then there is nothing to correct.
    """
    kind = _parse_kind(_first(fields, "do"))
    problems: list[str] = []
    cause = _first(fields, "cause") or None
    request = ActionRequest(
        kind,
        cause,
        () if cause else _parse_letters(fields.get("letter", ())),
        _parse_number(fields, "limit", DEFAULT_LIMIT, "The limit", problems),
        _parse_number(fields, "rate", DEFAULT_RATE, "The rate", problems),
        _parse_number(fields, "max_replays", DEFAULT_MAX_REPLAYS, "The number of replays", problems),
        _parse_text(fields, "reason", _MAX_REASON, "The reason", problems),
        _parse_expression(fields, problems) if kind is ActionKind.EDIT else None,  # its role alone may edit
        _parse_settled_by(_first(fields, "settled_by")),
    )
    if cause is not None and (CAUSE_ID.fullmatch(cause) is None or (cause == FOREIGN and kind.replays)):
        raise InvalidForm("There is no such cause, or nothing of it can be replayed.")
    if request.reason is None and kind in (ActionKind.DISCARD, ActionKind.EDIT):
        problems.append("A reason is needed: the journal keeps it.")
    return Form(request, problems)


def _first(fields: Fields, name: str) -> str:
    values = fields.get(name, ())
    return values[0] if values else ""


def _parse_kind(text: str) -> ActionKind:
    try:
        return ActionKind(text)
    except ValueError as error:
        raise InvalidForm("There is no such action.") from error


def _parse_settled_by(text: str) -> Action:
    return next((action for action in _SETTLED_BY if action == text), Action.DISCARDED)


def _parse_letters(texts: Sequence[str]) -> tuple[DeadLetterPosition, ...]:
    matches = [_POSITION.fullmatch(text) for text in texts]
    letters = {DeadLetterPosition(int(match[1]), int(match[2])) for match in matches if match}
    if not letters:
        raise InvalidForm("No dead letter is selected: go back, and tick some.")
    if None in matches or len(letters) > MAX_LETTERS:
        raise InvalidForm(f"Select at most {MAX_LETTERS} dead letters, or the whole cause.")
    return tuple(sorted(letters))


def _parse_number(fields: Fields, name: str, default: int, what: str, problems: list[str]) -> int:
    text = _first(fields, name).strip()
    if not text and name not in fields:
        return default
    if _NUMBER.fullmatch(text) is None or not 1 <= int(text) <= _MAX_NUMBER:
        problems.append(f"{what} must be a number from 1 to {_MAX_NUMBER:,}.")
        return default
    return int(text)


def _parse_expression(fields: Fields, problems: list[str]) -> str | None:
    expression = _parse_text(fields, "expression", MAX_EXPRESSION_LENGTH, "The expression", problems)
    if expression is None:
        problems.append("An expression of jq is needed.")
    return expression


def _parse_text(fields: Fields, name: str, longest: int, what: str, problems: list[str]) -> str | None:
    text = _first(fields, name).replace("\r\n", "\n").strip()
    if len(text) > longest:
        problems.append(f"{what} must have at most {longest:,} characters.")
    return text[:longest] or None
