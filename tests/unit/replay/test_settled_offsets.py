"""The settled offsets of a partition, compared with a dictionary, and their memory."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.replay.harness import ENTRY
from worker.dead_letters.settlement import Action, Run
from worker.replay.settled_offsets import SettledOffsets

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
    settled, expected = SettledOffsets(start), dict[int, Action]()
    for offset in sorted(existing):
        settled.add_record(offset, offset)
    for action, one, other, is_same in settlements:
        first, last = min(one, other), max(one, other)
        applied = settled.apply(ENTRY._replace(action=action, runs=(Run(first, last, last if is_same else 1),)))
        assert bool(applied) == (is_same and last in existing)
        if applied:
            expected |= dict.fromkeys(range(first, last + 1), action)
    settled.finish()
    for offset in existing:
        decided = expected.get(offset)
        assert settled.find_action(offset) == (None if decided is Action.REOPENED else decided)


def test_memory_depends_on_the_records_and_not_on_the_gaps_between_them() -> None:
    last = 2**60
    tracemalloc.start()
    settled = SettledOffsets(0)
    for offset in (0, last):
        settled.add_record(offset, 1)
    settled.apply(ENTRY._replace(runs=(Run(0, last, 1),)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (settled.find_action(0), settled.find_action(last)) == (Action.REPLAYED, Action.REPLAYED)
    assert peak < 100_000
