"""Actions from the form to what they leave in the topic and in the table."""

import asyncio
import sys

import pytest

from tests.support.console import AWAY, ConsoleHarness, Fields, parse_page, texts
from tests.support.events import event, record
from tests.support.fakes import UNAVAILABLE as STORE_UNAVAILABLE
from tests.support.fakes import MemoryStore, MemoryTopic
from tests.unit.replay.harness import REFUSED, UNKNOWN_VERSION, count_open, failed_metric, topic_of
from worker.console.actions.actions import MAX_ACTIVE
from worker.console.identity import Identity, Role
from worker.core.model import FailedEvent
from worker.dead_letters.settlement import Settlement, find_settlement

EDITOR, OPERATOR = Identity("edna", Role.EDITOR), Identity("otto", Role.OPERATOR)
REPLAY: dict[str, str | list[str]] = {"do": "replay"}
DISCARD: dict[str, str | list[str]] = {"do": "discard", "reason": "wrong unit"}


async def open_console(
    topic: MemoryTopic, identity: Identity = EDITOR, store: MemoryStore | None = None
) -> ConsoleHarness:
    harness = ConsoleHarness(topic, identity=identity, store=store)
    await harness.check()
    return harness


async def find_causes(harness: ConsoleHarness) -> list[str]:
    """The causes of the overview, the latest first."""
    links = [link.get("href") or "" for link in parse_page((await harness.request("/")).text).iter("a")]
    return list(dict.fromkeys(link[8:] for link in links if link.startswith("/causes/")))


async def preview(harness: ConsoleHarness, fields: Fields) -> str:
    """The path of an action whose preview is done."""
    answer = await harness.post("/actions", fields)
    assert answer.status_code == 303, texts(parse_page(answer.text))
    return str(answer.headers["location"])


async def read(harness: ConsoleHarness, path: str) -> str:
    answer = await harness.request(path)
    assert answer.status_code == 200, answer.text
    return texts(parse_page(answer.text))


async def start(harness: ConsoleHarness, path: str) -> str:
    """Confirm an action; its page after that."""
    assert (await harness.post(f"{path}/start", {})).status_code == 303
    return await read(harness, path)


def journal(topic: MemoryTopic) -> list[Settlement]:
    found = [find_settlement(record) for records in topic.records for record in records]
    return [settlement for settlement in found if settlement is not None]


async def test_replay_of_a_cause_is_checked_then_confirmed_then_rows() -> None:
    topic = await topic_of(*[failed_metric(f"m{number}") for number in range(5)], failed_metric("other", REFUSED))
    harness = await open_console(topic, OPERATOR)
    cause = (await find_causes(harness))[1]
    form = await read(harness, f"/actions/new?do=replay&cause={cause}")
    assert "5 open" in form
    path = await preview(harness, REPLAY | {"cause": cause, "reason": "it is back"})
    page = await read(harness, path)
    assert "Nothing was written yet" in page
    assert "store_unavailable 5 5 0" in page
    assert "Replay: 5" in page
    assert not harness.store.table
    assert not journal(topic)
    page = await start(harness, path)
    assert "Done." in page
    assert "store_unavailable 5 5 0" in page
    assert {row.metric_type for row in harness.store.table} == {f"m{number}" for number in range(5)}
    assert await count_open(topic) == 1
    entries = journal(topic)
    assert {(each.by, each.why, each.operation) for each in entries} == {("otto", "it is back", path[9:])}
    assert entries[-1].outcome == {"written": 5, "failed_again": 0, "not_replayable": 0}
    assert f"Replay cause {cause} done" in await read(harness, "/actions")


async def test_selected_dead_letters_only_are_replayed() -> None:
    topic = await topic_of(*[failed_metric(f"m{number}") for number in range(5)])
    harness = await open_console(topic, OPERATOR)
    path = await preview(harness, REPLAY | {"letter": ["0:1", "0:3"]})
    await start(harness, path)
    assert {row.metric_type for row in harness.store.table} == {"m1", "m3"}


