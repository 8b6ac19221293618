"""What is done, and how much of it Kafka's short text can keep."""

import tracemalloc
import zlib
from base64 import b64encode
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.dead_letters.progress import ReplayProgress

offsets = st.integers(0, 300)


@given(offsets, st.sets(offsets))
def test_it_is_a_set_with_everything_before_the_first(first: int, added: set[int]) -> None:
    done = ReplayProgress(first)
    for offset in added:
        done.mark_done(offset)
    expected = {*range(first), *added}
    assert {offset for offset in range(400) if offset in done} == expected
    assert done.first_open == min(set(range(400)) - expected)
    assert {offset for offset in range(400) if offset in done} == expected, "to look at `first` changes nothing"


@given(offsets, st.lists(st.tuples(offsets, st.integers(0, 40))))
def test_ranges_are_the_offsets_in_them(first: int, ranges: list[tuple[int, int]]) -> None:
    done, expected = ReplayProgress(first), set(range(first))
    for start, length in ranges:
        done.mark_range_done(start, start + length)
        expected |= set(range(start, start + length))
    assert {offset for offset in range(400) if offset in done} == expected
    assert (done.first_open, done.end) == (min(set(range(400)) - expected), max(expected, default=-1) + 1)
    assert ReplayProgress.parse(done.first_open, done.encode()) == done


def test_an_offset_more_or_less_is_another_set() -> None:
    one, other = ReplayProgress(3), ReplayProgress(3)
    assert one == other
    other.mark_done(7)
    assert one != other
    one.mark_done(7)
    assert one == other != ReplayProgress.parse(3, "a text that is lost")


def test_what_retention_has_deleted_takes_no_memory() -> None:
    tracemalloc.start()
    done = ReplayProgress()
    done.mark_range_done(0, 10_000_000_000)
    done.mark_done(10_000_000_003)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000
    assert (done.first_open, done.done_runs()) == (10_000_000_000, [(10_000_000_003, 10_000_000_004)])


def test_a_text_that_claims_an_absurd_number_is_not_believed() -> None:
    absurd = b64encode(zlib.compress(b"1 999999999999999999")).decode()
    done = ReplayProgress.parse(5, f"1 {absurd}")
    assert (done.first_open, done.end, done.is_complete) == (5, 5, False)


@given(offsets, st.sets(offsets), offsets, st.sets(offsets))
def test_two_become_their_union(first: int, added: set[int], other_first: int, other_added: set[int]) -> None:
    one, other = ReplayProgress(first), ReplayProgress(other_first)
    for done, members in ((one, added), (other, other_added)):
        for offset in members:
            done.mark_done(offset)
    one.merge(other)
    assert {offset for offset in range(400) if offset in one} == {
        *range(first), *range(other_first), *added, *other_added,
    }  # fmt: skip


@given(offsets, st.sets(offsets))
def test_what_is_written_reads_back(first: int, added: set[int]) -> None:
    done = ReplayProgress(first)
    for offset in added:
        done.mark_done(offset)
    back = ReplayProgress.parse(done.first_open, done.encode())
    assert all((offset in back) == (offset in done) for offset in range(400))
    assert len(done.encode()) <= 4_096


def test_the_runs_of_an_outage_are_few_whatever_their_length() -> None:
    done = ReplayProgress()
    done.mark_range_done(1, 1_000_000)
    assert done.first_open == 0
    assert len(done.encode()) < 30
    back = ReplayProgress.parse(0, done.encode())
    assert (back.done_runs(), back.is_complete) == ([(1, 1_000_000)], True)


def test_what_does_not_fit_is_forgotten_from_the_end() -> None:
    done = ReplayProgress()
    random = Random(7)
    for offset in range(1, 100_000):
        if random.random() < 0.05:
            done.mark_done(offset)
    text = done.encode()
    assert 3_000 < len(text) <= 4_096
    kept = ReplayProgress.parse(0, text).done_runs()
    assert len(kept) > 1_000
    assert kept == done.done_runs()[: len(kept)]
    back = ReplayProgress.parse(0, text)
    assert (done.is_complete, back.is_complete, ReplayProgress.parse(0, back.encode()).is_complete) == (
        True,
        False,
        False,
    )
    back.mark_range_done(0, 100_000)
    assert back.is_complete, "what was forgotten lies before the first that is not done"
    assert back.encode() == "1 "


def test_nothing_beyond_is_a_short_text() -> None:
    assert (ReplayProgress(17).encode(), ReplayProgress(17).first_open) == ("1 ", 17)
    assert ReplayProgress.parse(17, "1 ").is_complete


@pytest.mark.parametrize("text", ["", "somebody else's", "1 !", "1 AAAA", "2 eJw=", "1+x "])
def test_of_a_text_that_cannot_be_read_it_is_known_that_it_is_lost(text: str) -> None:
    done = ReplayProgress.parse(5, text)
    assert (done.first_open, done.done_runs(), done.is_complete) == (5, [], False)


def test_a_range_before_the_first_that_is_not_done_changes_nothing() -> None:
    done = ReplayProgress(132)
    for start, stop in ((152, 192), (124, 164), (149, 189)):
        done.mark_range_done(start, stop)
    assert done.first_open == 192
