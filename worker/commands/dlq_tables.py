"""Dead letters on a terminal. Everything that others wrote goes through `escape_control_characters` first."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.core.escaping import escape_bytes, escape_control_characters, format_time
from worker.core.model import Record
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.letter import DeadLetter, ForeignRecord
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.dead_letters.value import agent_of

_VALUE_BYTES = 20_000
"""Of a value that are shown; all of it is in --json."""
_HEADER_BYTES = 500
_ERROR_CHARACTERS = 400
_NAME_CHARACTERS = 40
_ONE_LINE: Any = {"no_wrap": True, "overflow": "ellipsis", "crop": True}
_NONE = "-"
_TITLES = {
    "class": "class",
    "code": "ClickHouse code",
    "metric": "metric",
    "agent": "agent",
    "partition": "source partition",
    "hour": "hour (UTC)",
}


def print_statistics(tally: DeadLetterStatistics, top: int) -> None:
    """A table for each kind, the most frequent value first."""
    console = Console(highlight=False)
    if tally.oldest is None or tally.newest is None:
        console.print("no dead letters")
    else:
        console.print(
            f"{tally.total:,} dead letters, from {format_time(tally.oldest)} to {format_time(tally.newest)} UTC"
        )
        if tally.replayed:
            console.print(f"{tally.replayed:,} of them replayed before, at most {tally.most_replays} times")
        for kind, counted in tally.by.items():
            table = _table(Text(_TITLES[kind]), "count")
            for value, count in counted.most(top):
                table.add_row(_counted(kind, value), f"{count:,}")
            if rest := counted.rest(top):
                table.add_row("others", f"{rest:,}")
            console.print(table)
    if tally.foreign:
        console.print(f"records on the topic that are no dead letters: {tally.foreign:,}")


def print_list(items: Sequence[DeadLetter | ForeignRecord]) -> None:
    """Two lines a letter, each cut where the terminal ends: what it is, and the error."""
    console = Console(highlight=False)
    widest = max((len(str(item.place)) for item in items), default=0)
    for item in items:
        console.print(Text.assemble((f"{item.place!s:<{widest}}  ", "bold"), _in_short(item)), **_ONE_LINE)
        error = item.reason if isinstance(item, ForeignRecord) else item.failure.message
        console.print(Text(" " * widest + f"    {escape_control_characters(error, _ERROR_CHARACTERS)}"), **_ONE_LINE)


def _in_short(item: DeadLetter | ForeignRecord) -> Text:
    if isinstance(item, ForeignRecord):
        return Text("no dead letter")
    failure = item.failure
    parts = [format_time(item.failed_at), failure.error_class.value]
    if failure.code is not None:
        parts.append(str(failure.code))
    if item.replays:
        parts.append(f"replayed {item.replays}x")
    parts.append("whole event" if item.metric is None else f"metric {_name(item.metric)}")
    if (agent := agent_of(item)) is not None:
        parts.append(f"agent {_name(agent)}")
    return Text("  ".join(parts))


def _name(text: str) -> str:
    return escape_control_characters(text, _NAME_CHARACTERS) or "(empty)"


def print_letter(letter: DeadLetter, *, settled: bool) -> None:
    """Everything about one."""
    console = Console(highlight=False)
    failure = letter.failure
    topic, partition, offset = letter.source
    facts = {
        "place": str(letter.place) + (" (settled: a replay has put it back or in another's place)" if settled else ""),
        "class": failure.error_class.value,
        "error": f"{failure.error_type}" + ("" if failure.code is None else f" (code {failure.code})"),
        "message": failure.message,
        "failed at": f"{format_time(letter.failed_at)} UTC",
        "metric": letter.metric,
        "agent": agent_of(letter),
        "execution": letter.execution_id,
        "table": letter.table,
        "attempts": f"{letter.attempts} inserts, {letter.replays} replays",
        "isolated": None if failure.isolated else "no: refused together with other rows; it may be valid",
        "stands for": None if letter.replaces is None else f"{letter.replaces} of this topic",
        "part of": None if letter.part_of is None else f"{letter.part_of} of this topic",
        "source": f"{topic}, partition {partition}, offset {offset}, {_source_time(letter)}",
        "worker": letter.worker,
    }
    grid = Table.grid(padding=(0, 2))
    for name, fact in facts.items():
        if fact is not None:
            grid.add_row(Text(name, style="bold"), _cell(fact))
    console.print(grid)
    console.print()
    console.print(_advice(letter))
    console.print()
    _print_record(console, letter.record, letter.source_headers, "header of the source")


def _advice(letter: DeadLetter) -> Table:
    advice, place = ADVICE[letter.failure.error_class], letter.place
    grid = Table.grid(padding=(0, 2))
    grid.add_row(Text("what it means", style="bold"), Text(advice.meaning))
    grid.add_row(Text("what to do", style="bold"), Text(advice.to_do))
    command = f"metrics-worker replay --partition {place.partition} --offset {place.offset}"
    grid.add_row(Text("to replay it", style="bold"), Text(command))
    return grid


def print_foreign(item: ForeignRecord) -> None:
    """What can be said of a record that is no dead letter."""
    console = Console(highlight=False)
    console.print(Text(f"{item.place} is no dead letter: {escape_control_characters(item.reason)}"))
    _print_record(console, item.record, item.record.headers, "header")


def _print_record(console: Console, record: Record, headers: Iterable[tuple[str, bytes | None]], what: str) -> None:
    lines = [(f"{what}  {escape_control_characters(name, 200)} = ", value, _HEADER_BYTES) for name, value in headers]
    lines += [("key    ", record.key, _HEADER_BYTES), ("value  ", record.value, _VALUE_BYTES)]
    for name, value, longest in lines:
        # Soft: the terminal wraps, so that what is copied has no line breaks that are not in it.
        console.print(Text(name + _bytes(value, longest)), soft_wrap=True)
    if any(value is not None and _bytes(value, longest).encode() != value for _, value, longest in lines):
        console.print("not all bytes can be shown as they are: --json has them")


def _counted(kind: str, value: str | None) -> Text:
    if value == "":
        return Text("(empty)", style="italic")
    return _cell(format_time(int(value)) if kind == "hour" and value else value)


def _source_time(letter: DeadLetter) -> str:
    return "without a timestamp" if letter.source_timestamp < 0 else f"{format_time(letter.source_timestamp)} UTC"


def _table(*columns: str | Text) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, justify="right" if column in ("count", "replays", "code") else "left", overflow="fold")
    return table


def _cell(text: str | None, longest: int | None = None) -> Text:
    # Text, because a plain string could hold rich's own markup.
    return Text(_NONE if text is None else escape_control_characters(text, longest))


def _bytes(value: bytes | None, longest: int) -> str:
    return _NONE if value is None else escape_bytes(value, longest)
