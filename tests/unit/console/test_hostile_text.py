"""Whatever others wrote is text on every page."""

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.console import VIEWER, ConsoleHarness, parse_page, texts
from tests.support.fakes import MemoryStore, MemoryTopic
from tests.support.hostile_letters import OPERATION, create_hostile_topic
from tests.unit.replay.harness import failed_metric, topic_of
from worker.console.identity import Identity, Role
from worker.console.workers import WorkerHealth, Workers
from worker.core.model import Failed
from worker.dead_letters.dead_letter import EncodedDeadLetter

HOSTILE = "</p></pre><script>alert(1)</script><img src=x onerror=y>\"'{{7*7}}&amp;\x1b[31m\x9b2J\u202e\r\n\x00\x7f\\"
ESCAPED = (
    "</p></pre><script>alert(1)</script><img src=x onerror=y>\"'{{7*7}}&amp;\\x1b[31m\\x9b2J\\u202e\\r\\n\\x00\\x7f"
)
EACH_READS_ALL_PAGES = settings(max_examples=25)
"""A hundred, as elsewhere, take 14 s of CPU. Hostile text in every field at once is in the tests above these."""
CONTROL = re.compile(r"[^\x20-\x7e\n\xa0-\u2027\u202f-\u2065\u2070-\ud7ff\ue000-\U0010ffff]")
KNOWN = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "body",
        "a",
        "header",
        "p",
        "nav",
        "main",
        "section",
        "h1",
        "h2",
        "h3",
        "dl",
        "div",
        "dt",
        "dd",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "svg",
        "rect",
        "path",
        "figure",
        "figcaption",
        "article",
        "span",
        "b",
        "code",
        "pre",
        "details",
        "summary",
        "footer",
        "form",
        "input",
        "label",
        "button",
        "textarea",
        "select",
        "option",
        "progress",
        "ul",
        "li",
    ]
)


async def read_every_page(topic: MemoryTopic, identity: Identity = VIEWER, *more: str) -> dict[str, str]:
    """The HTML of every page to which the first one leads, but in one order only, and of `more`."""
    answers = [WorkerHealth(HOSTILE, {HOSTILE: HOSTILE}, HOSTILE), WorkerHealth(HOSTILE, problem=HOSTILE)]
    harness = ConsoleHarness(topic, identity=identity, workers=Workers(answers, None))
    await harness.check()
    pages: dict[str, str] = {}
    waiting = [
        "/",
        "/history",
        *more,
        *(f"/letters/0:{offset}" for offset in range(len(topic.records[0]))),
    ]
    while waiting:
        path = waiting.pop()
        answer = await harness.request(path)
        assert answer.status_code in (200, 404), path
        if answer.headers["content-type"] != "text/html; charset=utf-8":
            continue
        pages[path] = answer.text
        found = [link.get("href") or "" for link in parse_page(answer.text).iter("a")]
        paths = [each for each in found if each.startswith("/") and not each.endswith("#causes")]
        waiting += [each for each in paths if each not in pages and each not in waiting]
    return pages


def check_page(path: str, text: str) -> None:
    root = parse_page(text)
    elements = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert elements <= KNOWN, path
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on") or name == "style"}, path
    assert CONTROL.search(text) is None, path


async def test_markup_and_control_characters_in_every_field_are_text() -> None:
    topic = await create_hostile_topic(HOSTILE)
    pages = await read_every_page(topic, Identity("edna", Role.EDITOR), f"/actions/{OPERATION}")
    assert len([path for path in pages if path.startswith("/letters/")]) >= 12
    for path, text in pages.items():
        check_page(path, text)
        if not path.startswith(("/causes/foreign", "/actions")) and "Not here" not in text:
            assert ESCAPED[:80] in texts(parse_page(text)), path
    assert ESCAPED in texts(parse_page(pages["/history"]))
    assert ESCAPED in texts(parse_page(pages[f"/actions/{OPERATION}"]))


async def test_texts_of_an_action_are_text() -> None:
    topic = await topic_of(failed_metric(HOSTILE[:200]), failed_metric("b"))
    harness = ConsoleHarness(
        topic, identity=Identity(HOSTILE, Role.EDITOR), store=MemoryStore(lambda row: row.metric == "b")
    )
    await harness.check()
    replay: dict[str, str | list[str]] = {"letter": ["0:0", "0:1"], "reason": HOSTILE, "do": "replay"}
    edit = replay | {"do": "edit", "expression": f".user_id = {json.dumps(HOSTILE)}"}
    for form in (edit, edit | {"expression": HOSTILE}, replay):
        path = (await harness.post("/actions", form)).headers["location"]
        for _ in range(2):
            text = (await harness.request(path)).text
            check_page(path, text)
            assert ESCAPED[:80] in texts(parse_page(text))
            change = (await harness.request(parse_change(text))).text
            check_page(path, change)
            await harness.post(f"{path}/start", {})
    check_page("/actions", (await harness.request("/actions")).text)


def parse_change(page: str) -> str:
    """The address of the form in which an action can be changed."""
    found = [link.get("href") or "" for link in parse_page(page).iter("a")]
    return next((address for address in found if address.startswith("/actions/new")), "/actions")


@EACH_READS_ALL_PAGES
@given(st.lists(st.one_of(strategies.failed_metrics, strategies.failed_events), min_size=1, max_size=3))
async def test_every_dead_letter_has_a_page(failed: list[Failed]) -> None:
    topic = MemoryTopic()
    await topic.write(failed)
    for path, text in (await read_every_page(topic)).items():
        check_page(path, text)


@EACH_READS_ALL_PAGES
@given(
    st.binary(max_size=40),
    st.one_of(st.none(), st.binary(max_size=200)),
    st.lists(st.tuples(st.text(max_size=9), st.one_of(st.none(), st.binary(max_size=9))), max_size=3),
)
async def test_every_record_has_a_page(key: bytes, value: Any, headers: list[tuple[str, bytes | None]]) -> None:
    topic = MemoryTopic()
    topic.keep(EncodedDeadLetter(key, value, tuple(headers), 0))
    for path, text in (await read_every_page(topic)).items():
        check_page(path, text)
