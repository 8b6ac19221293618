"""What the pages of the console show."""

from itertools import chain
from time import time

from tests.support.console import AWAY, ConsoleHarness, parse_page, progress_of, texts
from tests.support.events import event, read, record
from tests.support.fakes import MemoryTopic
from tests.unit.replay.harness import ENTRY, REFUSED, UNAVAILABLE, failed_event, failed_metric, topic_of
from worker.console.group import GroupProgress
from worker.console.workers import WorkerHealth, Workers
from worker.core.model import FailedEvent, FailedMetric
from worker.core.times import DAY, format_time
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.dead_letter import EncodedDeadLetter
from worker.dead_letters.record_format import encode_dead_letter
from worker.dead_letters.settlement import Action, OffsetRun, identify

HOUR = 3_600_000
FOREIGN = EncodedDeadLetter(b"k", b"hello", (("h", b"v"),), 1_767_225_600_000)


async def open_console(topic: MemoryTopic) -> ConsoleHarness:
    harness = ConsoleHarness(topic)
    await harness.check()
    return harness


async def get(harness: ConsoleHarness, path: str, status: int = 200) -> str:
    answer = await harness.request(path)
    assert answer.status_code == status, answer.text
    return texts(parse_page(answer.text))


async def links(harness: ConsoleHarness, path: str, prefix: str) -> list[str]:
    """The addresses on a page that begin so, in order."""
    root = parse_page((await harness.request(path)).text)
    found = [link.get("href") or "" for link in root.iter("a")]
    return [address for address in found if address.startswith(prefix)]


async def settle(topic: MemoryTopic, offset: int, action: Action, why: str | None = None, at: int = 0) -> None:
    run = OffsetRun(offset, offset, identify(topic.records[0][offset]))
    await topic.append(0, ENTRY._replace(at=at, action=action, why=why, runs=(run,), operation=f"{action}-{offset}"))


async def test_overview_has_the_causes_with_the_latest_first() -> None:
    topic = await topic_of(
        *[failed_metric("cost_usd", REFUSED)] * 3, failed_event("m"), failed_metric("cost_usd", UNAVAILABLE)
    )
    harness = await open_console(topic)
    page = await get(harness, "/")
    assert "open 5" in page
    assert "By class row_refused 3" in page
    order = [page.rindex(name) for name in ("NETWORK_ERROR (210)", "UnknownVersion", "VIOLATED_CONSTRAINT (469)")]
    assert order == sorted(order)
    assert "VIOLATED_CONSTRAINT (469), metric cost_usd" in page
    assert ADVICE[REFUSED.error_class].instructions in page
    assert "agents triage example 0:2" in page
    assert await links(harness, "/", "/letters/") == ["/letters/0:4", "/letters/0:3", "/letters/0:2"]
    assert len(set(await links(harness, "/", "/causes/"))) == 3


async def test_overview_sorts_the_causes_as_its_address_says_also_on_the_next_page() -> None:
    topic = await topic_of(
        *[failed_metric("a", REFUSED)] * 2, failed_event("m"), *[failed_metric("b", REFUSED)] * 3, failed_metric("c")
    )
    harness = await open_console(topic)
    a, event, b, outage = (f"/letters/0:{offset}" for offset in (1, 2, 5, 6))
    orders = {
        "newest": [outage, b, event, a],
        "count": [b, a, outage, event],
        "class": [event, b, a, outage],
    }
    for order, expected in orders.items():
        assert await links(harness, f"/?sort={order}", "/letters/") == expected, order
    assert await links(harness, "/", "/letters/") == orders["newest"]
    assert await links(harness, "/", "/?sort=") == ["/?sort=count#causes", "/?sort=class#causes"]
    await get(harness, "/?sort=nonsense", 404)
    many = await open_console(await topic_of(*[failed_metric(f"m{number}", REFUSED) for number in range(45)]))
    assert "/?sort=count&page=3" in await links(many, "/?sort=count&page=2", "/?sort")
    assert "/?page=3" in await links(many, "/?page=2", "/?page")


async def test_overview_says_what_is_urgent() -> None:
    harness = ConsoleHarness(await topic_of(failed_metric("a")), lag={0: 17, 1: 1_200, 2: None})
    harness.retention = 10 * 365 * 86_400
    await harness.check()
    page = await get(harness, "/")
    assert "retention takes the first in " in page
    assert "records waiting 1 217" in page
    assert "Records not committed 1 1 200 0 17 2 nothing committed yet" in page
    harness.group = GroupProgress(problem="Kafka refuses the group")
    assert "Kafka refuses the group" in await get(harness, "/")