async def test_what_fails_again_is_listed_with_its_place_and_reason() -> None:
    topic = await topic_of(failed_metric("good"), failed_metric("bad"), failed_metric("n" * 300))
    store = MemoryStore(refuses=lambda row: row.metric == "bad")
    harness = await open_console(topic, OPERATOR, store)
    path = await preview(harness, REPLAY | {"letter": ["0:0", "0:1", "0:2"]})
    assert "would be refused: InvalidName" in await read(harness, path)
    page = await start(harness, path)
    assert "store_unavailable 3 1 2" in page
    assert "0:1 a new dead letter VIOLATED_CONSTRAINT: constraint is violated" in page
    assert "0:2 a new dead letter InvalidName" in page


async def test_check_does_not_promise_that_a_refused_row_is_accepted() -> None:
    harness = await open_console(await topic_of(failed_metric("a", REFUSED), failed_metric("b")))
    note = "shows only when they are sent"
    assert note in await read(harness, await preview(harness, REPLAY | {"letter": "0:0"}))
    assert note not in await read(harness, await preview(harness, REPLAY | {"letter": "0:1"}))


async def test_edit_shows_before_and_after_and_writes_the_edited_event() -> None:
    topic = await topic_of(failed_metric("seconds"))
    harness = await open_console(topic)
    fields = {"do": "edit", "letter": "0:0", "expression": ".metrics.seconds = 7", "reason": "typo"}
    path = await preview(harness, fields)
    page = await read(harness, path)
    before, after = page.partition(" After ")[::2]
    assert '"seconds": 1' in before
    assert '"seconds": 7' in after
    assert not harness.store.table
    await start(harness, path)
    assert [row.metric_value for row in harness.store.table] == [7.0]
    (edited,) = {(each.action, each.by, each.edit) for each in journal(topic)}
    assert edited == ("edited", "edna", ".metrics.seconds = 7")


async def test_edit_with_an_expression_that_is_none_says_so() -> None:
    harness = await open_console(await topic_of(failed_metric("seconds")))
    fields = {"do": "edit", "letter": "0:0", "expression": ".metrics |", "reason": "typo"}
    page = await read(harness, await preview(harness, fields))
    assert "Failed." in page
    assert "syntax error" in page
    assert "Nothing was written." in page


async def test_discard_and_restore() -> None:
    topic = await topic_of(failed_metric("a"), failed_metric("b"))
    harness = await open_console(topic, OPERATOR)
    (cause,) = await find_causes(harness)
    page = await start(harness, await preview(harness, DISCARD | {"cause": cause}))
    assert "Done." in page
    assert await count_open(topic) == 0
    assert {(each.action, each.by, each.why) for each in journal(topic)} == {("discarded", "otto", "wrong unit")}
    await harness.check()
    assert f"/actions/new?do=restore&amp;cause={cause}" in (await harness.request(f"/causes/{cause}")).text
    assert "/actions/new?do=restore&amp;letter=0:1" in (await harness.request("/letters/0:1")).text
    await start(harness, await preview(harness, {"do": "restore", "letter": "0:1"}))
    assert await count_open(topic) == 1
    await start(harness, await preview(harness, {"do": "restore", "cause": cause}))
    assert await count_open(topic) == 2


async def test_undo_of_a_discard_has_its_limit_and_says_that_it_means_all_of_the_cause() -> None:
    harness = await open_console(await topic_of(failed_metric("a"), failed_metric("b")))
    (cause,) = await find_causes(harness)
    path = await preview(harness, DISCARD | {"cause": cause, "limit": "20000"})
    await start(harness, path)
    address = f"/actions/new?do=restore&limit=20000&cause={cause}"
    assert address.replace("&", "&amp;") in (await harness.request(path)).text
    form = await harness.request(address)
    assert 'value="20000"' in form.text
    assert "also those of earlier actions" in form.text


async def test_operator_is_not_offered_to_change_an_edit() -> None:
    harness = await open_console(await topic_of(failed_metric("a")))
    path = await preview(harness, {"do": "edit", "letter": "0:0", "expression": ".metrics.a = 7", "reason": "r"})
    assert "Change…" in await read(harness, path)
    harness.identity = OPERATOR
    assert "Change…" not in await read(harness, path)


async def test_action_takes_only_dead_letters_up_to_its_preview() -> None:
    topic = await topic_of(failed_metric("a"))
    harness = await open_console(topic, OPERATOR)
    (cause,) = await find_causes(harness)
    path = await preview(harness, DISCARD | {"cause": cause})
    await topic.write([failed_metric("later")])
    await start(harness, path)
    assert await count_open(topic) == 1


