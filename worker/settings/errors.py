"""What is said of a variable that is wrong: its name, its value (never a secret) and what would be right."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo


class Problem(NamedTuple):
    """One wrong variable.

    Attributes:
        variables: whose values are in conflict; the first is the one that `text` begins with.
        text: one line, for a person.
    """

    variables: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Expected:
    """In the annotation of a field: what would be right, where neither type nor bounds say it."""

    text: str


def variable(field_name: str) -> str:
    """The environment variable of a field of the settings."""
    return field_name.upper()


def expected(field: FieldInfo) -> str:
    """What a right value of `field` is, to be read after "must be"."""
    for rule in field.metadata:
        if isinstance(rule, Expected):
            return rule.text
    kind = field_type(field)
    if get_origin(kind) is Literal:
        return _either(get_args(kind))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _either([member.value for member in kind])
    if kind in _NUMBERS:
        least = next(rule.ge for rule in field.metadata if isinstance(rule, Ge))
        most = next(rule.le for rule in field.metadata if isinstance(rule, Le))
        return f"{_NUMBERS[kind]} from {least} to {most}"
    return _OTHERS[kind]


def field_type(field: FieldInfo) -> Any:  # noqa: ANN401 - the standard library has no type for what an annotation can be
    """The annotation of a field without its `| None`."""
    if isinstance(field.annotation, type) or get_origin(field.annotation) is Literal:
        return field.annotation
    return next(kind for kind in get_args(field.annotation) if kind is not type(None))


def invalid(error: ValidationError, values: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> Iterator[Problem]:
    """One problem for each of `values` (by field name) that was refused."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":  # a consequence of another error, with no value of its own
            continue
        field_name = str(detail["loc"][0])
        name, field, value = variable(field_name), fields[field_name], values[field_name]
        # A message of a validator of ours, or none: what a library says of a value may quote it, secrets included.
        reason = f" ({cause})" if str(cause := detail.get("ctx", {}).get("error", "")) else ""
        yield Problem((name,), f"{name}={_shown(field, value)} must be {expected(field)}{reason}{_origin(name, value)}")


def missing(name: str, fields: Mapping[str, FieldInfo], because: str = "", also: str | None = None) -> Problem:
    """The problem of a variable that is needed, perhaps by `also`, and not set."""
    text = f"{name} is not set{because}; it must be {expected(fields[name.lower()])}"
    return Problem((name, also) if also else (name,), text)


_NUMBERS = {int: "a whole number", float: "a number"}
_OTHERS = {bool: "true or false", Path: "the path of a file that can be read", SecretStr: "any text"}


def _either(choices: "tuple[str, ...] | list[str]") -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def _shown(field: FieldInfo, value: object) -> str:
    """A value in one short line of ASCII, without what it might hold of a user and a password before an `@`."""
    if field_type(field) is SecretStr:
        return "(secret)"
    text = ascii(re.sub(r".*@", "(secret)@", str(value), flags=re.DOTALL))
    return text if len(text) <= 100 else f"{text[:100]}…"


def _origin(name: str, value: object) -> str:
    """Explain a value that nobody set: Kubernetes describes each Service to each pod in variables of its own."""
    if not re.match(r"(tcp|udp|sctp)://", str(value)):
        return ""
    service = name.removesuffix("_PORT").lower().replace("_", "-")
    return (
        f". Kubernetes sets this variable for a Service named {service!r}: "
        f"put `enableServiceLinks: false` in the spec of the pod, or set {name} there"
    )
