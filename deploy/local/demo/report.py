"""The report for people: what was sent, the accounting, an example of each dead letter, a few rows, the speed."""

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

    from deploy.local.demo.dead_letters import FoundDeadLetter
    from deploy.local.demo.result import DemoResult
    from deploy.local.demo.table import SampleRow

MAX_WIDTH = 96
_WORDS = 160
_CONTENT = 24
_TABLE_UUID = re.compile(r" \([0-9a-f]{8}-[0-9a-f-]{27}\)")
_HOW = (
    "Compared without the worker: every column of every row, and all of every dead letter. "
    "Only for what is skipped the worker's own counts are compared, by type and reason."
)


def print_report(result: DemoResult, console: Console) -> None:
    """Print the report, at most `MAX_WIDTH` wide."""
    console.width = min(console.width, MAX_WIDTH)
    for part in _parts(result):
        console.print(part, highlight=False)


def _parts(result: DemoResult) -> Iterator[RenderableType]:
    yield Rule("Execution metrics: the worker on real input", style="bold")
    yield _describe_input(result)
    yield _build_accounting(result)
    yield _verdict(result)
    if result.found.dead_letters:
        yield _dead_letters(result)
    if result.found.sample:
        yield _rows(result.found.sample)
    yield _speed(result)


def _describe_input(result: DemoResult) -> str:
    sources = result.sources
    if sources.file is not None:
        text = f"The {result.sent.records:,} lines of {sources.file} went onto the topic, byte for byte."
    else:
        ordinary = result.sent.records - sources.careless
        text = (
            f"{sources.measured} real executions were measured on this machine and replayed as {ordinary:,} events: "
            f"the first {sources.measured} as measured, the rest with new ids and later times. Among them are "
            f"{sources.careless:,} records of careless or unusual producers."
        )
    if sources.too_large:
        text += f" {sources.too_large:,} more were larger than the topic allows, and were not sent."
    return f"\n{text}"


def _build_accounting(result: DemoResult) -> Table:
    table = _table("Accounting")
    table.add_column("")
    table.add_column("count", justify="right")
    table.add_column("what they are", style="dim")

    def add(what: str, count: int, where: str, style: str = "") -> None:
        table.add_row(what, f"{count:,}", where, style=style)

    add("records", result.sent.records, "sent and acknowledged", "bold")
    add("  events", result.sent.events, "valid by the contract")
    add("  unreadable", result.sent.unreadable, "invalid by the contract; dead-lettered whole")
    add("  tombstones", result.sent.tombstones, "records without a value, skipped")
    add("metrics", result.sent.metrics, "in those events", "bold")
    add("  rows", result.found.counts.rows_in_view, f"{VIEW}, {result.found.counts.executions:,} executions")
    if result.found.replaced:
        add("  replaced", result.found.replaced, "by a later event of the same execution")
    add("  dead letters", result.found.letters, "one for each metric")
    add("  skipped", sum(result.progress.skipped.values()), f"no numbers: {_by_type(result)}")
    differences = result.found.differences
    for what, count, where in (
        ("lost", differences.lost, "found nowhere"),
        ("duplicates", differences.duplicates, "found more than once"),
        ("wrong", differences.wrong, "another value or class, or never sent"),
    ):
        add(what, count, where, "bold red" if count else "")
    return table


def _by_type(result: DemoResult) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in sorted(result.progress.skipped.items())) or "none"


def _verdict(result: DemoResult) -> Text:
    differences = result.found.differences
    counts = f"{differences.lost:,} lost, {differences.duplicates:,} duplicates"
    if result.balanced:
        text = Text(f"✔ everything accounted for: {counts}", style="bold green")
        text.append(f"\n{_HOW}", style="not bold dim")
    else:
        text = Text(f"✘ not everything is accounted for: {counts}, {differences.wrong:,} wrong", style="bold red")
        for example in differences.examples:
            text.append(f"\n  {shorten(example, 2 * _WORDS, placeholder='…')}", style="not bold")
    for problem in _problems(result):
        text.append(f"\n✘ {problem}", style="bold red")
    return text


def _problems(result: DemoResult) -> Iterator[str]:
    if result.found.uncommitted:
        yield f"{result.found.uncommitted:,} records are not committed by the worker: they would be read again"
    if result.exit_code is None:
        yield "the worker did not end after SIGTERM, and was killed"
    elif result.exit_code:
        yield f"the worker ended with exit code {result.exit_code}"


def _dead_letters(result: DemoResult) -> Table:
    table = _table("Dead letters, with an example of each class")
    table.add_column("class", no_wrap=True)
    table.add_column("count", justify="right")
    table.add_column("example")
    for name, (count, letter) in result.found.dead_letters.items():
        table.add_row(name, f"{count:,}", _example(letter))
    return table


def _example(letter: FoundDeadLetter) -> Text:
    what = (
        "the whole record" if letter.metric is None else f"{letter.metric or '(no name)'} = {letter.content[:_CONTENT]}"
    )
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


def _speed(result: DemoResult) -> Text:
    seconds, sent = result.progress.seconds, result.sent
    if not seconds:
        return Text("\nNothing was settled.")
    text = Text(f"\n{result.events_per_second:,.0f} events a second", style="bold")
    text.append(
        f", {sent.metrics / seconds:,.0f} metrics a second: {sent.records:,} waiting records in "
        f"{seconds:.2f} s, from the worker's readiness (/readyz) to the last settled metric. Broker, "
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
