"""Holding: by cause, with the reason."""

import pytest

from worker.hold import Cause, Hold


def test_nothing_holds_at_first() -> None:
    hold = Hold()
    assert not hold.active
    assert hold.reasons == {}


def test_each_cause_holds_until_it_leaves() -> None:
    hold = Hold()
    hold.enter(Cause.STORE, "connection refused")
    hold.enter(Cause.DEAD_LETTERS, "not acknowledged")
    assert hold.reasons == {Cause.STORE: "connection refused", Cause.DEAD_LETTERS: "not acknowledged"}
    hold.leave(Cause.STORE)
    assert hold.active
    hold.leave(Cause.DEAD_LETTERS)
    assert not hold.active


def test_the_last_reason_of_a_cause_counts() -> None:
    hold = Hold()
    hold.enter(Cause.STORE, "connection refused")
    hold.enter(Cause.STORE, "table is missing")
    assert hold.reasons == {Cause.STORE: "table is missing"}
    hold.leave(Cause.STORE)
    assert not hold.active


def test_leaving_what_does_not_hold_changes_nothing() -> None:
    hold = Hold()
    hold.enter(Cause.STORE, "connection refused")
    hold.leave(Cause.DEAD_LETTERS)
    assert hold.reasons == {Cause.STORE: "connection refused"}


def test_readers_cannot_change_the_reasons() -> None:
    reasons = Hold().reasons
    with pytest.raises(TypeError):
        reasons[Cause.STORE] = "x"  # type: ignore[index]  # that is the point


def test_readers_are_not_disturbed_when_a_reason_goes() -> None:
    hold = Hold()
    hold.enter(Cause.STORE, "connection refused")
    hold.enter(Cause.DEAD_LETTERS, "not acknowledged")
    seen = {}
    for cause, reason in hold.reasons.items():  # as a thread does that is asked for the status
        hold.leave(Cause.STORE)
        seen[cause] = reason
    assert seen == {Cause.STORE: "connection refused", Cause.DEAD_LETTERS: "not acknowledged"}
