"""The options that say which dead letters are meant; `dlq list` and `replay` have the same."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from time import time
from typing import Any

import click

from worker.core.errors import ErrorClass
from worker.core.model import RecordPosition
from worker.dead_letters.filters import Selection

_AGO = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class InstantParam(click.ParamType[int]):
    """An instant in milliseconds since 1970, or one that lies so long ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - click's
        """See `click.ParamType`."""
        if isinstance(value, int):
            return value
        if ago := _AGO.fullmatch(value):
            return int((time() - int(ago[1]) * _UNITS[ago[2]]) * 1000)
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.fail(f"{value!a} is neither 90s, 15m, 2h or 7d (so long ago) nor 2026-01-31T23:00:00Z", param, ctx)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class RecordPositionParam(click.ParamType[RecordPosition]):
    """PARTITION:OFFSET."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RecordPosition:  # noqa: ANN401 - click's
        """See `click.ParamType`."""
        if isinstance(value, RecordPosition):
            return value
        match = re.fullmatch(r"(\d{1,9}):(\d{1,18})", value, re.ASCII)
        if match is None:
            self.fail(f"{value!a} is no PARTITION:OFFSET such as 0:42", param, ctx)
        return RecordPosition(int(match[1]), int(match[2]))


def dead_letter_filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` the options, and what they say as the argument `selection`."""

    @wraps(command)
    def with_selection(
        *,
        error_class: tuple[str, ...],
        error_code: tuple[int, ...],
        metric: tuple[str, ...],
        agent: tuple[str, ...],
        since: int | None,
        until: int | None,
        partition: int | None,
        offset: int | None,
        **others: object,
    ) -> None:
        if offset is not None and partition is None:
            raise click.UsageError("--offset needs --partition: each partition counts its offsets from 0")
        if since is not None and until is not None and since >= until:
            raise click.UsageError(
                "--since is not before --until, so that nothing can be meant: 2h ago is before 1h ago"
            )
        selection = Selection(
            frozenset(map(ErrorClass, error_class)),
            frozenset(error_code),
            frozenset(metric),
            frozenset(agent),
            since,
            until,
            partition,
            offset,
        )
        command(selection=selection, **others)

    for option in reversed(_OPTIONS):
        with_selection = option(with_selection)
    return with_selection


_OPTIONS: list[Callable[[Callable[..., None]], Callable[..., None]]] = [
    click.option(
        "--error-class",
        multiple=True,
        type=click.Choice([item.value for item in ErrorClass]),
        help="Only this class of error; may be repeated, as the next three.",
    ),
    click.option("--error-code", multiple=True, type=int, help="Only this error code of ClickHouse."),
    click.option("--metric", multiple=True, help="Only this metric."),
    click.option("--agent", multiple=True, help="Only this agent."),
    click.option(
        "--since", type=InstantParam(), help="Failed at or after 2026-01-31T23:00:00Z, or 90s, 15m, 2h, 7d ago."
    ),
    click.option("--until", type=InstantParam(), help="Failed before; written as --since."),
    click.option("--partition", type=click.IntRange(0), help="Only this partition of the dead-letter topic."),
    click.option("--offset", type=click.IntRange(0), help="With --partition: only the letter at this offset."),
]
