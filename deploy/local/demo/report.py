"""The report for people: what happened, the books, an example of each dead letter, a few rows, how fast it went."""

from __future__ import annotations

import os
import re
from textwrap import shorten
from typing import TYPE_CHECKING

from rich import box
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from deploy.local.demo.table import VIEW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType

    from deploy.local.demo.books import Letter
    from deploy.local.demo.outcome import Outcome
    from deploy.local.demo.table import SampleRow

MAX_WIDTH = 96
_WORDS = 160
_PROOF = 24
_TABLE_UUID = re.compile(r" \([0-9a-f]{8}-[0-9a-f-]{27}\)")
_HOW = (
    "Read back without asking the worker: every row with its value, every dead letter with its class and content. "
    "Only what was skipped is the worker's own count, compared by type."
)


def show(outcome: Outcome, console: Console) -> None:
    """Print the report, no wider than a page is comfortable to read."""
    console.width = min(console.width, MAX_WIDTH)
    for part in _parts(outcome):
        console.print(part, highlight=False)


def _parts(outcome: Outcome) -> Iterator[RenderableType]:
    yield Rule("Execution metrics: the worker on real input", style="bold")
    yield _story(outcome)
    yield _books(outcome)
    yield _verdict(outcome)
    if outcome.dead_letters:
        yield _dead_letters(outcome)
    if outcome.sample:
        yield _rows(outcome.sample)
    yield _speed(outcome)


def _story(outcome: Outcome) -> str:
    sources = outcome.sources
    if sources.file is not None:
        told = f"The {outcome.records:,} lines of {sources.file} went onto the topic, byte for byte."
    else:
        ordinary = outcome.records - sources.careless
        told = (
            f"{sources.measured} real executions were measured on this machine and replayed as {ordinary:,} events: "
            f"the first {sources.measured} as measured, the rest with new ids and later times. Among them are "
            f"{sources.careless:,} records of careless or unusual producers."
        )
    if sources.too_large:
        told += f" {sources.too_large:,} more were larger than the topic allows, and were not sent."
    return f"\n{told}"


def _books(outcome: Outcome) -> Table:
    table = _table("The books")
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_column("what they are", style="dim")

    def add(what: str, count: int, where: str, style: str = "") -> None:
        table.add_row(what, f"{count:,}", where, style=style)

    add("records", outcome.records, "sent, and acknowledged by the topic", "bold")
    add("  events", outcome.events, "that the contract accepts")
    add("  unreadable", outcome.unreadable, "no events by the contract; dead letters as a whole")
    add("  tombstones", outcome.tombstones, "records without a value, skipped")
    add("metrics", outcome.metrics, "in those events", "bold")
    add("  rows", outcome.rows, f"{VIEW}, {outcome.executions:,} executions")
    if outcome.replaced:
        add("  replaced", outcome.replaced, "by a later event of the same execution")
    add("  dead letters", outcome.letters, "one each on the dead-letter topic")
    add("  skipped", sum(outcome.skipped.values()), f"no numbers: {_by_type(outcome)}")
    differences = outcome.differences
    for what, count, where in (
        ("lost", differences.lost, "found nowhere"),
        ("duplicates", differences.duplicates, "found more than once"),
        ("wrong", differences.wrong, "another value or class, or never sent"),
    ):
        add(what, count, where, "bold red" if count else "")
    return table


def _by_type(outcome: Outcome) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(outcome.skipped.items())) or "none"


def _verdict(outcome: Outcome) -> Text:
    differences = outcome.differences
    counts = f"{differences.lost:,} lost, {differences.duplicates:,} duplicates"
    if outcome.balanced:
        text = Text(f"✔ books balance: {counts}", style="bold green")
        text.append(f"\n{_HOW}", style="not bold dim")
    else:
        text = Text(f"✘ books do not balance: {counts}, {differences.wrong:,} wrong", style="bold red")
        for example in differences.examples:
            text.append(f"\n  {shorten(example, 2 * _WORDS, placeholder='…')}", style="not bold")
    for problem in _problems(outcome):
        text.append(f"\n✘ {problem}", style="bold red")
    return text


def _problems(outcome: Outcome) -> Iterator[str]:
    if outcome.uncommitted:
        yield f"{outcome.uncommitted:,} records are not committed by the worker: they would come again"
    if outcome.exit_code is None:
        yield "the worker did not end after SIGTERM, and was killed"
    elif outcome.exit_code:
        yield f"the worker ended with exit code {outcome.exit_code}"


def _dead_letters(outcome: Outcome) -> Table:
    table = _table("Dead letters, with an example of each class")
    table.add_column("class", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("example")
    for name, (count, letter) in outcome.dead_letters.items():
        table.add_row(name, f"{count:,}", _example(letter))
    return table


def _example(letter: Letter) -> Text:
    what = "the whole record" if letter.metric is None else f"{letter.metric or '(no name)'} = {letter.proof[:_PROOF]}"
    error = letter.error_type if letter.code is None else f"{letter.error_type} ({letter.code})"
    text = Text(f"{_printable(what)}, {error}")
    text.append(f"\n{shorten(_printable(_TABLE_UUID.sub('', letter.message)), _WORDS, placeholder='…')}", style="dim")
    return text


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _rows(sample: Sequence[SampleRow]) -> Table:
    table = _table(f"A few rows of {VIEW}")
    for name, widest in (("agent", 14), ("execution", 9), ("metric", 20)):
        table.add_column(name, no_wrap=True, max_width=widest)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("completed at (UTC)", no_wrap=True)
    table.add_column("record", no_wrap=True)
    for row in sample:
        completed_at = f"{row.completed_at:%Y-%m-%d %H:%M}"
        cells = row.agent, row.execution[:8], row.metric, f"{row.value:,.6g}", completed_at, row.record
        table.add_row(*map(_printable, cells))
    return table


def _speed(outcome: Outcome) -> Text:
    if not outcome.seconds:
        return Text("\nNothing was settled, so there is no speed to tell.")
    text = Text(f"\n{outcome.events_per_second:,.0f} events a second", style="bold")
    text.append(
        f", {outcome.metrics / outcome.seconds:,.0f} metrics a second: {outcome.records:,} waiting records in "
        f"{outcome.seconds:.2f} s, from the worker's readiness (/readyz) to the last settled metric. Broker, "
        f"ClickHouse engine and worker shared the {len(os.sched_getaffinity(0))} CPUs of this machine.",
        style="not bold",
    )
    return text


def _table(title: str) -> Table:
    return Table(
        title=f"\n{title}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