async def test_restore_leaves_what_others_discard_after_its_check() -> None:
    topic = await topic_of(failed_metric("a"), failed_metric("a"), failed_metric("a"))
    harness = await open_console(topic, OPERATOR)
    (cause,) = await find_causes(harness)
    await start(harness, await preview(harness, DISCARD | {"letter": "0:0"}))
    path = await preview(harness, {"do": "restore", "cause": cause})
    assert "Restore: 1" in await read(harness, path)
    await start(harness, await preview(harness, DISCARD | {"cause": cause}))
    await start(harness, path)
    assert await count_open(topic) == 1


async def test_limit_is_kept_and_what_is_beyond_it_named() -> None:
    topic = await topic_of(*[failed_metric("a")] * 5)
    harness = await open_console(topic, OPERATOR)
    (cause,) = await find_causes(harness)
    for fields in (REPLAY, DISCARD):
        path = await preview(harness, fields | {"cause": cause, "limit": "2"})
        assert "more are beyond the limit" in await read(harness, path)
        await start(harness, path)
    assert await count_open(topic) == 1


async def test_second_of_two_operators_finds_nothing_left() -> None:
    topic = await topic_of(*[failed_metric(f"m{number}") for number in range(5)])
    harness = await open_console(topic, OPERATOR)
    (cause,) = await find_causes(harness)
    first = await preview(harness, REPLAY | {"cause": cause})
    harness.identity = Identity("olga", Role.OPERATOR)
    second = await preview(harness, DISCARD | {"cause": cause})
    await start(harness, second)
    harness.identity = OPERATOR
    assert "Nothing was left to do" in await start(harness, first)
    assert not harness.store.table
    assert {run.action for run in journal(topic) if run.runs} == {"discarded"}


async def test_expression_is_ignored_where_the_action_is_no_edit() -> None:
    """Else an operator, who may not edit, could do so by a replay."""
    harness = await open_console(await topic_of(failed_metric("a")), OPERATOR)
    path = await preview(harness, REPLAY | {"letter": "0:0", "expression": ".metrics.a = 99"})
    await start(harness, path)
    assert [row.metric_value for row in harness.store.table] != [99.0]
    assert {entry.edit for entry in journal(harness.topic)} == {None}


@pytest.mark.parametrize("has_more", [False, True])
async def test_nothing_is_done_to_the_records_of_a_topic_that_was_created_again_since_the_check(
    *, has_more: bool
) -> None:
    topic = await topic_of(failed_metric("a"), failed_metric("b"))
    harness = await open_console(topic)
    path = await preview(harness, DISCARD | {"letter": "0:0"})
    again = [failed_metric(name) for name in "cdefg"]
    topic.records[0][:] = (await topic_of(*again)).records[0][: len(again) if has_more else 1]
    page = await start(harness, path)
    assert "Failed." in page
    assert "is not the one that was checked" in page
    assert not journal(topic)


async def test_retention_and_new_dead_letters_since_the_check_leave_the_topic_the_same() -> None:
    topic = await topic_of(failed_metric("a"), failed_metric("b"))
    harness = await open_console(topic)
    path = await preview(harness, DISCARD | {"letter": ["0:0", "0:1"]})
    await topic.write([failed_metric("c")])
    topic.starts[0] = 1
    assert "Done." in await start(harness, path)
    assert await count_open(topic) == 1
    path = await preview(harness, DISCARD | {"letter": ["0:2"]})
    topic.starts[0] = len(topic.records[0])
    assert "Nothing was left to do" in await start(harness, path)


