"""What those who are no editors see of dead letters: values that CONSOLE_MASK names are replaced.

A rule is about the event. A dead letter of one metric has the fields of a row instead, and its header, its cause and
its error repeat some: they follow the rule of the field that they come from.
"""

import hmac
import re
from collections.abc import Callable
from dataclasses import replace
from secrets import token_bytes
from typing import NamedTuple

from worker.console.mask_rules import NO_RULES, MaskRules
from worker.console.masked_json import MASKED, mask_values
from worker.console.payload import Payload, indent, is_json, present, split
from worker.core.errors import ErrorClass
from worker.dead_letters.causes import DeadLetterCause, find_cause
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.documents import Document
from worker.dead_letters.history import Operation
from worker.dead_letters.settlement import Settlement
from worker.dead_letters.statistics import CauseGroup
from worker.events.tolerant_json import parse_json

_Path = tuple[str, ...]

_DATA = "data"
"""The field in which a CloudEvent has the event: a rule with it also matches what has been taken from an event."""
_CONSTRAINT = re.compile(r"Constraint `?[\w.-]{1,128}`? for table [\w.`-]{1,300}", re.ASCII)
_OF_THE_WORKER = frozenset({ErrorClass.INVALID_EVENT, ErrorClass.INVALID_METRIC})
"""Errors that the worker words itself: it quotes a value, or puts it at the end, and a cause has neither."""
_KEY = token_bytes(32)
"""Of the digests: without it, nobody can look for the value that has one. It changes with each start."""


class Mask(NamedTuple):
    """How a reader sees dead letters. Without rules nothing changes."""

    rules: MaskRules = NO_RULES

    def present_value(self, item: DeadLetter | ForeignRecord) -> Payload | None:
        """The value of a record."""
        value = item.record.value
        if value is None or not self.rules:
            return None if value is None else present(value)
        if isinstance(item, ForeignRecord) or not is_json(value):
            return _hide(value)  # nobody knows the names of its fields
        is_masked = self.rules.masks_field if item.kind == "event" else _rule_for_row(self.rules, value)
        lines = indent(mask_values(split(value.decode()), is_masked))
        return _hide(value) if lines is None else Payload(len(value), "", lines, None)

    def present_key(self, key: bytes | None) -> Payload | None:
        """The key of a record. It is masked by any rule, as it may be any field of the event."""
        return None if key is None else _hide(key) if self.rules else present(key)

    def present_header(
        self, item: DeadLetter | ForeignRecord, name: str, value: bytes | None, size: int
    ) -> Payload | None:
        """The first `size` bytes of a header. Those of a foreign record may be an error message, or anything."""
        if value is None:
            return None
        is_masked = self.rules.masks_header(name) or (self.rules and isinstance(item, ForeignRecord))
        return _hide(value) if is_masked else present(value[:size])

    def mask_document(self, item: DeadLetter | ForeignRecord, document: Document) -> Document:
        """What `describe_in_short` or `describe_in_full` says of `item`."""
        if not self.rules:
            return document
        hidden = {name: MASKED for name in ("key", "value", "headers", "source_headers") if name in document}
        if isinstance(item, ForeignRecord):
            return document | hidden | {"foreign": _keep_reason(item.reason)}
        masked = {
            "error_message": _keep_message(find_cause(item)),
            "agent": self._mask_field("agent_name", document["agent"]),
            "execution_id": self._mask_field("execution_id", document["execution_id"]),
        }
        if isinstance(edit := document.get("edit"), dict):
            masked["edit"] = edit | {"expression": MASKED}
        if isinstance(settlement := document.get("settlement"), dict):
            masked["settlement"] = settlement | {"edit": MASKED, "command": MASKED}
        return document | hidden | masked

    def mask_group(self, group: CauseGroup) -> CauseGroup:
        """A cause."""
        if not self.rules:
            return group
        agents = {str(self._mask_field("agent_name", agent)): None for agent in group.agents}
        return replace(group, cause=group.cause._replace(message=_keep_message(group.cause)), agents=agents)

    def mask_settlement(self, entry: Settlement) -> Settlement:
        """An entry of the journal: an edit and its command can quote a value. The reason is for all to read."""
        return entry._replace(edit=entry.edit and MASKED, command=MASKED) if self.rules else entry

    def mask_operation(self, operation: Operation) -> Operation:
        """An operation of the journal."""
        return replace(operation, entry=self.mask_settlement(operation.entry))

    def _mask_field(self, name: str, value: object) -> object:
        return MASKED if value and self.rules.masks_field((_DATA, name)) else value


def _rule_for_row(rules: MaskRules, value: bytes) -> Callable[[_Path], bool]:
    """Whether a field of the row of a metric is masked, by the rules about the event that it comes from."""
    row = parse_json(value)
    metric = row.get("metric_type") if isinstance(row, dict) else None

    def is_masked(path: _Path) -> bool:
        if rules.masks_field((_DATA, *path)):
            return True
        if path == ("metric_value",):
            return not isinstance(metric, str) or rules.masks_field((_DATA, "metrics", metric))
        if len(path) == 2 and path[0] == "labels":  # it may be an attribute of a CloudEvent
            return rules.masks_header(path[1]) or rules.masks_header(f"ce_{path[1]}")
        return False

    return is_masked


def _keep_message(cause: DeadLetterCause) -> str:
    """What cannot quote a value: the name of a violated constraint, and the worker's own words without values."""
    if cause.error_class in _OF_THE_WORKER or _CONSTRAINT.fullmatch(cause.message):
        return cause.message
    return MASKED


def _keep_reason(reason: str) -> str:
    """Why a record is no dead letter: which header it lacks; another reason can quote one."""
    return reason if reason.startswith("it has no header ") else MASKED


def _hide(value: bytes) -> Payload:
    digest = hmac.digest(_KEY, value, "sha256").hex()[:16]
    return Payload(len(value), f"{MASKED} ({len(value)} bytes, digest {digest})", None, None)