async def test_overview_draws_how_many_were_open_over_time() -> None:
    topic, now = MemoryTopic(), round(time() * 1000)
    for ago in (3, 2, 2):
        topic.keep(encode_dead_letter(failed_metric("a"), topic.HEAD, now - ago * DAY))
    await settle(topic, 0, Action.DISCARDED, at=now - DAY)
    answer = (await (await open_console(topic)).request("/")).text
    (plot,) = [each for each in parse_page(answer).iter("{http://www.w3.org/2000/svg}svg") if each.get("role") == "img"]
    first = format_time((now - 3 * DAY) // HOUR * HOUR)
    assert plot.get("aria-label") == f"Open dead letters over time: 1 at {first} UTC, 3 at most, 2 now"
    assert [each.get("class") for each in plot] == ["area", "line"]
    assert "style=" not in answer
    assert "over time" not in (await (await open_console(MemoryTopic())).request("/")).text


async def test_overview_has_the_rates_of_the_group_and_the_partitions_with_the_most_lag() -> None:
    harness = await open_console(MemoryTopic())
    assert "read by the group / s \N{EN DASH} sent by producers / s \N{EN DASH}" in await get(harness, "/")
    harness.group = progress_of(dict.fromkeys(range(20), 5) | {19: 9}, read_rate=7.5, sent_rate=1_200.0)
    page = await get(harness, "/")
    assert "read by the group / s 7.5 sent by producers / s 1 200" in page
    assert "Records not committed 19 9 0 5" in page
    assert "8 more, none with more lag" in page


async def test_overview_says_what_each_worker_does_and_why() -> None:
    answers = [
        WorkerHealth("10.0.0.1:8080"),
        WorkerHealth("10.0.0.2:8080", {"store": "Connection\nrefused"}, notice="it writes nothing"),
        WorkerHealth("10.0.0.3:8080", {"group": "no member"}),
        WorkerHealth("10.0.0.4:8080", problem="no answer within 3 s"),
    ]
    harness = ConsoleHarness(MemoryTopic(), workers=Workers(answers, None, not_asked=2))
    await harness.check()
    page = await get(harness, "/")
    for text in (
        "workers that consume 1 of 4",
        "10.0.0.1:8080 consumes 10.0.0.2:8080 holds it writes nothing. store Connection\\nrefused What to do:",
        "deploy/RUNBOOK.md, “The worker holds: store”.",
        "10.0.0.3:8080 joins its group group no member 10.0.0.4:8080 no answer no answer within 3 s",
        "2 more were not asked",
    ):
        assert text in page, page


async def test_overview_says_why_workers_are_not_known() -> None:
    assert "Set CONSOLE_WORKERS_URL where the console runs" in await get(await open_console(MemoryTopic()), "/")
    harness = ConsoleHarness(MemoryTopic(), workers=Workers(problem="metrics-worker has no address"))
    await harness.check()
    page = await get(harness, "/")
    assert "workers that consume \N{EN DASH}" in page
    assert "metrics-worker has no address" in page


async def test_expiry_is_any_time_never_or_unknown() -> None:
    for retention, expected in ((1.0, "any time"), (float("inf"), "never"), (None, "unknown")):
        harness = ConsoleHarness(await topic_of(failed_metric("a")))
        harness.retention = retention
        await harness.check()
        assert f"retention takes the first {expected}" in await get(harness, "/")


async def test_empty_topic_has_nothing_to_do() -> None:
    harness = await open_console(MemoryTopic())
    assert "The topic has no entry" in await get(harness, "/history")
    page = await get(harness, "/")
    assert "open 0" in page
    assert "None: every metric" in page


async def test_page_follows_a_settlement_at_the_next_check() -> None:
    topic = await topic_of(failed_metric("a", REFUSED), failed_metric("b"))
    harness = await open_console(topic)
    causes = await links(harness, "/", "/causes/")
    (refused,) = [address for address in causes if "VIOLATED_CONSTRAINT" in await get(harness, address)]
    await settle(topic, 0, Action.DISCARDED, "wrong unit")
    assert "open 2" in await get(harness, "/")
    await harness.check()
    assert "open 1" in await get(harness, "/")
    assert "settled" in await get(harness, refused, 404)
    letter = await get(harness, "/letters/0:0")
    assert "Settled. Discarded by operator@host" in letter
    assert "wrong unit" in letter
    assert "metrics-worker dlq restore --partition 0 --offset 0" in letter
    assert "metrics-worker replay" not in letter
    history = await get(harness, "/history")
    assert "Discarded by operator@host" in history
    assert "not ended" in history


async def test_cause_lists_each_of_its_dead_letters_once_over_its_pages() -> None:
    topic = MemoryTopic(partitions=3)
    await topic.write([failed_metric("a", REFUSED), failed_metric("b")] * 120)
    harness = await open_console(topic)
    first, second = await links(harness, "/", "/causes/")
    letters: dict[str, list[str]] = {}
    for cause in (first, second):
        pages = [await links(harness, f"{cause}?page={number}", "/letters/") for number in (1, 2, 3)]
        assert [len(page) for page in pages] == [50, 50, 20]
        letters[cause] = [*chain(*pages)]
        assert await links(harness, f"{cause}?page=99", "/letters/") == pages[2]
    assert len(set(letters[first]) | set(letters[second])) == 240
    page = await get(harness, f"{first}?page=2")
    assert "First Previous 51 to 100 of 120 Next Last" in page


async def test_cause_has_the_commands_that_settle_it() -> None:
    harness = await open_console(await topic_of(failed_metric("a", REFUSED)))
    (cause, *_) = await links(harness, "/", "/causes/")
    page, name = await get(harness, cause), cause.rpartition("/")[2]
    for command in (
        f"metrics-worker replay --cause {name} --dry-run",
        f"metrics-worker replay --cause {name}",
        f'metrics-worker dlq discard --cause {name} --reason "WHY"',
    ):
        assert command in page


async def test_page_of_a_cause_reads_its_own_dead_letters_only() -> None:
    topic = await topic_of(*[failed_metric("a")] * 2_000, failed_metric("b", REFUSED), *[failed_metric("a")] * 2_000)
    harness = await open_console(topic)
    causes = await links(harness, "/", "/causes/")
    before = topic.handed_out
    pages = [await get(harness, cause) for cause in dict.fromkeys(causes)]
    assert sum("VIOLATED" in page for page in pages) == 1
    assert topic.handed_out - before <= 2 * 53


async def test_page_of_a_cause_whose_dead_letters_retention_has_deleted_says_so() -> None:
    topic = await topic_of(failed_metric("a"))
    harness = await open_console(topic)
    (cause, *_) = await links(harness, "/", "/causes/")
    topic.starts[0] = 1
    assert "deleted by retention" in await get(harness, cause)


async def test_letter_shows_everything() -> None:
    source = record(event(), partition=3, offset=42, key=b"k", headers=(("trace", b"\xff\0"), ("empty", None)))
    item = FailedMetric(read(event())._replace(record=source), "cost_usd", 0.5, REFUSED, 7)
    page = await get(await open_console(await topic_of(item)), "/letters/0:0")
    for fact in (
        "row_refused VIOLATED_CONSTRAINT (469), metric cost_usd",
        REFUSED.message,
        ADVICE[REFUSED.error_class].meaning,
        ADVICE[REFUSED.error_class].instructions,
        "metrics-worker replay --partition 0 --offset 0",
        'metrics-worker dlq discard --partition 0 --offset 0 --reason "WHY"',
        "execution-completed, partition 3, offset 42",
        "attempts 7 inserts, 0 replays",
        '"metric_type": "cost_usd",',
        "key k",
        r"trace \xff\x00",
        "empty \N{EN DASH}",
    ):
        assert fact in page, page


async def test_value_that_is_not_text_is_dumped_and_can_be_downloaded() -> None:
    value = bytes(range(256)) * 40
    topic = await topic_of(FailedEvent(record(value), failed_event("m").failure))
    harness = await open_console(topic)
    page = await get(harness, "/letters/0:0")
    assert "000010 10 11 12" in page
    assert "The first 2,048 bytes." in page
    answer = await harness.request("/letters/0:0/value")
    assert answer.content == value
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == 'attachment; filename="dead-letter-0-0"'


async def test_foreign_records_are_listed_and_can_be_given_up() -> None:
    topic = MemoryTopic()
    topic.keep(FOREIGN)
    harness = await open_console(topic)
    assert "Records that are no dead letters 1 open" in await get(harness, "/")
    assert "metrics-worker dlq discard --cause foreign" in await get(harness, "/causes/foreign")
    page = await get(harness, "/letters/0:0")
    assert "hello" in page
    assert "metrics-worker replay" not in page


async def test_history_has_the_latest_operation_first_and_its_outcome() -> None:
    topic = await topic_of(failed_metric("a", REFUSED), failed_metric("b"))
    await topic.append(
        0, ENTRY._replace(at=1, operation="x", command="metrics-worker replay", outcome={"rows": 3, "no": 0})
    )
    await topic.append(0, ENTRY._replace(at=2, operation="y", action=Action.EDITED, edit=".a = 1", by="ana@host"))
    page = await get(await open_console(topic), "/history")
    assert page.index("Edited by ana@host") < page.index("Replayed by operator@host")
    assert "edit .a = 1" in page
    assert "outcome 3 rows command metrics-worker replay" in page


async def test_console_waits_for_the_first_scan() -> None:
    harness = ConsoleHarness(MemoryTopic())
    answer = await harness.request("/")
    assert answer.status_code == 503
    assert answer.headers["refresh"] == "2"
    assert "has not been read yet" in answer.text


async def test_while_kafka_is_away_the_last_numbers_stay_with_a_warning() -> None:
    harness = await open_console(await topic_of(failed_metric("a")))
    harness.is_away = True
    await harness.check()
    page = await get(harness, "/")
    assert "open 1" in page
    assert AWAY in page
    assert AWAY in await get(harness, "/letters/0:0", 503)


async def test_what_does_not_exist_is_not_found() -> None:
    harness = await open_console(await topic_of(failed_metric("a")))
    for path in (
        "/nothing", "/causes/", "/causes/00000000", "/causes/<b>", "/letters/", "/letters/0:1", "/letters/1:0",
        "/letters/0", "/letters/-1:0", "/letters/0:0/", "/letters/0:0/key", "/?page=0", "/?page=-1", "/?page=x",
        "/?page=99999999999", "/history?page=%00", "/letters/0:99999999999999999999", "/console.css/", "/..%2f..%2fetc",
    ):  # fmt: skip
        assert (await harness.request(path)).status_code == 404, path
