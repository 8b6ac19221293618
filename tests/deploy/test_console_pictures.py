"""The console in Chromium: on a phone and on a desktop, light and dark, every page in every state.

It is served by its own server, and the browser runs no scripts. The pictures are kept in `.pictures`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Thread

import pytest

from deploy.local.process import LOOPBACK
from tests.deploy.browser import Browser
from tests.deploy.readability import DESKTOP, PHONE, find_unreadable, is_dark, save_picture
from tests.support import console_states
from tests.support.console import ConsoleHarness
from worker.console.server import listen, serve

pytestmark = pytest.mark.timeout(300)
SKIP_LINK = "Skip to the content"
"""It is outside of the page until the keyboard reaches it."""
STATES: dict[str, tuple[Callable[[], Coroutine[None, None, ConsoleHarness]], str, tuple[str, ...]]] = {
    "overview": (
        console_states.busy,
        "/?sort=count",
        (
            "Causes, the most frequent first",
            "row_refused 124",
            "VIOLATED_CONSTRAINT (469) , metric execution_time_ms",
            "1 234",
            "Open over time, by the hour",
            "“The worker holds: store”.",
            "Connect call failed",
            "4 more, none with more lag",
        ),
    ),
    "overview empty": (console_states.empty, "/", ("None: every metric that was read is a row, or was settled.",)),
    "overview hostile": (console_states.hostile, "/", ("<script>alert(1)</script>\\x1b[31m\\u202e",)),
    "overview away": (console_states.away, "/", ("Kafka has not answered since", "Kafka cannot be read.", "1 234")),
    "waiting": (console_states.waiting, "/", ("The console waits", "Kafka cannot be reached.")),
    "cause": (console_states.busy, "/causes/{NEGATIVE}?page=2", ("What to do", "51 to 100 of 124", "Previous", "Next")),
    "cause foreign": (console_states.busy, "/causes/foreign", ("Records that are no dead letters", "0:4")),
    "cause of an editor": (
        console_states.acting,
        "/causes/{NEGATIVE}",
        ("All of them", "Edit and replay…", "Those that are ticked:", "0:5"),
    ),
    "letter of an editor": (console_states.acting, "/letters/0:5", ("Replay…", "Discard…", "The same as commands")),
    "no cause": (console_states.acting, "/causes/00000000", ("Restore those that are settled…",)),
    "action form replay": (
        console_states.acting,
        "/actions/new?do=replay&cause={OUTAGE}",
        ("At most so many metrics a second", "Check", "The check writes nothing"),
    ),
    "action form edit": (
        console_states.acting,
        "/actions/new?do=edit&letter=0:5&letter=0:140&expression=.metrics.execution_time_ms%0A%7C%3D+-.",
        ("Expression of jq", "0:5 , 0:140", "The journal keeps it"),
    ),
    "action ready": (console_states.acting, "{ready}", ("Checked. Nothing was written yet.", "OPS-1190")),
    "action edit": (console_states.acting, "{edit}", ("Before and after", '"agent_name": "build-agent",')),
    "action refused": (console_states.acting, "{refused}", ("It would be refused: violates the constraint",)),
    "action mistake": (console_states.acting, "{mistake}", ("Failed.", "Nothing was written.")),
    "action running": (console_states.acting, "{running}", ("Running.", "Stop", "a second")),
    "action waiting": (console_states.acting, "{waiting}", ("Waits for another action", "Stop")),
    "action done": (console_states.acting, "{done}", ("Done.", "What was not written", "a new dead letter")),
    "action discarded": (console_states.acting, "{discarded}", ("Done.", "Undo: restore…")),
    "actions": (console_states.acting, "/actions", ("Replay cause", "running", "failed")),
    "letter": (console_states.busy, "/letters/0:5", ("Replay it", '"metric_value": "-3812.5",', "planner")),
    "letter pointer": (console_states.busy, "/letters/0:2", ("too_large",)),
    "letter bytes": (console_states.busy, "/letters/0:3", ("000000 ff fe 7b",)),
    "letter foreign": (console_states.busy, "/letters/0:4", ("no dead letter", "hello, is this the right topic?")),
    "letter settled": (console_states.busy, "/letters/0:0", ("Settled.", "OPS-1182", "Reopen it")),
    "letter hostile": (console_states.hostile, "/letters/0:0", ("<script>alert(1)</script>\\x1b[31m\\u202e",)),
    "history": (console_states.busy, "/history", ("Discarded by ana.lopez", "not ended", "1 discarded")),
    "history hostile": (console_states.hostile, "/history", ("<script>alert(1)</script>\\x1b[31m\\u202e",)),
    "past action": (console_states.acting, f"/actions/{'0' * 32}", ("Not ended.", "How to go on", "Again…")),
    "letter masked": (
        console_states.masked,
        "/letters/0:5",
        ("Some values are masked", '"user_id": "•••"', "Sign out"),
    ),
    "cause masked": (console_states.masked, "/causes/{NEGATIVE}", ("Constraint `no_negative_duration`", "•••")),
    "no role": (console_states.refused, "/", ("You are known as ana.lopez", "agents-emea, on-call", "Sign out")),
    "not here": (console_states.busy, "/letters/0:999999", ("Not here", "To the open dead letters")),
}
"""What makes the topic, the address of the page, and what an operator must be able to read on it."""


@contextmanager
def serve_console(harness: ConsoleHarness) -> Iterator[str]:
    """The address of the console."""
    with listen(LOOPBACK, 0) as listening:
        loop = asyncio.new_event_loop()
        serving = loop.create_task(serve(harness.app, listening))
        ended = asyncio.wait([serving])
        thread = Thread(target=lambda: loop.run_until_complete(ended))
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{listening.getsockname()[1]}"
        finally:
            loop.call_soon_threadsafe(serving.cancel)
            thread.join()
            loop.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", STATES)
def test_every_page_is_readable_and_accessible(browser: Browser, axe: str, name: str, width: int, dark: bool) -> None:
    create, path, required = STATES[name]
    harness = create_once(create)
    path = path.format(**harness.addresses)
    checker = axe if dark is (width == DESKTOP) else ""  # each width and each scheme once
    with serve_console(harness) as address:
        rendering = browser.render(address + path, width=width, dark=dark, checker=checker)
    save_picture(rendering, f"console {name}", width, dark=dark)
    assert [each for each in find_unreadable(rendering, width) if SKIP_LINK not in each] == []
    assert [words for words in required if words not in rendering.all_text] == []
    assert rendering.requested[:2] == (address + path, f"{address}/console.css")
    assert set(rendering.requested) == set(rendering.requested[:2])  # a page that refreshes itself may be loaded twice
    assert is_dark(rendering, width) is dark
    assert rendering.violations == ()


@cache
def create_once(create: Callable[[], Coroutine[None, None, ConsoleHarness]]) -> ConsoleHarness:
    """A console, to look at only. What it does when it is created does not go on."""
    return asyncio.run(create())
