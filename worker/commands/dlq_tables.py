"""Dead letters as tables on a terminal. All text of a record passes through `escape_control_characters` first."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.core.escaping import escape_bytes, escape_control_characters
from worker.core.model import Record
from worker.core.times import format_time
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.causes import find_cause_id
from worker.dead_letters.command_lines import replay_command, select_cause, select_one
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.history import Operation
from worker.dead_letters.settlement import Settlement
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.dead_letters.value import parse_agent_name

_MAX_VALUE_BYTES = 20_000
"""Longest part of a value that is printed; --json prints all of it."""
_MAX_HEADER_BYTES = 500
_MAX_HEADER_NAME_CHARACTERS = 200
_MAX_ERROR_CHARACTERS = 400
_MAX_NAME_CHARACTERS = 40
_ONE_LINE: Any = {"no_wrap": True, "overflow": "ellipsis", "crop": True}
_NONE = "-"
_TITLES = {"code": "ClickHouse code", "partition": "source partition", "hour": "hour (UTC)"}
"""Titles of the statistics whose name does not say enough."""


def print_statistics(statistics: DeadLetterStatistics, top: int) -> None:
    """Print a table for each dimension, the most frequent value first."""
    console = Console(highlight=False)
    if statistics.oldest is None or statistics.newest is None:
        console.print("no dead letters")
    else:
        oldest, newest = format_time(statistics.oldest), format_time(statistics.newest)
        console.print(f"{statistics.total:,} dead letters, from {oldest} to {newest} UTC")
        if statistics.replayed:
            console.print(f"{statistics.replayed:,} of them replayed before, at most {statistics.most_replays} times")
        for dimension, counter in statistics.by.items():
            table = Table()
            table.add_column(_TITLES.get(dimension, dimension), overflow="fold")
            table.add_column("count", justify="right", overflow="fold")
            for value, count in counter.most_common(top):
                table.add_row(_format_counted_value(dimension, value), f"{count:,}")
            if rest := counter.count_others(top):
                table.add_row("others", f"{rest:,}")
            console.print(table)
    if statistics.foreign:
        console.print(f"records on the topic that are no dead letters: {statistics.foreign:,}")


def print_list(items: Sequence[DeadLetter | ForeignRecord]) -> None:
    """Print two lines for each record, cut at the width of the terminal: a summary and the error."""
    console = Console(highlight=False)
    width = max((len(str(item.position)) for item in items), default=0)
    for item in items:
        console.print(Text.assemble((f"{item.position!s:<{width}}  ", "bold"), _summarize(item)), **_ONE_LINE)
        error = item.reason if isinstance(item, ForeignRecord) else item.failure.message
        console.print(Text(" " * width + f"    {escape_control_characters(error, _MAX_ERROR_CHARACTERS)}"), **_ONE_LINE)


def _summarize(item: DeadLetter | ForeignRecord) -> str:
    if isinstance(item, ForeignRecord):
        return "no dead letter"
    failure = item.failure
    parts = [format_time(item.failed_at), failure.error_class.value]
    if failure.code is not None:
        parts.append(str(failure.code))
    if item.replays:
        parts.append(f"replayed {item.replays}x")
    parts.append("whole event" if item.metric is None else f"metric {_format_name(item.metric)}")
    if (agent := parse_agent_name(item)) is not None:
        parts.append(f"agent {_format_name(agent)}")
    return "  ".join(parts)


def _format_name(text: str) -> str:
    return escape_control_characters(text, _MAX_NAME_CHARACTERS) or "(empty)"


def print_in_full(letter: DeadLetter | ForeignRecord, settled: Settlement | bool) -> None:
    """Print everything about one record, and what to do about it if it is a dead letter."""
    console = Console(highlight=False)
    if isinstance(letter, ForeignRecord):
        console.print(Text(f"{letter.position} is no dead letter: {escape_control_characters(letter.reason)}"))
        if (how := _format_settled(settled)) is not None:
            console.print(Text(f"settled: {escape_control_characters(how)}"))
        _print_record(console, letter.record, letter.record.headers, "header")
        return
    advice = ADVICE[letter.failure.error_class]
    console.print(_facts_table(_facts_of(letter, settled)))
    console.print()
    console.print(
        _facts_table(
            {
                "what it means": advice.meaning,
                "what to do": advice.instructions,
                "to replay it": replay_command(select_one(letter.position)),
                "or all such": replay_command(select_cause(find_cause_id(letter))),
            }
        )
    )
    console.print()
    _print_record(console, letter.record, letter.source_headers, "header of the source")


def _facts_of(letter: DeadLetter, settled: Settlement | bool) -> dict[str, str | None]:
    failure = letter.failure
    topic, partition, offset = letter.source
    at = "without a timestamp" if letter.source_timestamp < 0 else f"{format_time(letter.source_timestamp)} UTC"
    return {
        "place": str(letter.position),
        "settled": _format_settled(settled),
        "cause": find_cause_id(letter),
        "class": failure.error_class.value,
        "error": failure.error_type + ("" if failure.code is None else f" (code {failure.code})"),
        "message": failure.message,
        "failed at": f"{format_time(letter.failed_at)} UTC",
        "metric": letter.metric,
        "agent": parse_agent_name(letter),
        "execution": letter.execution_id,
        "table": letter.table,
        "attempts": f"{letter.attempts} inserts, {letter.replays} replays",
        "isolated": None if failure.isolated else "no: refused together with other rows; it may be valid",
        "replaces": None if letter.replaces is None else f"{letter.replaces} of this topic",
        "part of": None if letter.part_of is None else f"{letter.part_of} of this topic",
        "edited": None if letter.edit is None else f"by {letter.edit.by}: {letter.edit.expression}",
        "original": None if letter.edit is None else f"{letter.edit.original} of this topic",
        "source": f"{topic}, partition {partition}, offset {offset}, {at}",
        "worker": letter.worker_version,
    }


def _format_settled(settled: Settlement | bool) -> str | None:
    if isinstance(settled, bool):
        return "another dead letter has replaced it" if settled else None
    reason = f": {settled.why}" if settled.why else ""
    return f"{settled.action.value} by {settled.by} at {format_time(settled.at)} UTC{reason}"


def print_history(operations: Sequence[Operation]) -> None:
    """Print two lines for each operation, and its outcome."""
    console = Console(highlight=False)
    for operation in operations:
        entry, outcome = operation.entry, "not ended"
        if entry.outcome is not None:
            outcome = ", ".join(f"{count:,} {name}" for name, count in entry.outcome.items() if count) or "nothing"
        line = f"{format_time(entry.at)}  {entry.action.value}  {operation.letters:,} dead letters  by {entry.by}"
        console.print(Text(escape_control_characters(line), style="bold"), soft_wrap=True)
        for detail in (entry.why, entry.edit, outcome, entry.command):
            if detail:
                console.print(Text(f"    {escape_control_characters(detail)}"), soft_wrap=True)


def _facts_table(facts: dict[str, str | None]) -> Table:
    """A grid of names and values, without the values that are None."""
    grid = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value is not None:
            # Text, because rich reads markup in a plain string.
            grid.add_row(Text(name, style="bold"), Text(escape_control_characters(value)))
    return grid


def _print_record(
    console: Console, record: Record, headers: Iterable[tuple[str, bytes | None]], header_title: str
) -> None:
    lines = [
        (f"{header_title}  {escape_control_characters(name, _MAX_HEADER_NAME_CHARACTERS)} = ", value, _MAX_HEADER_BYTES)
        for name, value in headers
    ]
    lines += [("key    ", record.key, _MAX_HEADER_BYTES), ("value  ", record.value, _MAX_VALUE_BYTES)]
    is_exact = True
    for title, value, max_bytes in lines:
        text = _NONE if value is None else escape_bytes(value, max_bytes)
        # soft_wrap: only the terminal wraps, so that a copied value contains no additional line breaks.
        console.print(Text(title + text), soft_wrap=True)
        is_exact &= value is None or text.encode() == value
    if not is_exact:
        console.print("not all bytes can be shown as they are: --json has them")


def _format_counted_value(dimension: str, value: str | None) -> Text:
    if value == "":
        return Text("(empty)", style="italic")
    if value is None:
        return Text(_NONE)
    return Text(escape_control_characters(format_time(int(value)) if dimension == "hour" else value))
