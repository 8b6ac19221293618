"""The status page in Chromium: on a phone and on a desktop, light and dark, in every state.

The tests check the rendered pixels, independently of fonts and the version of the browser. They keep the pictures in
`.pictures`.
"""

import colorsys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry

from deploy.local.process import LOOPBACK
from tests.deploy.browser import Browser, Rendering
from tests.deploy.readability import DESKTOP, PHONE, count_colours, find_unreadable, is_dark, save_picture
from tests.support.states import HOLDING, STATES
from worker.observability.page import render_page
from worker.observability.server import HealthServer
from worker.observability.status import Status, WorkerState

pytestmark = pytest.mark.timeout(300)
HUES = {
    WorkerState.STARTING: range(30, 56),
    WorkerState.REJOINING: range(30, 56),
    WorkerState.RUNNING: range(110, 150),
    WorkerState.HOLDING: range(12),
    WorkerState.STUCK: range(12),
}
"""Amber, green and red, in degrees."""


@contextmanager
def serve(status: Status) -> Iterator[str]:
    """The address of a server with this status."""
    server = HealthServer(lambda: status, CollectorRegistry(), LOOPBACK, 0, render_page)
    try:
        yield f"http://{LOOPBACK}:{server.port}/"
    finally:
        server.close()


@contextmanager
def serve_with_style(css: str, status: Status) -> Iterator[str]:
    """The address of the page with a defect; the worker's own server would forbid this style."""
    source = render_page(status).replace("</style>", f"{css}</style>").encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(source)

        def log_message(self, *_: object) -> None: ...

    # With threads: a browser opens connections that it does not use, and they would block a single thread.
    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def find_defects(rendering: Rendering, status: Status, width: int) -> list[str]:
    """Everything that is unreadable or misplaced."""
    missing = [f"not shown: {words}" for words in _required_texts(status) if words not in rendering.all_text]
    return missing + find_unreadable(rendering, width)


def _required_texts(status: Status) -> Iterator[str]:
    """The texts that an operator must be able to read."""
    yield f"topic {status.topic} group {status.group}"
    yield f"{_state_name(status)} {status.state.value}"
    if status.state is WorkerState.HOLDING:
        yield from (f"{cause} {reason}" for cause, reason in status.reasons.items())
    for what, figure in (
        ("events", status.rates.events),
        ("rows", status.rates.rows),
        ("dead letters", status.rates.dead_letters),
    ):
        yield f"{what} / s {_grouped(figure)}"
    waiting = _grouped(sum(lag.records for lag in status.lags)) if status.lags else "\N{EN DASH}"
    yield f"records waiting {waiting}"
    for lag in sorted(status.lags, key=lambda lag: -lag.seconds)[:12]:
        yield f"{lag.partition} {_grouped(lag.records)}"
    for letter in status.last_dead_letters:
        yield f"{letter.error_class} {_grouped(letter.number)}"
        yield letter.error_type[:60]


def _grouped(figure: float) -> str:
    return f"{figure:.1f}" if 0 < figure < 1 else f"{figure:,.0f}".replace(",", " ")


def _state_name(status: Status) -> str:
    return status.state.name.capitalize()


def _hue(rendering: Rendering, words: str) -> float:
    """The hue of a text in degrees: that of its most saturated colour."""
    (box,) = next(text for text in rendering.texts if text.text == words).boxes
    drawn = (colour for colour, count in count_colours(rendering, box).items() if count > 20)
    hues = [colorsys.rgb_to_hls(*(value / 255 for value in colour)) for colour in drawn]
    return 360 * max(hues, key=lambda hue: hue[2] * (1 - abs(2 * hue[1] - 1)))[0]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", STATES)
def test_every_state_is_readable(browser: Browser, name: str, width: int, dark: bool) -> None:
    status = STATES[name]
    with serve(status) as url:
        rendering = browser.render(url, width=width, dark=dark)
    save_picture(rendering, name, width, dark=dark)
    assert find_defects(rendering, status, width) == []
    assert round(_hue(rendering, _state_name(status))) in HUES[status.state]
    assert rendering.requested == (url,)
    assert is_dark(rendering, width) is dark


@pytest.mark.parametrize(
    ("css", "fault"),
    [
        (".figures { width: 60rem; }", "it is "),
        (".late td { color: var(--paper); }", "contrast 1.0: 842 310"),
        ("table { display: none; }", "not shown: 0 842 310"),
        (".reasons { text-indent: -99rem; }", "sticks out: store"),
        ("* { position: relative; } dl::after { content: ''; position: absolute; inset: -1rem; background: red; }",
         "contrast 1.0: store"),
        (".figures dd { margin-top: -1rem; }", "one over the other: records waiting, 1 643 314"),
    ],
)  # fmt: skip
def test_defect_is_found(browser: Browser, css: str, fault: str) -> None:
    with serve_with_style(css, HOLDING) as url:
        found = find_defects(browser.render(url, width=PHONE), HOLDING, PHONE)
    assert [one for one in found if one.startswith(fault)], found


def test_browser_runs_no_script(browser: Browser) -> None:
    """Otherwise the pictures would not show that the page works without scripts."""
    source = "data:text/html,<body><script>document.write('ran')</script><noscript>did not run</noscript>"
    assert browser.render(source, width=DESKTOP).all_text == "did not run"
