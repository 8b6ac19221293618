"""Which blocks share an INSERT."""

import pytest

from tests.support.events import block_of, many_events, rows_of
from worker.events.block import SEVERAL_MONTHS, Block, merge_rare_months


def blocks_of(rows: list[int]) -> list[Block]:
    """Blocks with these numbers of rows, each of another month."""
    events = many_events(sum(rows))
    starts = [sum(rows[:number]) for number in range(len(rows))]
    parts = [events[start : start + count] for start, count in zip(starts, rows, strict=True)]
    return [block_of(part, ["m"], month) for month, part in enumerate(parts, 1)]


@pytest.mark.parametrize(
    ("rows", "merged"),
    [
        ([], []),
        ([5], [(1, 5)]),
        ([1_000, 2_000], [(1, 1_000), (2, 2_000)]),
        ([2_000, 999], [(1, 2_000), (2, 999)]),
        ([5, 2_000, 7], [(2, 2_000), (SEVERAL_MONTHS, 12)]),
        ([1] * 201, [(SEVERAL_MONTHS, 100), (SEVERAL_MONTHS, 100), (201, 1)]),
    ],
)
def test_months_of_less_than_a_thousand_rows_share_an_insert_of_at_most_100_months(
    rows: list[int], merged: list[tuple[int, int]]
) -> None:
    assert [(block.month, len(block)) for block in merge_rare_months(blocks_of(rows))] == merged


def test_shared_block_has_the_rows_of_each_month_and_a_token_of_its_own() -> None:
    blocks = blocks_of([3, 2])
    (shared,) = merge_rare_months(blocks)
    assert rows_of(shared) == [row for block in blocks for row in rows_of(block)]
    assert shared.deduplication_token() not in {block.deduplication_token() for block in blocks}
    (again,) = merge_rare_months(blocks_of([3, 2]))
    assert shared.deduplication_token() == again.deduplication_token()
