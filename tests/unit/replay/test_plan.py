"""The policy of a replay and its dry run; `test_replayer` tests what a plan counts before a replay."""

import pytest

from tests.support.events import event, record
from tests.support.fakes import MemoryStore
from tests.unit.replay.harness import TABLE, UNKNOWN_VERSION, failed_event, failed_metric, plan, replay, topic_of
from worker.commands.replay_report import summarize_preview
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent
from worker.dead_letters.dead_letter import EncodedDeadLetter
from worker.dead_letters.filters import DeadLetterFilter
from worker.replay.plan import ReplayPolicy
from worker.replay.report import report_preview, report_result


@pytest.mark.parametrize(("rate", "metrics"), [(0.5, 1), (7.9, 7), (10**9, 20_000), (None, 20_000)])
def test_batch_has_at_most_the_metrics_of_one_second(rate: float | None, metrics: int) -> None:
    assert ReplayPolicy(metrics_per_second=rate, max_metrics=20_000).batch_metrics == metrics


async def test_dry_run_counts_what_this_version_would_accept_and_refuse() -> None:
    not_json = FailedEvent(record(b"{", offset=1), UNKNOWN_VERSION)
    topic = await topic_of(failed_event("m"), not_json, failed_metric("valid"), failed_metric("n" * 300))
    topic.keep(EncodedDeadLetter(None, b"damaged", topic.records[0][2].headers, 0))
    found = await plan(topic, ReplayPolicy(), dry_run=True)
    assert found.accepted == {ErrorClass.INVALID_EVENT: 1, ErrorClass.STORE_UNAVAILABLE: 1}
    assert found.refused == {
        (ErrorClass.INVALID_EVENT, "InvalidJSON"): 1,
        (ErrorClass.STORE_UNAVAILABLE, "InvalidName"): 1,
        (ErrorClass.STORE_UNAVAILABLE, "InvalidDeadLetter"): 1,
    }
    report = report_preview(found)
    assert (report["dry_run"], report["remaining"]) == (True, 3)


async def test_dead_letter_of_which_everything_would_be_refused_is_left_if_the_policy_says_so() -> None:
    metrics = {"bad": float("nan"), "good": 1}
    bad_and_good = FailedEvent(record(event(metrics=metrics), offset=2), UNKNOWN_VERSION)
    topic = await topic_of(failed_metric("n" * 300), failed_metric("valid"), bad_and_good)

    result = await replay(topic, store := MemoryStore(), ReplayPolicy(leaves_refused=True, limit=2))
    assert sorted(row.metric_type for row in store.table) == ["good", "valid"], (
        "what is left does not count for a limit"
    )
    assert report_result(result)["classes"]["store_unavailable"]["left"] == {
        "refused again, left alone (--refused): InvalidName": 1
    }
    assert result.failed_as == {ErrorClass.INVALID_METRIC: 1}, "the bad metric of the event"

    letters = len(topic.letters_of(0))
    again = await replay(topic, store, ReplayPolicy(leaves_refused=True))
    assert (again.written.total(), again.failed_again.total(), again.remaining) == (0, 0, 2)
    assert len(topic.letters_of(0)) == letters, "it has grown by no dead letter"
    assert (await replay(topic, store, ReplayPolicy())).failed_again.total() == 2


async def test_foreign_records_are_counted_only_if_everything_is_selected() -> None:
    topic = await topic_of(failed_metric("m"))
    topic.keep(EncodedDeadLetter(None, b"", (), 0))
    assert (await plan(topic, ReplayPolicy())).foreign == 1
    some = DeadLetterFilter(metrics=frozenset({"m"}))
    assert (await plan(topic, ReplayPolicy(some))).foreign == 0


async def test_dead_letters_of_another_table_are_left_alone() -> None:
    topic = await topic_of(failed_metric("m"))
    policy = ReplayPolicy(table="other.table")
    found = await plan(topic, policy)
    assert (found.chosen.total(), found.remaining) == (0, 1)
    assert any("meant for default.execution_metrics" in line for line in summarize_preview(found, "other.table"))
    store = MemoryStore()
    report = report_result(await replay(topic, store, policy))
    assert (store.table, report["other_tables"], report["remaining"]) == ([], {"default.execution_metrics": 1}, 1)
    assert (await plan(topic, ReplayPolicy(table=TABLE))).chosen.total() == 1
    assert (await plan(topic, ReplayPolicy())).chosen.total() == 1, "--any-table"


async def test_tables_of_hostile_dead_letters_are_counted_together() -> None:
    topic = await topic_of(failed_metric("m"))
    letter = topic.records[0][0]
    for number in range(100):
        headers = [(name, b"%d" % number if name == "dlq.table" else value) for name, value in letter.headers]
        topic.keep(EncodedDeadLetter(None, letter.value or b"", headers, 0))
    found = await plan(topic, ReplayPolicy(table=TABLE))
    assert (found.chosen.total(), found.remaining, found.other_tables["other tables"]) == (1, 100, 80)
    assert len(found.other_tables) == 21
