"""The status page as Chromium shows it to people: on a phone and on a desk, by day and by night, in every state.

What is judged is what is drawn, and none of it hangs on fonts or on the version of the browser. The pictures are kept
in `.pictures`, to be looked at.
"""

import colorsys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from prometheus_client import CollectorRegistry

from deploy.checks import debian
from deploy.local.process import LOOPBACK, REPOSITORY
from tests.deploy.browser import SCALE, Box, Browser, Look
from tests.support.states import HOLDING, STATES
from worker.http.page import page
from worker.http.server import Health
from worker.http.status import State, Status

pytestmark = pytest.mark.timeout(300)
PICTURES = REPOSITORY / ".pictures"
PHONE, DESK = 390, 1280
LEGIBLE = 4.5
"""The least contrast of text in the Web Content Accessibility Guidelines, level AA."""
HUES = {
    State.STARTING: range(30, 56),
    State.REJOINING: range(30, 56),
    State.RUNNING: range(110, 150),
    State.HOLDING: range(12),
    State.STUCK: range(12),
}
"""Amber, green and red, in degrees."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(debian.chromium(), tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@contextmanager
def served(status: Status) -> Iterator[str]:
    """The address of a worker's own server, for which it stands so."""
    server = Health(lambda: status, CollectorRegistry()).serve(LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.port}/"
    finally:
        server.close()


@contextmanager
def served_with(css: str, status: Status) -> Iterator[str]:
    """The address of the same page, spoiled; the worker's own server would not let a browser apply it."""
    source = page(status).replace("</style>", f"{css}</style>").encode()

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None: ...

    def answer(_environ: object, start_response: object) -> list[bytes]:
        assert callable(start_response)
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [source]

    with make_server(LOOPBACK, 0, answer, handler_class=Quiet) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def faults(look: Look, status: Status, width: int) -> list[str]:
    """Whatever a person would complain of."""
    found = [f"it is {look.width} wide in a window of {width}"] if look.width > width else []
    found += [f"not shown: {words}" for words in _what_matters(status) if words not in look.said]
    for text in look.texts:
        for box in text.boxes:
            if box[0] < 0 or box[1] < 0 or box[2] > width + 0.5:
                found.append(f"sticks out: {text.text}")
            elif (contrast := _contrast(look, box)) < LEGIBLE:
                found.append(f"contrast {contrast:.1f}: {text.text}")
    found += [f"numbers that are not flush right in {column}: {edges}" for column, edges in _ragged(look).items()]
    return found


def _what_matters(status: Status) -> Iterator[str]:
    """What somebody on call must be able to read, as runs of text."""
    yield f"{status.topic} as {status.group}"
    yield f"{_state_name(status)} {status.state.value}"
    if status.state is State.HOLDING:
        yield from (f"{cause} {reason}" for cause, reason in status.reasons.items())
    for what, figure in (
        ("events", status.rates.events),
        ("rows", status.rates.rows),
        ("dead letters", status.rates.letters),
    ):
        yield f"{what} / s {_grouped(figure)}"
    yield f"records waiting {_grouped(sum(lag.records for lag in status.lags))}"
    for lag in sorted(status.lags, key=lambda lag: -lag.seconds)[:12]:
        yield f"{lag.partition} {_grouped(lag.records)}"
    for letter in status.last_letters:
        yield f"{letter.error_class} {_grouped(letter.number)}"
        yield letter.error_type


def _grouped(figure: float) -> str:
    return f"{figure:.1f}" if 0 < figure < 1 else f"{figure:,.0f}".replace(",", " ")


def _state_name(status: Status) -> str:
    return status.state.name.capitalize()


def _contrast(look: Look, box: Box) -> float:
    """The contrast of what is drawn there: of the commonest colour with that which differs most from it."""
    left, top, right, bottom = (edge * SCALE for edge in box)
    part = look.picture.crop((int(left), int(top), int(right) + 1, int(bottom) + 1))
    colours = part.getcolors(part.width * part.height) or []
    ground = _luminance(max(colours)[1])
    lights = (_luminance(colour) for _, colour in colours)
    return max((max(light, ground) + 0.05) / (min(light, ground) + 0.05) for light in lights)


def _luminance(colour: object) -> float:
    """As the guidelines define it for sRGB, between 0 and 1."""
    assert isinstance(colour, tuple)
    shares = (value / 255 for value in colour)
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def _ragged(look: Look) -> dict[tuple[int, int], set[float]]:
    """The columns of numbers whose right edges differ, with these."""
    edges: defaultdict[tuple[int, int], set[float]] = defaultdict(set)
    for text in look.texts:
        if text.column:
            edges[text.column].add(round(text.boxes[-1][2]))
    return {column: rights for column, rights in edges.items() if max(rights) - min(rights) > 1}


def _hue(look: Look, words: str) -> float:
    """The hue of some text in degrees: of the most saturated colour that is drawn there."""
    (box,) = next(text for text in look.texts if text.text == words).boxes
    left, top, right, bottom = (edge * SCALE for edge in box)
    part = look.picture.crop((int(left), int(top), int(right) + 1, int(bottom) + 1))
    colours = [colour for count, colour in part.getcolors(part.width * part.height) or [] if count > 20]
    hues = [colorsys.rgb_to_hls(*(value / 255 for value in colour)) for colour in colours if isinstance(colour, tuple)]
    return 360 * max(hues, key=lambda hue: hue[2] * (1 - abs(2 * hue[1] - 1)))[0]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("name", STATES)
def test_every_state_can_be_read(browser: Browser, name: str, width: int, dark: bool) -> None:
    status = STATES[name]
    with served(status) as url:
        look = browser.look(url, width=width, dark=dark)
    PICTURES.mkdir(exist_ok=True)
    look.picture.save(PICTURES / f"{name.replace(' ', '-')}-{width}-{'dark' if dark else 'light'}.png")
    assert faults(look, status, width) == []
    assert round(_hue(look, _state_name(status))) in HUES[status.state]
    assert look.requested == (url,)
    assert (_luminance(look.picture.getpixel((2, 2)) or 0.0) < 0.1) is dark


@pytest.mark.parametrize(
    ("css", "fault"),
    [
        ("body { min-width: 900px }", "it is 9"),
        ("table { display: none }", "not shown: 0 842 310"),
        ("td, th { opacity: 0.2 }", "contrast"),
        ("td, th { text-align: left !important }", "not flush right"),
    ],
)
def test_a_fault_of_the_page_would_be_seen(browser: Browser, css: str, fault: str) -> None:
    with served_with(css, HOLDING) as url:
        found = faults(browser.look(url, width=PHONE), HOLDING, PHONE)
    assert any(fault in one for one in found), found
