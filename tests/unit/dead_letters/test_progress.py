"""The progress of replays is a set of offsets, and as much of it as fits is stored in Kafka's short text."""

import tracemalloc
import zlib
from base64 import b64encode
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.dead_letters.progress import ReplayProgress

offsets = st.integers(0, 300)
offset_sets = st.sets(offsets)


def build(first: int, added: set[int]) -> ReplayProgress:
    progress = ReplayProgress(first)
    for offset in added:
        progress.mark_done(offset)
    return progress


def content(progress: ReplayProgress) -> set[int]:
    return {offset for offset in range(400) if offset in progress}


@given(offsets, offset_sets)
def test_contains_the_added_offsets_and_all_before_the_first(first: int, added: set[int]) -> None:
    progress = build(first, added)
    expected = {*range(first), *added}
    assert content(progress) == expected
    assert progress.first_open == min(set(range(400)) - expected)
    assert content(progress) == expected, "reading first_open changes nothing"
    assert content(ReplayProgress.parse(progress.first_open, progress.encode())) == expected


@given(offsets, st.lists(st.tuples(offsets, st.integers(0, 40))))
@example(132, [(152, 40), (124, 40), (149, 40)])  # before and around the first open offset
def test_range_adds_every_offset_in_it(first: int, ranges: list[tuple[int, int]]) -> None:
    progress, expected = ReplayProgress(first), set(range(first))
    for start, length in ranges:
        progress.mark_range_done(start, start + length)
        expected |= set(range(start, start + length))
    assert content(progress) == expected
    assert (progress.first_open, progress.end) == (min(set(range(400)) - expected), max(expected, default=-1) + 1)
    assert ReplayProgress.parse(progress.first_open, progress.encode()) == progress


@given(offsets, offset_sets, offsets, offset_sets)
def test_merge_is_the_union(first: int, added: set[int], other_first: int, other_added: set[int]) -> None:
    progress = build(first, added)
    progress.merge(build(other_first, other_added))
    assert content(progress) == {*range(first), *range(other_first), *added, *other_added}


def test_progress_is_equal_only_with_the_same_offsets_and_the_same_forgotten_ones() -> None:
    assert ReplayProgress(3) == ReplayProgress(3)
    assert ReplayProgress(3) != build(3, {7})
    assert build(3, {7}) == build(3, {7}) != ReplayProgress.parse(3, "a text that is lost")


def test_a_range_of_ten_billion_offsets_takes_no_memory() -> None:
    tracemalloc.start()
    progress = ReplayProgress()
    progress.mark_range_done(0, 10_000_000_000)
    progress.mark_done(10_000_000_003)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert (progress.first_open, progress.done_runs()) == (10_000_000_000, [(10_000_000_003, 10_000_000_004)])


def test_text_without_gaps_is_short() -> None:
    assert (ReplayProgress(17).encode(), ReplayProgress(17).first_open) == ("1 ", 17)
    assert not ReplayProgress.parse(17, "1 ").has_forgotten


def test_text_of_one_long_run_is_short() -> None:
    progress = ReplayProgress()
    progress.mark_range_done(1, 1_000_000)
    assert progress.first_open == 0
    assert len(progress.encode()) < 30
    parsed = ReplayProgress.parse(0, progress.encode())
    assert (parsed.done_runs(), parsed.has_forgotten) == ([(1, 1_000_000)], False)


def test_runs_that_do_not_fit_the_text_are_forgotten_from_the_end() -> None:
    random = Random(7)
    progress = build(0, {offset for offset in range(1, 100_000) if random.random() < 0.05})
    text = progress.encode()
    assert 3_000 < len(text) <= 4_096
    parsed = ReplayProgress.parse(0, text)
    kept = parsed.done_runs()
    assert len(kept) > 1_000
    assert kept == progress.done_runs()[: len(kept)]
    again = ReplayProgress.parse(0, parsed.encode())
    assert (progress.has_forgotten, parsed.has_forgotten, again.has_forgotten) == (False, True, True)
    parsed.mark_range_done(0, 100_000)
    assert not parsed.has_forgotten, "what was forgotten is before the first open offset"
    assert parsed.encode() == "1 "


@pytest.mark.parametrize(
    "text",
    [
        *("", "another program's", "1 !", "1 AAAA", "2 eJw=", "1+x "),
        pytest.param(f"1 {b64encode(zlib.compress(b'1 999999999999999999')).decode()}", id="absurd run"),
    ],
)
def test_text_that_cannot_be_parsed_counts_as_forgotten(text: str) -> None:
    progress = ReplayProgress.parse(5, text)
    assert (progress.first_open, progress.done_runs(), progress.end, progress.has_forgotten) == (5, [], 5, True)
