"""The hold of a replay."""

from worker.core.hold import Cause
from worker.replay.stop_conditions import WatchedHold


def test_reason_of_a_hold_is_kept_after_its_end() -> None:
    hold = WatchedHold()
    hold.enter(Cause.STORE, "connection refused")
    hold.leave(Cause.STORE)
    assert hold.entered.is_set()
    assert hold.description == "ClickHouse: connection refused"
