"""Renders the pages. Every text that a template puts out is escaped twice: control characters, and then markup."""

import re
from importlib.resources import files
from time import time

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from worker.core.escaping import escape_control_characters
from worker.core.times import format_time
from worker.observability.formatting import format_duration, format_number
from worker.observability.page import THEME

_MAX_TEXT = 4_000
"""Characters of one text; anybody can write to the topic."""
STYLE = THEME + files("worker.console").joinpath("console.css").read_text("utf-8")


class _Printable(str):
    """Text whose control characters are escaped already; its markup is not."""

    __slots__ = ()


def _make_safe(value: object) -> object:
    """What is put out for the value of an expression; a macro returns markup, whose values were made safe before."""
    if not isinstance(value, str) or isinstance(value, Markup | _Printable):
        return value
    return escape_control_characters(value, _MAX_TEXT)


def _escape(text: str) -> _Printable:
    return _Printable(escape_control_characters(text, _MAX_TEXT))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _join_lines(lines: list[str]) -> _Printable:
    return _Printable("\n".join(lines))


def _keep_lines(text: str) -> _Printable:
    """Text that a user may edit: line ends and tabs stay."""
    return _Printable(re.sub(r"[^\n\t]+", lambda part: escape_control_characters(part[0]), text))


def _format_number(value: float) -> _Printable:
    return _Printable(format_number(value))  # the narrow space between its groups counts as a control character


def _format_ago(milliseconds: int) -> str:
    """Roughly how long ago."""
    seconds = time() - milliseconds / 1000
    if seconds < 1:
        return "just now"
    return " ".join(format_duration(seconds).split()[:2]) + " ago"


def _format_until(seconds: float) -> str:
    """In how long a Unix time is."""
    return f"in {format_duration(seconds - time())}" if seconds > time() else "any time"


_ENVIRONMENT = Environment(
    loader=ChoiceLoader([PackageLoader("worker.console"), PackageLoader("worker.observability", "")]),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_make_safe,
)
_ENVIRONMENT.filters |= {
    "ago": _format_ago,
    "cut": _cut,
    "duration": format_duration,
    "escape_control_characters": _escape,
    "instant": format_time,
    "keep_lines": _keep_lines,
    "lines": _join_lines,
    "number": _format_number,
    "until": _format_until,
    "whole": _Printable,
}


def render(template: str, **values: object) -> str:
    """The HTML of a page."""
    return _ENVIRONMENT.get_template(template).render(**values)
