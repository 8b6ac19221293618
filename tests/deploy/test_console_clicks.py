"""The console as a process in Chromium, from the click to the row in ClickHouse and to the entry of the journal.

Its users sign in, and each has cookies of their own. The pages run no scripts, but where others wrote them.
"""

import asyncio
import re
from collections.abc import Iterator

import pytest

from tests.deploy.browser import Browser, Tab
from tests.deploy.console_site import ConsoleSite, failed, open_site, wait_for
from tests.deploy.test_console_pictures import serve_console
from tests.support.console import ConsoleHarness
from tests.support.hostile_letters import create_hostile_topic
from worker.console.identity import Identity, Role

pytestmark = pytest.mark.timeout(300)
MANY = 300
HOSTILE = (
    "</title></p></pre></textarea></style><script>ran=1</script><img src=/x onerror=ran=1><svg onload="
    "ran=1><style>*{display:none}</style>\"' \x1b]0;ran\x07\x1b[2J\x9b31m\u202e\r\n\x00\x7f"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
PROBLEMS = ("Audits.issueAdded", "Log.entryAdded", "Runtime.exceptionThrown", "Page.javascriptDialogOpening")
"""What the browser reports of a script that it has run or, by the policy of the page, has not."""
SITE = "/actions/new?do={}&letter=0:{}"
KINDS = {"replay": "otto", "discard": "otto", "restore": "otto", "edit": "edna"}
"""Each action, and a user who may do it."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSite]:
    """One for all tests of this file; each has dead letters of its own.

    Offsets: 0 to 3 for an action each, 4 for the roles, 5 for forged requests, 6 to 305 of one cause.
    """
    letters = [
        failed(name, -3 if name == "edited" else 1, name) for name in ("replayed", "edited", "discarded", "kept")
    ]
    letters += [failed("roles", message="roles"), failed("forged", message="forged")]
    letters += [failed("many", message="many") for _ in range(MANY)]
    with open_site(tmp_path_factory.mktemp("site")) as site, site.run(*letters):
        yield site


def test_each_action_leads_from_the_click_to_the_row_and_the_journal(site: ConsoleSite, browser: Browser) -> None:
    with site.sign_in(browser, "edna") as tab:
        tab.click("article.cause h3 a[href]")
        tab.go(f"{site.url}/letters/0:0")
        tab.click("a.button.main")
        act(tab)
        assert site.rows("replayed") == [(1.0, 1)]

        tab.go(f"{site.url}/letters/0:1")
        tab.click("a.button[href*='do=edit']")
        tab.type("[name=expression]", ".metrics.edited |= -.")
        tab.type("[name=reason]", "the sign")
        act(tab, '"edited": 3')
        assert site.rows("edited") == [(3.0, 1)]

        tab.go(f"{site.url}/letters/0:2")
        tab.click("a.button[href*='do=discard']")
        tab.type("[name=reason]", "a test")
        act(tab)
        tab.click("a.button[href*='do=restore']")
        act(tab)
        assert site.rows("discarded") == []
    done = [("replayed", "edna"), ("edited", "edna"), ("discarded", "edna"), ("reopened", "edna")]
    assert site.history() == done
    assert site.commands.count_open() == MANY + 4


def act(tab: Tab, *required: str) -> None:
    """Check an action whose form is open, start it, and wait until it is done."""
    tab.click("form[method=post] button")
    confirm(tab, *required)
    wait_for(tab, lambda: "Done." in tab.text(), "it is done")


def confirm(tab: Tab, *required: str) -> None:
    """Start an action when its check is done, and says this."""
    wait_for(tab, lambda: "Nothing was written yet." in tab.text(), "it is checked")
    assert [text for text in required if text not in tab.text()] == []
    tab.click("form[method=post] button")


def test_each_role_is_offered_its_actions_and_no_forged_form_does_more(site: ConsoleSite, browser: Browser) -> None:
    before = site.history()
    with site.sign_in(browser, "edna") as tab:
        checked = [check(site, tab, kind) for kind in KINDS]
        tab.go(f"{site.url}/letters/0:4")
        assert tab.buttons()[:3] == ["Replay…", "Edit and replay…", "Discard…"]
    with site.sign_in(browser, "otto", "/letters/0:4") as tab:
        assert tab.buttons()[:2] == ["Replay…", "Discard…"]
        token = find_token(site, tab, checked[0])
        assert "This needs the role editor; otto is operator." in forge(site, tab, "/actions", token, do="edit")
        for path, kind in zip(checked, KINDS, strict=True):
            expected = "This needs the role editor" if kind == "edit" else "Another user has checked this"
            assert expected in forge(site, tab, f"{path}/start", token)
    with site.sign_in(browser, "vera", "/letters/0:4") as tab:
        assert tab.buttons() == ["Sign out"]
        token = find_token(site, tab, checked[0])
        assert tab.buttons() == ["Sign out"]
        for kind in KINDS:
            assert "vera is viewer." in forge(site, tab, "/actions", token, do=kind)
            tab.go(f"{site.url}{SITE.format(kind, 4)}")
            assert (tab.status, tab.buttons()) == (403, ["Sign out"])
        for path in checked:
            for step in ("start", "stop"):
                assert "vera is viewer." in forge(site, tab, f"{path}/{step}", token)
    with site.sign_in(browser, "nina") as tab:
        assert tab.status == 403
        assert "You are known as nina, and have no role here." in tab.text()
        for path in ("/actions", f"{checked[0]}/start", f"{checked[0]}/stop"):
            assert "have no role here" in forge(site, tab, path, token, do="discard")
    assert site.history() == before
    assert site.rows("roles") == []


def check(site: ConsoleSite, tab: Tab, kind: str) -> str:
    """The path of an action that is ready to start."""
    tab.go(site.url + SITE.format(kind, 4) + "&reason=r&expression=.")
    tab.click("form[method=post] button")
    wait_for(tab, lambda: "Checked. Nothing was written yet." in tab.text(), "it is checked")
    return str(tab.evaluate("location.pathname"))


def find_token(site: ConsoleSite, tab: Tab, action: str) -> str:
    """A valid token of a user, whatever their role: the page of an action has one."""
    tab.go(site.url + action)
    return str(tab.evaluate("document.querySelector('[name=token]').value"))


def forge(site: ConsoleSite, tab: Tab, path: str, token: str, **fields: str) -> str:
    """What the console answers to a form that it did not offer, from one of its own pages. It must be a refusal."""
    whole = {"token": token, "letter": "0:4", "reason": "r", "expression": "."} | fields
    tab.post(site.url + path, whole)
    assert tab.status == 403
    return tab.text()


def test_forms_of_other_sites_and_of_a_session_that_ended_do_nothing(site: ConsoleSite, browser: Browser) -> None:
    before = site.history()
    form = SITE.format("discard", 5) + "&reason=r"
    with site.sign_in(browser, "otto", form) as tab:
        token = str(tab.evaluate("document.querySelector('[name=token]').value"))
        fields = {"token": token, "do": "discard", "letter": "0:5", "reason": "r"}
        with browser.open(f"{site.issuer.url}/other", beside=tab) as other:  # the same site for cookies: another port
            other.post(f"{site.url}/actions", fields)
            assert (other.status, "Another web site has sent this" in other.text()) == (403, True)
            other.go(f"{site.issuer.url}/other")
            other.post(f"{site.url}/sign-out", {})
            assert (other.status, "Another web site has sent this" in other.text()) == (403, True)
        with browser.open("data:text/html,<p>elsewhere", beside=tab) as other:  # another site: no cookies
            other.post(f"{site.url}/actions", fields)
            assert (other.status, "Your session has ended" in other.text()) == (401, True)
        with browser.open(f"{site.url}/history", beside=tab) as other:
            other.click("form[action='/sign-out'] button")
            assert "Signed out" in other.text()
        tab.click("form[method=post] button")
        assert (tab.status, "Your session has ended" in tab.text()) == (401, True)
        assert "Nothing was done." in tab.text()
        tab.go(site.url + form)  # leads to the issuer and back
        assert tab.evaluate("location.pathname") == "/actions/new"
        tab.post(f"{site.url}/actions", {"token": token, "do": "destroy"})  # its token is still of this user
        assert tab.status == 400
    assert site.history() == before


def test_two_operators_at_once_and_a_killed_console_whose_action_goes_on(site: ConsoleSite, browser: Browser) -> None:
    open_before, written_before = site.commands.count_open(), site.count_written()
    with site.sign_in(browser, "otto") as first, site.sign_in(browser, "olga") as second:
        (cause,) = {each["cause"] for each in site.commands.json("dlq", "causes", "--metric", "many")[0]["causes"]}
        for tab, rate in ((first, "40"), (second, "5000")):
            tab.go(f"{site.url}/causes/{cause}")
            tab.click("a.button.main")
            tab.type("[name=rate]", rate)
            tab.click("form[method=post] button")
            confirm(tab)
        assert "Waits for another action" in second.text()
        wait_for(first, lambda: site.count_written() - written_before >= 40, "some are written")
        wait_for(first, lambda: not re.search(r"\b0 done", first.text()), "some are settled")
        address, waiting = (str(tab.evaluate("location.href")) for tab in (first, second))
        site.console.kill()
        left = site.commands.count_open() - (open_before - MANY)
        assert 0 < left < MANY
        site.console.start()

        first.go(address)  # the session has ended too: it leads to the sign-in, and back
        wait_for(first, lambda: "The console waits" not in first.text(), "the topic is scanned")
        page = first.text()
        assert "Not ended." in page
        assert f"{MANY - left} settled" in page or f"settled {MANY - left}" in page
        assert "otto" in page
        second.go(waiting)
        assert second.status == 404
        assert "was not started, and has changed nothing" in second.text()
        first.click("a.button.main")
        first.type("[name=rate]", "5000")
        act(first)
    assert site.rows("many") == [(1.0, MANY)]
    assert site.commands.count_open() == open_before - MANY
    assert site.commands.json("audit", "--to-end")


def test_every_page_says_within_15_seconds_that_kafka_hangs(site: ConsoleSite, browser: Browser) -> None:
    with site.sign_in(browser, "vera") as tab:
        wait_for(tab, lambda: "has not answered" not in tab.text(), "Kafka answers")
        site.stack.broker.process.pause()
        try:
            seconds = wait_for(tab, lambda: "Kafka has not answered since" in tab.text(), "it is said")
            assert seconds < 15
            assert "These numbers are from" in tab.text()
            tab.go(f"{site.url}/actions")
            assert "Kafka has not answered since" in tab.text()
        finally:
            site.stack.broker.process.resume()
        wait_for(tab, lambda: "has not answered" not in tab.text(), "Kafka answers again")


def test_markup_and_terminal_escapes_in_every_field_are_text_where_scripts_may_run(browser: Browser) -> None:
    harness = asyncio.run(open_hostile_console())
    seen: set[str] = set()
    with serve_console(harness) as address, browser.open(address, scripts=True) as tab:
        waiting = ["/", "/history", *(f"/letters/0:{offset}" for offset in range(12)), *harness.addresses.values()]
        while waiting:
            path = waiting.pop()
            seen.add(path)
            tab.go(address + path)
            check_is_text(tab, path)
            found = tab.evaluate("[...document.links].map(link => link.pathname + link.search)")
            waiting += [each for each in dict.fromkeys(found) if each not in {*seen, *waiting} and "/value" not in each]
    assert {path.partition("?")[0].split("/")[1] for path in seen} == {"", "history", "letters", "causes", "actions"}


async def open_hostile_console() -> ConsoleHarness:
    """Text that is hostile in every field, and an action with it."""
    harness = ConsoleHarness(await create_hostile_topic(HOSTILE), identity=Identity(HOSTILE, Role.EDITOR))
    await harness.check()
    edit = {"do": "edit", "letter": "0:0", "reason": HOSTILE, "expression": HOSTILE}
    harness.addresses = {"edit": (await harness.post("/actions", edit)).headers["location"]}
    return harness


def check_is_text(tab: Tab, path: str) -> None:
    text = tab.evaluate("document.title + document.body.textContent")
    problems = [event for event in tab.events if event["method"] in PROBLEMS]
    requested = {
        event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"
    }
    assert problems == [], path
    assert {url.rpartition("/")[2] for url in requested} - {path.rpartition("/")[2]} <= {"console.css"}, path
    assert tab.evaluate("typeof ran") == "undefined", path
    assert CONTROL.search(text.replace("\n", "")) is None, path
    assert tab.evaluate("getComputedStyle(document.body).display") == "block", path
