"""Holding: reasons by cause, for readers on other threads, and in the log."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from worker.core.hold import Cause, Hold


def test_hold_is_active_until_every_cause_has_left() -> None:
    hold = Hold()
    assert not hold.is_active
    hold.enter(Cause.STORE, "connection refused")
    hold.leave(Cause.DEAD_LETTERS)  # it does not hold for that
    hold.enter(Cause.STORE, "table is missing")
    hold.enter(Cause.DEAD_LETTERS, "not acknowledged")
    assert hold.reasons == {Cause.STORE: "table is missing", Cause.DEAD_LETTERS: "not acknowledged"}
    hold.leave(Cause.STORE)
    assert hold.reasons == {Cause.DEAD_LETTERS: "not acknowledged"}
    hold.leave(Cause.DEAD_LETTERS)
    assert hold.reasons == {}


def test_doubt_about_the_store_outlasts_a_hold_for_dead_letters() -> None:
    hold = Hold()
    hold.enter(Cause.STORE, "unclassified", in_doubt=True)
    hold.enter(Cause.DEAD_LETTERS, "not acknowledged")
    hold.leave(Cause.DEAD_LETTERS)
    assert hold.is_in_doubt


@pytest.mark.parametrize("end", [Hold.leave, lambda hold, cause: hold.enter(cause, "connection refused")])
def test_doubt_ends_with_its_reason(end: Callable[[Hold, Cause], None]) -> None:
    hold = Hold()
    hold.enter(Cause.STORE, "unclassified", in_doubt=True)
    end(hold, Cause.STORE)
    assert not hold.is_in_doubt


def test_reasons_can_be_iterated_while_one_leaves() -> None:
    hold = Hold()
    hold.enter(Cause.STORE, "connection refused")
    hold.enter(Cause.DEAD_LETTERS, "not acknowledged")
    seen = {}
    for cause, reason in hold.reasons.items():  # as the thread of the health endpoint does
        hold.leave(Cause.STORE)
        seen[cause] = reason
    assert seen == {Cause.STORE: "connection refused", Cause.DEAD_LETTERS: "not acknowledged"}


def test_begin_change_and_end_of_a_reason_are_logged_once() -> None:
    hold = Hold()
    with capture_logs() as logs:
        for reason in ("connection refused", "connection refused", "table is missing"):
            hold.enter(Cause.STORE, reason)
        hold.enter(Cause.DEAD_LETTERS, "not acknowledged")
        hold.leave(Cause.STORE)
        hold.leave(Cause.STORE)
    assert [(entry["log_level"], entry["cause"], entry.get("reason")) for entry in logs] == [
        ("error", "store", "connection refused"),
        ("warning", "store", "table is missing"),
        ("error", "dead_letters", "not acknowledged"),
        ("info", "store", None),
    ]
    assert logs[-1]["still_holding"] == ["dead_letters"]