async def test_second_action_waits_for_the_first_and_can_be_stopped_meanwhile() -> None:
    topic = await topic_of(failed_metric("a"), failed_metric("b"), failed_metric("c"))
    harness = await open_console(topic, OPERATOR)
    paths = [await preview(harness, DISCARD | {"letter": f"0:{number}"}) for number in range(3)]
    harness.gate.clear()
    posts = [asyncio.create_task(harness.post(f"{path}/start", {})) for path in paths]
    await asyncio.gather(*posts)
    assert "Running: reads the topic first." in await read(harness, paths[0])
    assert "Waits for another action" in await read(harness, paths[1])
    assert (await harness.request(paths[1])).headers["refresh"] == "2"
    await harness.post(f"{paths[1]}/stop", {})
    assert "Stopped." in await read(harness, paths[1])
    harness.gate.set()
    await harness.post(f"{paths[2]}/start", {})
    assert [(await harness.request(path)).text.count("Done.") for path in paths] == [1, 0, 1]
    assert "refresh" not in (await harness.request(paths[0])).headers
    assert await count_open(topic) == 1


async def test_preview_can_be_stopped() -> None:
    harness = await open_console(await topic_of(failed_metric("a")), OPERATOR)
    harness.gate.clear()
    path = await preview(harness, DISCARD | {"letter": "0:0"})
    assert "Checking" in await read(harness, path)
    await harness.post(f"{path}/stop", {})
    assert "Stopped." in await read(harness, path)
    await harness.post(f"{path}/start", {})
    assert not journal(harness.topic)


async def test_stopped_replay_keeps_what_is_done_and_continues() -> None:
    topic = await topic_of(*[failed_metric(f"m{number}") for number in range(9)])
    harness = await open_console(topic, OPERATOR)
    (cause,) = await find_causes(harness)
    path = await preview(harness, REPLAY | {"cause": cause, "rate": "1"})
    assert "Running." in await start(harness, path)
    await harness.post(f"{path}/stop", {})
    page = await read(harness, path)
    assert "Stopped." in page
    done = len(harness.store.table)
    assert 0 < done < 9
    assert await count_open(topic) == 9 - done
    assert "Done." in await start(harness, await preview(harness, REPLAY | {"cause": cause}))
    assert sorted(row.metric_type for row in harness.store.table) == [f"m{number}" for number in range(9)]


async def test_end_of_the_process_stops_what_runs() -> None:
    topic = await topic_of(*[failed_metric(f"m{number}") for number in range(9)])
    harness = await open_console(topic, OPERATOR)
    (cause,) = await find_causes(harness)
    path = await preview(harness, REPLAY | {"cause": cause, "rate": "1"})
    running = asyncio.create_task(harness.actions.run())
    await start(harness, path)
    running.cancel()
    await asyncio.wait([running])
    assert "Stopped." in await read(harness, path)
    assert await count_open(topic) == 9 - len(harness.store.table)


async def test_unavailable_kafka_and_clickhouse_are_named_and_the_console_lives_on() -> None:
    topic = await topic_of(failed_metric("a"))
    harness = await open_console(topic, OPERATOR)
    path = await preview(harness, REPLAY | {"letter": "0:0"})
    harness.store.down = STORE_UNAVAILABLE
    page = await start(harness, path)
    assert "Failed. ClickHouse: " in page
    assert "connection refused" in page
    harness.is_away = True
    page = await read(harness, await preview(harness, REPLAY | {"letter": "0:0"}))
    assert AWAY in page
    harness.is_away, harness.store.down = False, None
    assert "Done." in await start(harness, await preview(harness, REPLAY | {"letter": "0:0"}))


async def test_error_of_the_program_ends_that_action_only() -> None:
    topic = await topic_of(failed_metric("a"))
    harness = await open_console(topic, OPERATOR)
    path = await preview(harness, DISCARD | {"letter": "0:0"})

    def fail() -> None:
        raise RuntimeError("a bug")

    topic.watch = fail
    assert "This program has failed; its log has the error." in await start(harness, path)
    topic.watch = lambda: None
    assert "Done." in await start(harness, await preview(harness, DISCARD | {"letter": "0:0"}))


async def test_actions_that_run_and_those_that_are_remembered_are_bounded() -> None:
    harness = await open_console(await topic_of(failed_metric("a")), OPERATOR)
    paths = [await preview(harness, DISCARD | {"letter": "0:0"}) for _ in range(51)]
    assert (await harness.request(paths[0])).status_code == 404
    assert (await harness.request(paths[1])).status_code == 200
    harness.gate.clear()
    for path in paths[1 : 1 + MAX_ACTIVE]:
        harness.actions.confirm(harness.actions.find(path[9:]))  # type: ignore[arg-type]
    assert (await harness.post("/actions", DISCARD | {"letter": "0:0"})).status_code == 429
    assert (await harness.post(f"{paths[-1]}/start", {})).status_code == 429
    harness.gate.set()


