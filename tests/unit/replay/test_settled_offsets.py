"""The settled offsets of a partition, compared with a dictionary, and their memory."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.replay.harness import ENTRY
from worker.dead_letters.settlement import UNIDENTIFIED, Action, OffsetRun
from worker.replay.settled_offsets import MAX_ENTRIES, JournalEntries, SettledOffsets

NEAR_A_CHUNK = st.integers(4_090, 4_105)


@given(
    st.sets(NEAR_A_CHUNK, min_size=1),
    st.lists(st.tuples(st.sampled_from(Action), NEAR_A_CHUNK, NEAR_A_CHUNK, st.booleans())),
    st.integers(0, 4_100),
)
def test_last_believed_settlement_decides(
    existing: set[int], settlements: list[tuple[Action, int, int, bool]], start: int
) -> None:
    existing = {offset for offset in existing if offset >= start}
    settled, expected = SettledOffsets(start, JournalEntries()), dict[int, Action]()
    for offset in sorted(existing):
        settled.add_record(offset, offset)
    for action, one, other, is_same in settlements:
        first, last = min(one, other), max(one, other)
        applied = settled.apply(ENTRY._replace(action=action, runs=(OffsetRun(first, last, last if is_same else 1),)))
        assert bool(applied) == (is_same and last in existing)
        if applied:
            expected |= dict.fromkeys(range(first, last + 1), action)
    settled.finish()
    left = [offset for offset in existing if settled.is_open(offset)]
    assert settled.open_offsets == (range(min(left), max(left) + 1) if left else range(0))
    for offset in existing:
        decided = expected.get(offset)
        found = settled.find(offset)
        assert (found and found.action) == (None if decided is Action.REOPENED else decided)
        assert settled.is_open(offset) == (found is None)


def test_record_that_cannot_be_identified_is_open() -> None:
    settled = SettledOffsets(0, JournalEntries())
    for offset, identity in ((3, UNIDENTIFIED), (4, 7), (5, UNIDENTIFIED), (9, UNIDENTIFIED), (10, 7)):
        settled.add_record(offset, identity)
    settled.apply(ENTRY._replace(runs=(OffsetRun(4, 4, 7), OffsetRun(9, 9, UNIDENTIFIED), OffsetRun(10, 10, 7))))
    settled.finish()
    assert settled.open_offsets == range(3, 10)
    assert settled.is_open(9)


def test_memory_depends_on_the_records_and_not_on_the_gaps_between_them() -> None:
    last = 2**60
    tracemalloc.start()
    settled = SettledOffsets(0, JournalEntries())
    for offset in (0, last):
        settled.add_record(offset, 1)
    settled.apply(ENTRY._replace(runs=(OffsetRun(0, last, 1),)))
    settled.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not settled.is_open(0)
    assert not settled.is_open(last)
    assert peak < 100_000


def test_only_so_many_entries_of_the_journal_are_kept() -> None:
    entries = JournalEntries()
    numbers = [entries.add(ENTRY._replace(operation=str(at), why="x" * at)) for at in range(MAX_ENTRIES + 10)]
    assert max(numbers) == MAX_ENTRIES
    kept, other = entries[numbers[0]], entries[numbers[-1]]
    assert kept == ENTRY._replace(operation="0", why="")
    assert other is not None
    assert (other.action, other.why) == (Action.REPLAYED, None)


def test_settlements_that_settle_nothing_take_no_place_of_those_that_do() -> None:
    settled = SettledOffsets(0, JournalEntries())
    settled.add_record(0, 1)
    for number in range(MAX_ENTRIES):
        settled.apply(ENTRY._replace(operation=str(number), runs=(OffsetRun(0, 0, 2),)))
    settled.apply(ENTRY._replace(operation="last", why="a typo", runs=(OffsetRun(0, 0, 1),)))
    found = settled.find(0)
    assert found is not None
    assert (found.operation, found.why) == ("last", "a typo")
