"""Option types of the commands, and the options that select dead letters (`dlq list` and `replay` share them)."""

import re
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from functools import wraps
from math import isfinite
from time import time
from typing import Any

import click

from worker.commands.command_line import Command, print_stderr
from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterPosition
from worker.core.times import to_milliseconds
from worker.dead_letters.causes import CAUSE_ID
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.settlement import MAX_TEXT

_AGO = re.compile(r"(\d{1,9})([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_instant(text: str) -> int:
    """Parse an instant, in RFC 3339 or as the time since then (`2h`), to milliseconds since 1970."""
    if ago := _AGO.fullmatch(text):
        return int((time() - int(ago[1]) * _UNIT_SECONDS[ago[2]]) * 1000)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise click.BadParameter(f"{text!a} is neither 90s, 15m, 2h or 7d (so long ago) nor 2026-01-31T23:00:00Z")
    return to_milliseconds(instant)


def instant_option(name: str, description: str) -> Callable[[Command], Command]:
    """An option whose value `parse_instant` parses."""
    return click.option(name, type=parse_instant, metavar="INSTANT", help=description)


def require_time_order(since: int | None, until: int | None) -> None:
    """Raise UsageError if no instant is between the two."""
    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since is not before --until, so nothing can match: 2h ago is before 1h ago")


def require_finite(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    """Check that the rate is a number; a callback of its option."""
    if value is not None and not isfinite(value):
        raise click.BadParameter(f"{value} is not a number of metrics per second")
    return value


def print_if_none_matches(selection: DeadLetterFilter, found: int, state: str = "open") -> None:
    """Say that no dead letter of this state matches: a filter can be mistyped. It is no error, all of them are done."""
    if not (found or selection.matches_all):
        print_stderr(f"no {state} dead letter matches the filters")


def parse_reason(text: str) -> str:
    """Check that the journal can hold the reason, which is not cut."""
    if len(text) > MAX_TEXT:
        raise click.BadParameter(f"a reason has at most {MAX_TEXT:,} characters, not {len(text):,}")
    return text


def parse_position(text: str) -> DeadLetterPosition:
    """Parse PARTITION:OFFSET."""
    match = re.fullmatch(r"(\d{1,9}):(\d{1,18})", text, re.ASCII)
    if match is None:
        raise click.BadParameter(f"{text!a} is not PARTITION:OFFSET, for example 0:42")
    return DeadLetterPosition(int(match[1]), int(match[2]))


def parse_cause_id(text: str) -> str:
    """Check that `text` can be the ID of a cause."""
    if CAUSE_ID.fullmatch(text) is None:
        raise click.BadParameter(f"{text!a} is no ID of a cause, which `dlq causes` lists")
    return text


def dead_letter_filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options that select dead letters; it is called with the argument `selection`."""

    @wraps(command)
    def with_selection(**arguments: Any) -> None:  # noqa: ANN401 - the values of the options
        values = {
            field.name: arguments.pop(field.name) for field in fields(DeadLetterFilter) if field.name in arguments
        }
        if values["offset"] is not None and values["partition"] is None:
            raise click.UsageError("--offset needs --partition: each partition counts its offsets from 0")
        require_time_order(values["since"], values["until"])
        for name in ("causes", "error_classes", "error_types", "error_codes", "metrics", "agents"):
            values[name] = frozenset(values[name])
        command(selection=DeadLetterFilter(**values), **arguments)

    for option in reversed(_OPTIONS):
        with_selection = option(with_selection)
    return with_selection


_OPTIONS: list[Callable[[Callable[..., None]], Callable[..., None]]] = [
    click.option(
        "--cause",
        "causes",
        multiple=True,
        type=parse_cause_id,
        metavar="ID",
        help="Only this cause, of `dlq causes`. This option and the next five can be repeated.",
    ),
    click.option(
        "--error-class",
        "error_classes",
        multiple=True,
        type=click.Choice([item.value for item in ErrorClass]),
        callback=lambda _context, _option, values: map(ErrorClass, values),
        help="Only this error class.",
    ),
    click.option(
        "--error-type", "error_types", multiple=True, help="Only this type: a rule, or ClickHouse's error name."
    ),
    click.option("--error-code", "error_codes", multiple=True, type=int, help="Only this ClickHouse error code."),
    click.option("--metric", "metrics", multiple=True, help="Only this metric."),
    click.option("--agent", "agents", multiple=True, help="Only this agent."),
    instant_option("--since", "Failed at or after 2026-01-31T23:00:00Z, or 90s, 15m, 2h, 7d ago."),
    instant_option("--until", "Failed before this instant; format as in --since."),
    click.option("--partition", type=click.IntRange(0), help="Only this partition of the dead-letter topic."),
    click.option("--offset", type=click.IntRange(0), help="With --partition: only the dead letter at this offset."),
]