async def test_edit_says_what_it_lacks_where_jq_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = await open_console(await topic_of(failed_metric("a")))
    monkeypatch.setitem(sys.modules, "jq", None)
    needed = "An edit needs jq: pip install 'execution-metrics-worker[edit]'"
    assert needed in await read(harness, "/actions/new?do=edit&letter=0:0")
    answer = await harness.post("/actions", {"do": "edit", "letter": "0:0", "expression": ".a = 1", "reason": "r"})
    assert answer.status_code == 409
    assert "Check" in await read(harness, "/actions/new?do=replay&letter=0:0")


async def test_unconfirmed_previews_are_remembered_longer_than_what_is_over() -> None:
    harness = await open_console(await topic_of(failed_metric("a")), OPERATOR)
    mine = await preview(harness, DISCARD | {"letter": "0:0"})
    for _ in range(60):
        path = await preview(harness, DISCARD | {"letter": "0:0"})
        await harness.post(f"{path}/stop", {})
    assert "Discard: 1" in await read(harness, mine)


async def test_long_events_of_an_edit_are_shown_in_part() -> None:
    metrics = {f"{'x' * 200}{number}": 1 for number in range(200)}
    topic = await topic_of(FailedEvent(record(event(metrics=metrics)), UNKNOWN_VERSION))
    harness = await open_console(topic)
    fields = {"do": "edit", "letter": "0:0", "expression": '.agent_name = "b"', "reason": "r"}
    path = await preview(harness, fields)
    assert "The first 16 384 bytes of each." in (await read(harness, path)).replace("\N{NARROW NO-BREAK SPACE}", " ")


async def test_replay_says_what_it_lacks_where_clickhouse_is_not_configured() -> None:
    harness = ConsoleHarness(
        await topic_of(failed_metric("a")), identity=EDITOR, replay_problem="CLICKHOUSE_HOST is not set"
    )
    await harness.check()
    for kind in ("replay", "edit"):
        assert "CLICKHOUSE_HOST is not set" in await read(harness, f"/actions/new?do={kind}&letter=0:0")
        answer = await harness.post("/actions", {"do": kind, "letter": "0:0", "expression": ".", "reason": "r"})
        assert answer.status_code == 409
    assert "Done." in await start(harness, await preview(harness, DISCARD | {"letter": "0:0"}))


async def test_page_of_an_action_of_a_console_that_has_ended_says_what_the_journal_has_and_how_to_go_on() -> None:
    topic = await topic_of(*[failed_metric(f"m{number}") for number in range(9)])
    before = await open_console(topic, OPERATOR)
    (cause,) = await find_causes(before)
    path = await preview(before, REPLAY | {"cause": cause, "rate": "1", "reason": "it is back"})
    await start(before, path)
    checked = await preview(before, DISCARD | {"letter": "0:8"})
    harness = await open_console(topic, OPERATOR)
    done = 9 - await count_open(topic)
    page = await read(harness, path)
    assert "Not ended." in page
    assert f"settled {done} by otto" in page
    assert "reason it is back" in page
    assert "Do the same again: what is done is left out." in page
    again = parse_link(await source(harness, path), "Again…")
    choice = f"do=replay&cause={cause}&limit=10000&rate=1&max_replays=5"
    assert again == f"/actions/new?{choice}&reason=it+is+back&settled_by=discarded"
    assert parse_link(await source(harness, "/history"), "how to go on") == path
    harness.identity = Identity("vera", Role.VIEWER)
    assert "Again…" not in await read(harness, path)
    answer = await harness.request(checked)
    assert answer.status_code == 404
    assert "it was not started, and has changed nothing" in texts(parse_page(answer.text))
    assert (await harness.request("/actions/nonsense")).status_code == 404


async def source(harness: ConsoleHarness, path: str) -> str:
    return (await harness.request(path)).text


def parse_link(page: str, text: str) -> str:
    """The address of the link with this text."""
    return next(link.get("href") or "" for link in parse_page(page).iter("a") if texts(link) == text)
