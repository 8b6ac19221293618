"""The status page in each state, parsed as strictly as the HTML standard allows."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from xml.etree.ElementTree import Element

import html5lib
import pytest

from tests.support.states import HOLDING, IDLE, MANY, NOT_READY, RUNNING, STARTING, STATES, STUCK
from worker.observability.page import HEADERS, render_page
from worker.observability.status import MAX_SILENCE_SECONDS, Status, WorkerState

_HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e\"'&{{ 7*7 }}"


def parse(status: Status) -> Element:
    """The document; any parse error fails the test."""
    document: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(render_page(status))
    return document


def text(status: Status) -> str:
    """The visible text, with normalised white space."""
    body = parse(status).find("body")
    assert body is not None
    return " ".join(" ".join(body.itertext()).split())


@pytest.mark.parametrize("name", STATES)
def test_page_of_every_state_is_valid_html_without_script(name: str) -> None:
    document = parse(STATES[name])
    assert {element.tag for element in document.iter()}.isdisjoint(
        {"script", "form", "img", "iframe", "link", "object"}
    )
    assert not [key for element in document.iter() for key in element.attrib if key.startswith("on") or key == "style"]
    assert [element.get("href") for element in document.iter("a")] == ["/livez", "/readyz", "/metrics"]
    assert STATES[name].state.value in text(STATES[name])


def test_state_of_each_status() -> None:
    assert {name: status.state.name.lower() for name, status in STATES.items()} == {
        **{name: name for name in STATES},
        "holding before it joined": "holding",
        "many partitions": "running",
        "idle": "running",
        "long": "holding",
    }
    assert replace(RUNNING, silence_seconds=MAX_SILENCE_SECONDS - 0.1).state is WorkerState.RUNNING


@pytest.mark.parametrize("status", [HOLDING, NOT_READY], ids=["after joining", "before joining"])
def test_holding_shows_the_reason_and_points_to_the_runbook(status: Status) -> None:
    shown = text(status)
    assert status.reasons["store"] in shown
    assert "deploy/RUNBOOK.md, “The worker holds: store”" in shown


@pytest.mark.parametrize("reasons", [{}, STARTING.reasons], ids=["no reason", "only the group"])
def test_worker_that_never_joined_is_starting_unless_it_holds(reasons: Mapping[str, str]) -> None:
    status = replace(STARTING, reasons=reasons)
    assert not status.has_been_group_member
    assert status.state is WorkerState.STARTING
    assert WorkerState.STARTING.value in text(status)


def test_running_shows_rates_lag_and_dead_letters() -> None:
    shown = text(RUNNING)
    assert re.search(r"events / s 12\s410", shown)
    assert re.search(r"records waiting 1\s830", shown)
    assert "oldest record waits 4 s" in shown
    assert "row_refused 17 3 min 20 s ago VIOLATED_CONSTRAINT (469) , metric cost_usd" in shown


def test_what_is_skipped_most_is_shown_with_its_reason() -> None:
    shown = text(RUNNING)
    assert "Skipped most since the start Name Count Reason metric model 2 014 400 string" in shown
    assert "label attempt 12 not_a_string" in shown
    assert "Skipped" not in text(IDLE)


def test_unknown_lag_is_not_shown_as_0() -> None:
    assert "oldest record waits \N{EN DASH} records waiting \N{EN DASH} " in text(STARTING)


def test_late_records_are_marked_in_both_places() -> None:
    marked = {
        element.get("class") for element in parse(HOLDING).iter() if element.get("class") in ("late", "oldest bad")
    }
    assert marked == {"late", "oldest bad"}
    assert "oldest bad" not in render_page(RUNNING)


def test_stuck_shows_the_silence_and_points_to_the_runbook() -> None:
    assert "No progress for 1 min 12 s. What to do: deploy/RUNBOOK.md, “No progress”." in text(STUCK)


def test_partitions_furthest_behind_come_first() -> None:
    document = parse(MANY)
    visible, folded = document.findall(".//table")[:2]
    behind = {lag.partition: lag.seconds for lag in MANY.lags}
    first = [behind[int(row.findtext("th") or "")] for row in visible.findall("tbody/tr")]
    rest = [behind[int(row.findtext("th") or "")] for row in folded.findall("tbody/tr")]
    assert [*first, *rest] == sorted(behind.values(), reverse=True)
    assert len(first) == 12
    assert f"{len(rest)} more, none with more lag" in text(MANY)


def test_foreign_text_is_escaped() -> None:
    letter = RUNNING.last_dead_letters[0]._replace(metric=_HOSTILE, error_type=_HOSTILE)
    status = replace(HOLDING, reasons={"store": _HOSTILE}, topic="<b>", last_dead_letters=[letter])
    status = replace(status, most_skipped=[(("metric", _HOSTILE, "string"), 1)])
    source = render_page(status)
    assert "<script" not in source
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", source)
    assert "<script>alert(1)</script>\\x1b[2J\\u202e\"'&{{ 7*7 }}" in text(status)


def test_content_security_policy_allows_only_the_style_of_the_page() -> None:
    style = parse(STARTING).findtext(".//style") or ""
    policy = dict(HEADERS)["Content-Security-Policy"].split("; ")
    assert policy[:2] == [
        "default-src 'none'",
        f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'",
    ]
    assert "frame-ancestors 'none'" in policy
    assert "url(" not in style
    assert "@import" not in style
