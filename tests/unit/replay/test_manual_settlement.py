"""Which dead letters an operator discards and restores."""

from tests.support.fakes import MemoryStore, MemoryTopic
from tests.unit.replay.harness import ENTRY, REFUSED, count_open, failed_metric, replay, topic_of
from worker.core.errors import ErrorClass
from worker.core.model import UnreadableRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.history import History
from worker.dead_letters.settlement import Action, OffsetRun, identify
from worker.replay.journal import Journal
from worker.replay.manual_settlement import ManualSettlement
from worker.replay.scan import DeadLetterScan

ALL = DeadLetterFilter()


async def discard(topic: MemoryTopic, selection: DeadLetterFilter = ALL, limit: int | None = None) -> ManualSettlement:
    chosen = await (await DeadLetterScan.begin(topic)).scan(ManualSettlement(selection, limit))
    await chosen.write(Journal(topic, ENTRY._replace(action=Action.DISCARDED, operation="discard")))
    return chosen


async def restore(topic: MemoryTopic, action: Action = Action.DISCARDED) -> ManualSettlement:
    chosen = await ManualSettlement(ALL, None).visit_settled(await DeadLetterScan.begin(topic), action)
    await chosen.write(Journal(topic, ENTRY._replace(action=Action.REOPENED, operation="restore")))
    return chosen


async def test_only_what_is_selected_is_discarded_and_only_that_is_restored() -> None:
    topic = await topic_of(*(failed_metric(name) for name in "ab"), failed_metric("c", REFUSED))
    await replay(topic, MemoryStore(), None)
    await topic.write([failed_metric("d"), failed_metric("e", REFUSED), failed_metric("f", REFUSED)])
    refused = DeadLetterFilter(error_classes=frozenset({ErrorClass.ROW_REFUSED}))
    chosen = await discard(topic, refused, limit=1)
    assert (chosen.by_class, chosen.beyond_limit, await count_open(topic)) == ({"row_refused": 1}, 1, 2)
    assert (await replay(topic, MemoryStore())).written.total() == 2
    assert (await restore(topic)).by_class == {"row_refused": 1}
    assert await count_open(topic) == 1
    assert (await restore(topic)).by_class == {}


async def settle(topic: MemoryTopic, action: Action, first: int, last: int) -> None:
    run = OffsetRun(first, last, identify(topic.records[0][last]))
    await topic.append(0, ENTRY._replace(action=action, operation="other", runs=(run,)))


async def test_restore_leaves_what_others_discard_after_it_was_confirmed() -> None:
    topic = await topic_of(*(failed_metric(name) for name in "abcd"))
    await settle(topic, Action.DISCARDED, 0, 1)
    scan = await DeadLetterScan.begin(topic)
    shown = await ManualSettlement(ALL, None).read(scan, Action.DISCARDED)
    await settle(topic, Action.DISCARDED, 2, 3)
    await settle(topic, Action.REOPENED, 0, 0)
    assert await scan.refresh()
    chosen = await ManualSettlement(ALL, None, shown).read(scan, Action.DISCARDED)
    await chosen.write(Journal(topic, ENTRY._replace(action=Action.REOPENED, operation="restore")))
    assert (chosen.by_class.total(), chosen.beyond_limit, await count_open(topic)) == (1, 2, 2)


async def test_discard_leaves_what_others_restore_or_was_beyond_the_limit_when_it_was_confirmed() -> None:
    topic = await topic_of(*(failed_metric(name) for name in "abcde"))
    await settle(topic, Action.DISCARDED, 0, 0)
    scan = await DeadLetterScan.begin(topic)
    shown = await scan.scan(ManualSettlement(ALL, 2))
    await settle(topic, Action.REOPENED, 0, 0)
    await settle(topic, Action.DISCARDED, 1, 1)
    assert await scan.refresh()
    chosen = await scan.scan(ManualSettlement(ALL, 2, shown))
    assert (chosen.by_class.total(), chosen.beyond_limit) == (1, 3), "c alone; a, d and e were not shown"


async def test_another_record_at_a_confirmed_position_is_left() -> None:
    shown = await (await DeadLetterScan.begin(await topic_of(failed_metric("a")))).scan(ManualSettlement(ALL, None))
    created_again = await DeadLetterScan.begin(await topic_of(failed_metric("b")))
    chosen = await created_again.scan(ManualSettlement(ALL, None, shown))
    assert (chosen.by_class.total(), chosen.beyond_limit) == (0, 1)


async def test_replaced_dead_letter_is_not_restored() -> None:
    topic = await topic_of(failed_metric("bad"), failed_metric("good"))
    await replay(topic, MemoryStore(refuses=lambda row: row.metric == "bad"))
    assert (await restore(topic, Action.REPLAYED)).by_class == {"store_unavailable": 1}, "the good one"
    assert await count_open(topic) == 2, "the good one, and the dead letter that has replaced the bad one"


async def test_record_that_cannot_be_read_is_left_alone() -> None:
    topic = await topic_of(failed_metric("m"))
    topic.records[0].append(UnreadableRecord("execution-completed.dlq", 0, 1))
    chosen = await discard(topic)
    assert (chosen.by_class.total(), chosen.unreadable) == (1, 1)
    assert (await replay(topic, MemoryStore())).selection.foreign == 1


async def test_history_has_the_operations_and_whether_they_have_ended() -> None:
    topic, history = await topic_of(failed_metric("a"), failed_metric("b")), History()
    await discard(topic)
    await restore(topic)
    await Journal(topic, ENTRY._replace(operation="killed")).begin()
    await DeadLetterScan.begin(topic, history.add)
    found = [(each.entry.operation, each.letters, each.entry.outcome) for each in history.latest(None)]
    outcome = {"store_unavailable": 2}
    assert found == [("discard", 2, outcome), ("restore", 2, outcome), ("killed", 0, None)]
    assert history.latest(1) == history.latest(None)[-1:]
