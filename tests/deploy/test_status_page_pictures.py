"""The status page in Chromium: on a phone and on a desktop, light and dark, in every state.

The tests check the rendered pixels, independently of fonts and the version of the browser. They keep the pictures in
`.pictures`.
"""

import colorsys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from threading import Thread

import pytest
from prometheus_client import CollectorRegistry

from deploy.checks import debian
from deploy.local.process import LOOPBACK, REPOSITORY
from tests.deploy.browser import SCALE, Box, Browser, Rendering
from tests.support.states import HOLDING, STATES
from worker.observability.page import render_page
from worker.observability.server import HealthServer
from worker.observability.status import Status, WorkerState

pytestmark = pytest.mark.timeout(300)
PICTURES = REPOSITORY / ".pictures"
PHONE, DESKTOP = 390, 1280
Colour = tuple[int, int, int]
MIN_CONTRAST = 4.5
"""The minimum contrast of text in the Web Content Accessibility Guidelines, level AA."""
HUES = {
    WorkerState.STARTING: range(30, 56),
    WorkerState.REJOINING: range(30, 56),
    WorkerState.RUNNING: range(110, 150),
    WorkerState.HOLDING: range(12),
    WorkerState.STUCK: range(12),
}
"""Amber, green and red, in degrees."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(debian.ensure_chromium(), tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


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
    found = [f"it is {rendering.width} wide in a window of {width}"] if rendering.width > width else []
    found += [f"not shown: {words}" for words in _required_texts(status) if words not in rendering.all_text]
    for text in rendering.texts:
        for box in text.boxes:
            if box[0] < 0 or box[1] < 0 or box[2] > width + 0.5:
                found.append(f"sticks out: {text.text}")
            elif (contrast := _contrast(rendering, box)) < MIN_CONTRAST:
                found.append(f"contrast {contrast:.1f}: {text.text}")
    found += [f"one over the other: {one}, {other}" for one, other in _overlapping(rendering)]
    return found


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


def _contrast(rendering: Rendering, box: Box) -> float:
    """The contrast in a box between its most frequent colour and the colour that differs most from it."""
    colours = _colours(rendering, box)
    ground = _luminance(max(colours, key=lambda colour: colours[colour]))
    lights = [_luminance(colour) for colour in colours]
    return max((max(light, ground) + 0.05) / (min(light, ground) + 0.05) for light in lights)


def _colours(rendering: Rendering, box: Box) -> Counter[Colour]:
    """The number of pixels of each colour in a box."""
    left, top, right, bottom = (edge * SCALE for edge in box)
    part = rendering.picture.crop((int(left), int(top), int(right) + 1, int(bottom) + 1))
    raw = part.tobytes()
    return Counter(zip(raw[::3], raw[1::3], raw[2::3], strict=True))


def _luminance(colour: Colour) -> float:
    """The relative luminance of sRGB, between 0 and 1."""
    shares = (value / 255 for value in colour)
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _overlapping(rendering: Rendering) -> list[tuple[str, str]]:
    """Texts that overlap by more than a pixel of rounding."""
    boxes = [(text.text, box) for text in rendering.texts for box in text.boxes]
    return [
        (one, other)
        for (one, a), (other, b) in combinations(boxes, 2)
        if min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 1
    ]


def _hue(rendering: Rendering, words: str) -> float:
    """The hue of a text in degrees: that of its most saturated colour."""
    (box,) = next(text for text in rendering.texts if text.text == words).boxes
    drawn = (colour for colour, count in _colours(rendering, box).items() if count > 20)
    hues = [colorsys.rgb_to_hls(*(value / 255 for value in colour)) for colour in drawn]
    return 360 * max(hues, key=lambda hue: hue[2] * (1 - abs(2 * hue[1] - 1)))[0]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", STATES)
def test_every_state_is_readable(browser: Browser, name: str, width: int, dark: bool) -> None:
    status = STATES[name]
    with serve(status) as url:
        rendering = browser.render(url, width=width, dark=dark)
    PICTURES.mkdir(exist_ok=True)
    rendering.picture.save(PICTURES / f"{name.replace(' ', '-')}-{width}-{'dark' if dark else 'light'}.png")
    assert find_defects(rendering, status, width) == []
    assert round(_hue(rendering, _state_name(status))) in HUES[status.state]
    assert rendering.requested == (url,)
    assert (_luminance(max(_colours(rendering, (0, 0, width, 4)))) < 0.1) is dark


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
