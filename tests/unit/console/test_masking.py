"""What CONSOLE_MASK names reaches no page of a reader who is no editor."""

import base64
import json
from html import escape, unescape

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.support.console import ConsoleHarness, parse_page, texts
from tests.support.events import event, read, record
from tests.support.fakes import MemoryTopic
from tests.unit.replay.harness import ENTRY, UNAVAILABLE
from worker.console.identity import Identity, Role
from worker.console.masked_json import MASKED
from worker.core.errors import ErrorClass, InvalidEvent
from worker.core.escaping import escape_control_characters
from worker.core.model import DeadLetterPosition, Edit, Failed, FailedEvent, FailedMetric, Failure, ReplayedRecord
from worker.dead_letters.dead_letter import EncodedDeadLetter
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.dead_letters.settlement import Action, OffsetRun, identify
from worker.events.decode import decode

EACH_READS_ALL_PAGES = settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
RULES = "user_id, agent_name, labels.*, metrics.cost*, execution_id, header:x-email"
CONSTRAINT = (
    "DB::Exception: Constraint `no_negative_cost` for table metrics.rows (0b2d) is violated at row 1. Column values:"
)


async def read_every_page(topic: MemoryTopic, role: Role, mask: str = RULES) -> dict[str, str]:
    """The text of every answer to which the first page leads, downloads too."""
    harness = ConsoleHarness(topic, identity=Identity("ana", role), mask=mask)
    await harness.check()
    pages: dict[str, str] = {}
    waiting = ["/", "/history", *(f"/letters/0:{offset}" for offset in range(len(topic.records[0])))]
    waiting += [f"{path}/value" for path in waiting if path.startswith("/letters/")]
    while waiting:
        path = waiting.pop()
        answer = await harness.request(path)
        pages[path] = answer.content.decode("utf-8", "replace")
        if answer.headers["content-type"] == "text/html; charset=utf-8":
            found = [link.get("href") or "" for link in parse_page(answer.text).iter("a")]
            waiting += [each for each in found if each.startswith("/") and each not in pages and each not in waiting]
    return pages


def forms_of(secret: str) -> set[str]:
    """The secret as it is, and as it could be written."""
    raw = secret.encode()
    in_base64 = {base64.b64encode(b"\0" * before + raw).decode()[4 * bool(before) :][:-4] for before in range(3)}
    return {
        secret,
        escape_control_characters(secret),
        json.dumps(secret)[1:-1],
        escape(secret),
        raw.hex(),
        raw.hex(" "),
    } | {form for form in in_base64 if len(form) >= 8}


def assert_hidden(secret: str, pages: dict[str, str]) -> None:
    for path, text in pages.items():
        for form in forms_of(secret):
            assert form not in text, (path, form)
            assert form not in unescape(text), (path, form)


def failed_events(secret: str) -> list[Failed]:
    """Dead letters of every class with the secret wherever the rules name it, and the messages of the worker."""
    headers = (("x-email", secret.encode()), ("traceparent", b"00-4bf9"))
    labels = {"team": secret, "e.mail": secret}
    source = record(None, key=secret.encode(), headers=headers)
    document = event(user_id=secret, agent_name=secret, labels=labels)
    item = read(document)._replace(record=source)
    found: list[Failed] = [
        FailedMetric(item, "cost_usd", 1, Failure(error_class, "SOME_ERROR", f"it is {secret}, not good", 6), 1)
        for error_class in (ErrorClass.ROW_REFUSED, ErrorClass.STORE_UNAVAILABLE)
    ]
    message = f"{CONSTRAINT} metric_value = {secret}"
    found.append(FailedMetric(item, "cost_usd", 1, Failure(ErrorClass.ROW_REFUSED, "VIOLATED", message, 469), 1))
    for wrong in (
        event(user_id=[secret], completed_at=secret),
        event(execution_id=secret),
        event(agent_name={"x": secret}, user_id=secret),
        event(agent_name=secret, user_id=secret, labels=labels, metrics={}, schema_version=secret),
        {"specversion": "1.0", "id": "1", "data": event(user_id=secret, labels=labels, completed_at=7)},
    ):
        value = json.dumps(wrong)
        failure = UNAVAILABLE
        try:
            decode(record(value.encode()))
        except InvalidEvent as error:
            failure = Failure(ErrorClass.INVALID_EVENT, error.reason, str(error))
        shown = json.dumps(
            {name: each for name, each in wrong.items() if name not in ("completed_at", "schema_version")}
        )
        found.append(FailedEvent(record(shown.encode(), key=secret.encode(), headers=headers), failure))
    no_json = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "the value is not JSON")
    found.append(FailedEvent(record(f'{{"user_id": "{secret}'.encode(), headers=headers), no_json))
    found.append(FailedEvent(record(b"\xff" + secret.encode()), no_json))
    return found


