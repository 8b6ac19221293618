"""The headers of an edited dead letter, `dlq.edit.…`."""

from collections.abc import Mapping
from typing import Any

from worker.core.model import Edit
from worker.dead_letters.header_values import parse_position, parse_text

_BY, _EXPRESSION = "dlq.edit.by", "dlq.edit.expression"
_ORIGINAL, _ORIGINAL_SHA256 = "dlq.edit.original", "dlq.edit.original_sha256"


def encode_edit(edit: Edit | None) -> Mapping[str, object]:
    """The headers by name; none if nothing was edited."""
    if edit is None:
        return {}
    return {
        _BY: edit.by,
        _EXPRESSION: edit.expression,
        _ORIGINAL: edit.original,
        _ORIGINAL_SHA256: edit.original_sha256,
    }


def parse_edit(headers: Mapping[str, Any]) -> Edit | None:
    """The edit; None if there was none. Raises as `parse_headers` does."""
    if _BY not in headers:
        return None
    return Edit(
        parse_text(headers[_BY]),
        headers[_EXPRESSION].decode("utf-8"),
        parse_position(headers[_ORIGINAL]),
        parse_text(headers[_ORIGINAL_SHA256]),
    )
