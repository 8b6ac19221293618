"""Dead letters on a terminal. Everything that others wrote goes through `shown` first."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.letters.advice import ADVICE
from worker.letters.letter import Foreign, Letter
from worker.letters.shown import instant, shown, shown_bytes
from worker.letters.tally import Tally
from worker.letters.value import agent_of
from worker.model import Record

_VALUE_BYTES = 20_000
"""Of a value that are shown; all of it is in --json."""
_HEADER_BYTES = 500
_NONE = "-"
_TITLES = {
    "class": "class",
    "code": "ClickHouse code",
    "metric": "metric",
    "agent": "agent",
    "partition": "source partition",
    "hour": "hour (UTC)",
}


def print_statistics(tally: Tally, top: int) -> None:
    """A table for each kind, the most frequent value first."""
    console = Console(highlight=False)
    if tally.oldest is None or tally.newest is None:
        console.print("no dead letters")
    else:
        console.print(f"{tally.total:,} dead letters, from {instant(tally.oldest)} to {instant(tally.newest)} UTC")
        if tally.replayed:
            console.print(f"{tally.replayed:,} of them replayed before, at most {tally.most_replays} times")
        for kind, counted in tally.by.items():
            table = _table(Text(_TITLES[kind]), "count")
            for value, count in counted.most(top):
                table.add_row(_cell(instant(int(value)) if kind == "hour" else value or _NONE), f"{count:,}")
            if rest := counted.rest(top):
                table.add_row("others", f"{rest:,}")
            console.print(table)
    if tally.foreign:
        console.print(f"{tally.foreign:,} records on the topic are no dead letters")


def print_list(items: Iterable[Letter | Foreign]) -> None:
    """One row a letter."""
    table = _table("place", "failed at (UTC)", "class", "code", "metric", "agent", "source", "replays", "error")
    for item in items:
        if isinstance(item, Foreign):
            table.add_row(str(item.place), "", "no dead letter", "", "", "", "", "", _cell(item.reason, 80))
            continue
        failure = item.failure
        topic, partition, offset = item.source
        table.add_row(
            str(item.place),
            instant(item.failed_at),
            failure.error_class.value,
            _NONE if failure.code is None else str(failure.code),
            _cell(item.metric, 40),
            _cell(agent_of(item), 40),
            _cell(f"{topic}/{partition}/{offset}"),
            str(item.replays),
            _cell(failure.message, 80),
        )
    Console().print(table)


def print_letter(letter: Letter, *, settled: bool) -> None:
    """Everything about one."""
    console = Console(highlight=False)
    failure, advice = letter.failure, ADVICE[letter.failure.error_class]
    topic, partition, offset = letter.source
    facts = {
        "place": str(letter.place) + (" (settled: a replay has put it back or in another's place)" if settled else ""),
        "class": failure.error_class.value,
        "error": f"{failure.error_type}" + ("" if failure.code is None else f" (code {failure.code})"),
        "message": failure.message,
        "failed at": f"{instant(letter.failed_at)} UTC",
        "metric": letter.metric,
        "agent": agent_of(letter),
        "execution": letter.execution_id,
        "table": letter.table,
        "attempts": f"{letter.attempts} inserts, {letter.replays} replays",
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
    console.print(Text(f"\nwhat it means  {advice.meaning}\nwhat to do     {advice.to_do}\n"))
    _print_record(console, letter.record, letter.source_headers, "header of the source")


def print_foreign(item: Foreign) -> None:
    """What can be said of a record that is no dead letter."""
    console = Console(highlight=False)
    console.print(Text(f"{item.place} is no dead letter: {shown(item.reason)}"))
    _print_record(console, item.record, item.record.headers, "header")


def _print_record(console: Console, record: Record, headers: Iterable[tuple[str, bytes | None]], what: str) -> None:
    for name, value in headers:
        console.print(Text(f"{what}  {shown(name, 200)} = {_bytes(value, _HEADER_BYTES)}"))
    console.print(Text(f"key    {_bytes(record.key, _HEADER_BYTES)}"))
    console.print(Text(f"value  {_bytes(record.value, _VALUE_BYTES)}"))


def _source_time(letter: Letter) -> str:
    return "without a timestamp" if letter.source_timestamp < 0 else f"{instant(letter.source_timestamp)} UTC"


def _table(*columns: str | Text) -> Table:
    table = Table()
    for column in columns:
        table.add_column(column, justify="right" if column in ("count", "replays", "code") else "left", overflow="fold")
    return table


def _cell(text: str | None, longest: int | None = None) -> Text:
    # Text, because a plain string could hold rich's own markup.
    return Text(_NONE if text is None else shown(text, longest))


def _bytes(value: bytes | None, longest: int) -> str:
    return _NONE if value is None else shown_bytes(value, longest)
