"""Messages about wrong variables: the name, the value (never a secret), and what would be right."""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from worker.settings.fields import Settings
from worker.settings.types import ExpectedValue

_NUMBERS = {int: "a whole number", float: "a number"}
_OTHERS = {bool: "true or false", Path: "the path of a file that can be read", SecretStr: "any text"}


class SettingsProblem(NamedTuple):
    """The names of the variables involved, and one line for an operator, which begins with the first of them."""

    variables: tuple[str, ...]
    text: str


def variable_name(field_name: str) -> str:
    """The environment variable of a field of the settings."""
    return field_name.upper()


def field_type(field: FieldInfo) -> Any:  # noqa: ANN401 - the standard library has no type for what an annotation can be
    """The annotation of a field, without `| None` and `Annotated`."""
    return _unwrap_annotation(field)[0]


def describe_expected(field: FieldInfo) -> str:
    """A valid value of `field` in words that follow "must be"."""
    value_type, rules = _unwrap_annotation(field)
    for rule in rules:
        if isinstance(rule, ExpectedValue):
            return rule.text
    if get_origin(value_type) is Literal:
        return _join_with_or(get_args(value_type))
    if isinstance(value_type, type) and issubclass(value_type, Enum):
        return _join_with_or([member.value for member in value_type])
    if value_type in _NUMBERS:
        least = next(rule.ge for rule in rules if isinstance(rule, Ge))
        most = next(rule.le for rule in rules if isinstance(rule, Le))
        return f"{_NUMBERS[value_type]} from {least} to {most}"
    return _OTHERS[value_type]


def _unwrap_annotation(field: FieldInfo) -> tuple[Any, list[Any]]:
    value_type = field.annotation
    if get_origin(value_type) in (Union, UnionType):
        value_type = next(member for member in get_args(value_type) if member is not NoneType)
    if get_origin(value_type) is Annotated:
        value_type, *rules = get_args(value_type)
        return value_type, rules
    return value_type, field.metadata


def invalid_value_problems(error: ValidationError, values: Mapping[str, str]) -> Iterator[SettingsProblem]:
    """A problem for each of `values` (by field name) that pydantic refused."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "default_factory_not_called":  # caused by another error; it has no value of its own
            continue
        field_name = str(detail["loc"][0])
        name, field, value = variable_name(field_name), Settings.model_fields[field_name], values[field_name]
        # Only our own validators' messages: pydantic's may quote the value, secrets included.
        reason = f" ({cause})" if str(cause := detail.get("ctx", {}).get("error", "")) else ""
        text = f"{name}={_format_value(field, value)} must be {describe_expected(field)}{reason}"
        yield SettingsProblem((name,), text + _explain_service_link(name, value))


def missing_variable_problem(name: str, because: str = "", needed_by: str | None = None) -> SettingsProblem:
    """The problem of a variable that is required, perhaps by the variable `needed_by`, and not set."""
    text = f"{name} is not set{because}; it must be {describe_expected(Settings.model_fields[name.lower()])}"
    return SettingsProblem((name, needed_by) if needed_by else (name,), text)


def _join_with_or(choices: "tuple[str, ...] | list[str]") -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def _format_value(field: FieldInfo, value: str) -> str:
    """The value in one short line of ASCII; a user and a password before an `@` are replaced."""
    if field_type(field) is SecretStr:
        return "(secret)"
    text = ascii(re.sub(r".*@", "(secret)@", value, flags=re.DOTALL))
    return text if len(text) <= 100 else f"{text[:100]}…"


def _explain_service_link(name: str, value: str) -> str:
    """For a value that Kubernetes set: it describes each Service to each pod in environment variables."""
    if not re.match(r"(tcp|udp|sctp)://", value):
        return ""
    service = name.removesuffix("_PORT").lower().replace("_", "-")
    return (
        f". Kubernetes sets this variable for a Service named {service!r}: "
        f"put `enableServiceLinks: false` in the spec of the pod, or set {name} there"
    )