async def topic_with(secret: str) -> MemoryTopic:
    topic = MemoryTopic()
    await topic.write(failed_events(secret))
    first = failed_events(secret)[0]
    assert isinstance(first, FailedMetric)
    too_large = Failure(ErrorClass.TOO_LARGE, "MessageSizeTooLarge", f"9 bytes do not fit; before that: {secret}")
    topic.keep(encode_pointer(first._replace(failure=too_large), topic.HEAD, 0))
    edit = Edit("ana", f".user_id = {secret!r}", DeadLetterPosition(0, 0), "0" * 64)
    replayed = ReplayedRecord(
        "t", 0, 0, 0, secret.encode(), None, first.event.record.headers, 1, 1, DeadLetterPosition(0, 0), whole=False,
        part_of=DeadLetterPosition(0, 0), edit=edit,
    )  # fmt: skip
    edited = first._replace(event=first.event._replace(record=replayed))
    topic.keep(encode_dead_letter(edited, topic.HEAD, 0))
    topic.keep(EncodedDeadLetter(secret.encode(), json.dumps({"x": secret}).encode(), (("x", secret.encode()),), 0))
    kind = (("dlq.kind", secret.encode()), ("dlq.error.message", secret.encode()))
    topic.keep(EncodedDeadLetter(None, secret.encode(), kind, 0))
    run = OffsetRun(1, 1, identify(topic.records[0][1]))
    command = f"metrics-worker replay --agent {secret}"
    entry = ENTRY._replace(action=Action.EDITED, command=command, edit=f".user_id = {secret!r}", runs=(run,))
    await topic.append(0, entry)
    return topic


@EACH_READS_ALL_PAGES
@given(secret=st.text(st.characters(codec="utf-8"), min_size=8, max_size=60).map(lambda text: f"S3cret{text}"))
async def test_secret_is_on_no_page(secret: str) -> None:
    topic = await topic_with(secret)
    assert_hidden(secret, await read_every_page(topic, Role.OPERATOR))


@EACH_READS_ALL_PAGES
@given(secret=st.floats(allow_nan=False, allow_infinity=False, min_value=1e10) | st.integers(10**9, 10**15))
async def test_secret_number_is_on_no_page(secret: float) -> None:
    topic = MemoryTopic()
    failure = Failure(ErrorClass.ROW_REFUSED, "VIOLATED", f"{CONSTRAINT} metric_value = {secret:g}", 469)
    item = read(event(metrics={"cost_usd": secret}))
    whole = record(event(metrics={"cost_usd": secret}))
    await topic.write([FailedMetric(item, "cost_usd", secret, failure, 1), FailedEvent(whole, failure)])
    for path, text in (await read_every_page(topic, Role.VIEWER)).items():
        assert str(secret) not in text, path
        assert f"{secret:g}" not in text, path


async def test_everything_is_masked_by_a_star() -> None:
    topic = await topic_with("S3cret-S3cret")
    pages = await read_every_page(topic, Role.VIEWER, "*")
    assert_hidden("S3cret-S3cret", pages)
    assert "triage" not in "".join(pages.values())


async def test_editors_see_everything() -> None:
    pages = await read_every_page(await topic_with("S3cret-S3cret"), Role.EDITOR)
    assert MASKED not in "".join(pages.values())
    for path in ("/", "/history", "/letters/0:0", "/letters/0:0/value"):
        assert "S3cret-S3cret" in pages[path], path


async def test_without_rules_viewers_see_everything() -> None:
    pages = await read_every_page(await topic_with("S3cret-S3cret"), Role.VIEWER, "")
    assert MASKED not in "".join(pages.values())
    assert "S3cret-S3cret" in pages["/letters/0:0/value"]


async def test_masked_reader_sees_what_is_not_masked() -> None:
    harness = ConsoleHarness(await topic_with("S3cret-S3cret"), mask="user_id, header:x-email")
    await harness.check()

    async def read_text(path: str) -> str:
        return texts(parse_page((await harness.request(path)).text))

    letter = await read_text("/letters/0:2")
    assert "Constraint `no_negative_cost` for table metrics.rows" in letter
    assert '"user_id": "•••"' in letter
    assert '"agent_name": "S3cret-S3cret"' in letter
    assert "traceparent 00-4bf9" in letter
    assert "key ••• (13 bytes, digest " in letter
    assert "Some values are masked: editors see them." in letter
    invalid = await read_text("/letters/0:3")
    assert "user_id must be" in invalid or "completed_at must be" in invalid
    answer = await harness.request("/letters/0:2/value")
    assert (answer.status_code, "Only editors may download values" in answer.text) == (403, True)


async def test_metric_of_a_row_follows_the_rule_of_its_event() -> None:
    topic = MemoryTopic()
    item = read(event(metrics={"cost_usd": 0.5, "tokens": 7}))
    await topic.write(
        [FailedMetric(item, name, value, UNAVAILABLE, 1) for name, value in (("cost_usd", 0.5), ("tokens", 7))]
    )
    pages = await read_every_page(topic, Role.VIEWER, "metrics.cost_usd, data.user_id")
    assert '"metric_value": "•••"' in unescape(pages["/letters/0:0"])
    assert '"metric_value": "7"' in unescape(pages["/letters/0:1"])
    assert '"user_id": "•••"' in unescape(pages["/letters/0:1"])


@pytest.mark.parametrize("rules", ["traceparent", "labels.*", "header:traceparent", "header:ce_traceparent"])
async def test_label_of_an_attribute_follows_the_rule_of_its_header(rules: str) -> None:
    topic = MemoryTopic()
    await topic.write([FailedMetric(read(event(labels={"traceparent": "00-4bf9"})), "a", 1, UNAVAILABLE, 1)])
    assert "00-4bf9" not in (await read_every_page(topic, Role.VIEWER, rules))["/letters/0:0"]


async def test_digest_is_that_of_equal_values_only() -> None:
    topic = MemoryTopic()
    for value in (b"one", b"one", b"two"):
        topic.keep(EncodedDeadLetter(None, value, (), 0))
    pages = await read_every_page(topic, Role.VIEWER)
    digests = [pages[f"/letters/0:{offset}"].partition("digest ")[2][:16] for offset in range(3)]
    assert digests[0] == digests[1] != digests[2]
