"""The cause of a dead letter: what the dead letters that are settled together have in common.

It is computed from the headers, so that it needs no state, and the dead letters of every version have one. Texts of
producers are left out, because each value would be a cause of its own.
"""

import json
import re
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from worker.core.errors import ErrorClass
from worker.core.model import Failure
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.headers import MAX_MESSAGE_LENGTH

FOREIGN = "foreign"
"""The ID of the records that are not dead letters."""
CAUSE_ID = re.compile(rf"[0-9a-f]{{8}}|{FOREIGN}")
_MAX_LENGTH = 256
"""Characters of each part; anybody can write to the topic."""
_MAX_TEXT = 512
"""Characters of a message in which values are replaced."""
_MAX_CACHED_MESSAGE = 512
"""Characters; the cache keeps them."""
_VIOLATED_CONSTRAINT, _THROW_IF = 469, 395
_CONSTRAINT = re.compile(r"Constraint (?:`(?:[^`\\]|\\.){0,256}`|\S+) for table \S+", re.DOTALL)
_VIEW = "while pushing to view "
_SHARD = re.compile(r"Received from \S+ DB::Exception: ")
_FIRST_VALUE = re.compile(r"['\"]|; got |: while executing ")
"""What follows quotes a value, or repeats an expression of a view."""
_VALUE = re.compile(r"(?<!\w)(?:/\S*|[0-9a-f]{8}[0-9a-f-]{8,}|-?(?:\d[\w.:+-]*(?: [KMGT]iB)?|NaN|Infinity)…?)")
"""A path; a UUID or a digest; a number, time, version or port, but not a digit in a name."""


class DeadLetterCause(NamedTuple):
    """What dead letters of one cause have in common.

    Attributes:
        id: eight hexadecimal digits, the same in every run and version.
        metric: None if the name of the metric does not matter, as after an outage.
        message: constraint or view, or the error message with `?` in place of values.
    """

    id: str
    error_class: ErrorClass
    error_type: str
    code: int | None
    metric: str | None
    message: str


def find_cause(letter: DeadLetter) -> DeadLetterCause:
    """The cause of `letter`. It reads the headers only."""
    metric = letter.metric[:_MAX_LENGTH] if letter.metric is not None and _depends_on_metric(letter) else None
    if len(letter.failure.message) <= _MAX_CACHED_MESSAGE:
        return _find_cached(letter.failure, metric)
    return _find(letter.failure, metric)


def _find(failure: Failure, metric: str | None) -> DeadLetterCause:
    text = _remove_values(failure.message[:MAX_MESSAGE_LENGTH], failure.code)[:_MAX_LENGTH]
    return _identify(failure.error_class, failure.error_type[:_MAX_LENGTH], failure.code, metric, text)


_find_cached = lru_cache(maxsize=256)(_find)  # the dead letters of an outage have one message, or some


def find_cause_id(item: DeadLetter | ForeignRecord) -> str:
    """The ID of the cause of `item`; `FOREIGN` if it is not a dead letter."""
    return FOREIGN if isinstance(item, ForeignRecord) else find_cause(item).id


def _depends_on_metric(letter: DeadLetter) -> bool:
    """Whether other metrics fail for other causes. An invalid name is a value itself."""
    error_class, error_type = letter.failure[:2]
    return error_class in (ErrorClass.ROW_REFUSED, ErrorClass.INVALID_METRIC) and error_type != "InvalidName"


def _remove_values(message: str, code: int | None) -> str:
    if code == _VIOLATED_CONSTRAINT and (constraint := _CONSTRAINT.search(message)):
        return constraint[0]
    at = message.rfind(_VIEW)  # the last one: a value before it can imitate it
    view = message[at:].partition(" (")[0].rstrip(".") if at >= 0 else ""
    if view and code != _THROW_IF:  # whose message is the author's, and tells two conditions of a view apart
        return view
    text = _FIRST_VALUE.split(_SHARD.sub("", message), 1)[0]
    return _VALUE.sub("?", text[:_MAX_TEXT]).strip() + (view and f": {view}")


@lru_cache(maxsize=1_024)
def _identify(
    error_class: ErrorClass, error_type: str, code: int | None, metric: str | None, message: str
) -> DeadLetterCause:
    parts = json.dumps([error_class.value, error_type, code, metric, message])
    digest = sha256(parts.encode("ascii")).hexdigest()
    return DeadLetterCause(digest[:8], error_class, error_type, code, metric, message)
