"""What the pages show, from a snapshot. It has no rules of its own about dead letters: those are in `dead_letters`."""

from collections import Counter
from collections.abc import Sequence
from time import time
from typing import NamedTuple

from worker.console.cause_order import CauseOrder
from worker.console.mask import Mask
from worker.console.page import Page
from worker.console.payload import Payload
from worker.console.plot import Plot, draw
from worker.console.snapshot import Snapshot
from worker.core.model import DeadLetterPosition, Headers, UnreadableRecord
from worker.dead_letters.advice import ADVICE, Advice
from worker.dead_letters.causes import FOREIGN, find_cause_id
from worker.dead_letters.command_lines import (
    CommandLine,
    discard_command,
    replay_command,
    restore_command,
    select_cause,
    select_one,
)
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.documents import Document, describe_in_full, describe_in_short
from worker.dead_letters.settlement import Settled, Settlement
from worker.dead_letters.statistics import CauseGroup
from worker.observability.open_dead_letters import WatchState

_MAX_HEADERS = 200
_MAX_HEADER_BYTES = 2_000


class Overview(NamedTuple):
    """The first page.

    Attributes:
        by_class: number of open dead letters by class, the most frequent first.
        oldest_failure, first_expiry: Unix time, as `WatchState` has it.
        retention_seconds: likewise.
        plot: how many were open over time; None if none was.
        uncounted: open dead letters of causes that are not counted separately.
    """

    total: int
    foreign: int
    by_class: Sequence[tuple[str, int]]
    oldest_failure: float | None
    first_expiry: float | None
    retention_seconds: float | None
    causes: Sequence[tuple[CauseGroup, Advice]]
    page: Page
    order: CauseOrder
    uncounted: int
    plot: Plot | None

    @property
    def expires_soon(self) -> bool:
        """Whether retention may delete a dead letter within a day."""
        return self.first_expiry is not None and self.first_expiry < time() + 86_400


def view_overview(state: WatchState, snapshot: Snapshot, page: Page, order: CauseOrder, mask: Mask) -> Overview:
    """The first page, with a page of the causes in an order."""
    found = state.open
    by_class = Counter[str]()
    for cause in found.causes if found else ():
        by_class[cause.error_class] += cause.open_count
    del by_class[FOREIGN]
    statistics = snapshot.statistics
    causes = order.sort(snapshot.causes)
    hours = snapshot.over_time.extend(round(state.last_check * 1000))
    return Overview(
        statistics.total,
        statistics.foreign,
        [(name, count) for name, count in by_class.most_common() if count],
        found.oldest_failure if found else None,
        state.first_expiry,
        state.retention_seconds,
        [(mask.mask_group(group), ADVICE[group.cause.error_class]) for group in causes[page.entries]],
        page,
        order,
        statistics.count_others(len(snapshot.causes)),
        draw(hours) if hours.highest else None,
    )


def commands_for_cause(cause: str) -> list[CommandLine]:
    """What settles the open dead letters of a cause."""
    selection = select_cause(cause)
    discard = CommandLine("Give all of them up", discard_command(selection))
    if cause == FOREIGN:
        return [discard]
    return [
        CommandLine("Show what a replay would do, and write nothing", f"{replay_command(selection)} --dry-run"),
        CommandLine("Replay all of them", replay_command(selection)),
        discard,
    ]


class LetterView(NamedTuple):
    """One record in full.

    Attributes:
        document: what `dlq show` prints.
        headers: name and value of those of the source record, of a foreign record its own; some of them.
        more_headers: how many others there are.
        is_masked: whether the reader may not see everything.
    """

    position: DeadLetterPosition
    document: Document
    failed_at: int | None
    is_foreign: bool
    cause: str
    settled: bool
    settlement: Settlement | None
    advice: Advice | None
    commands: Sequence[CommandLine]
    key: Payload | None
    value: Payload | None
    headers: Sequence[tuple[str, Payload | None]]
    more_headers: int
    is_masked: bool


def view_letter(item: DeadLetter | ForeignRecord, settled: Settled, mask: Mask) -> LetterView:
    """One record in full."""
    is_foreign = isinstance(item, ForeignRecord)
    record = item.record
    headers: Headers = record.headers if isinstance(item, ForeignRecord) else item.source_headers
    return LetterView(
        item.position,
        mask.mask_document(item, describe_in_full(item, settled)),
        None if isinstance(item, ForeignRecord) else item.failed_at,
        is_foreign,
        find_cause_id(item),
        bool(settled),
        None if isinstance(settled, bool) else mask.mask_settlement(settled),
        None if isinstance(item, ForeignRecord) else ADVICE[item.failure.error_class],
        commands_for_letter(item, settled),
        mask.present_key(record.key),
        mask.present_value(item),
        [(name, mask.present_header(item, name, value, _MAX_HEADER_BYTES)) for name, value in headers[:_MAX_HEADERS]],
        max(len(headers) - _MAX_HEADERS, 0),
        bool(mask.rules),
    )


def commands_for_letter(item: DeadLetter | ForeignRecord, settled: Settled) -> list[CommandLine]:
    """What settles one record, or reopens it; nothing does where another one has replaced it, or it is unreadable."""
    if isinstance(item.record, UnreadableRecord) or settled is True:
        return []
    selection = select_one(item.position)
    if not isinstance(settled, bool):
        return [CommandLine("Reopen it", restore_command(selection, settled.action))]
    commands = [CommandLine("Give it up", discard_command(selection))]
    if isinstance(item, DeadLetter):
        commands.insert(0, CommandLine("Replay it", replay_command(selection)))
    return commands


def summarize(item: DeadLetter | ForeignRecord, mask: Mask) -> Document:
    """A row of the list: small, whatever the size of the record."""
    document = mask.mask_document(item, describe_in_short(item))
    if isinstance(item, ForeignRecord):
        return {"place": item.position, "foreign": document["foreign"], "failed_at": None}
    return document | {"failed_at": item.failed_at, "foreign": None}
