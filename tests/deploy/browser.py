"""A headless Chromium that renders pages, and clicks on them; it loads nothing from elsewhere."""

import json
import re
from base64 import b64decode
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from time import sleep
from typing import Any, Self

from PIL import Image
from websockets.sync.client import ClientConnection, connect

from deploy.local.process import LOOPBACK, Process

SCALE = 2
"""Device pixels per CSS pixel: the strokes of letters are then wide enough to have their full colour."""
_SECONDS = 60.0
_POLL_SECONDS = 0.02
_NEW = "new"
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # a sandbox does not work as root or in a container; this opens only our own page
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",
    "--remote-debugging-port=0",
)
# DevTools may run this although the page may run no script.
_TEXTS = """(() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
    const range = document.createRange();
    const words = [...node.data.matchAll(/\\S+/g)];  // a box of spaces, as at the beginning of a line, has no colour
    const boxes = words.flatMap(word => {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      return [...range.getClientRects()].filter(box => box.width && box.height);
    });
    if (boxes.length) found.push({
      text: node.data.trim().replace(/\\s+/g, " "),
      boxes: boxes.map(box => [box.left + scrollX, box.top + scrollY, box.right + scrollX, box.bottom + scrollY]),
    });
  }
  const page = document.documentElement;
  return {texts: found, width: page.scrollWidth, height: page.scrollHeight};
})()"""

_AXE = """axe.run().then(result => result.violations.flatMap(rule =>
  rule.nodes.map(node => `${rule.id}: ${rule.help}: ${node.html.slice(0, 300)}`)))"""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Text:
    """Some text on the page.

    Attributes:
        boxes: left, top, right, bottom of each of its lines, in CSS pixels.
    """

    text: str
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class Rendering:
    """A rendered page, in its full length.

    Attributes:
        png: the file of the picture.
        width: of the content, in CSS pixels; more than that of the window if something overflows.
        requested: every address that the browser requested.
        violations: what axe-core objects to, with the elements; empty if it was not asked.
    """

    png: bytes
    picture: Image.Image
    texts: tuple[Text, ...]
    width: float
    requested: tuple[str, ...]
    violations: tuple[str, ...] = ()

    @property
    def all_text(self) -> str:
        """All the text, in order."""
        return " ".join(text.text for text in self.texts)


class Browser:
    """A browser process; a context manager starts and stops it."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        arguments = [*command, *_OPTIONS, f"--user-data-dir={directory / 'profile'}", "about:blank"]
        self._process = Process("chromium", arguments, directory / "chromium.log")
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.callback(self._process.stop)
            address = self._process.start(_find_address, timeout_seconds=_SECONDS)
            self._connection = opening.enter_context(connect(address, max_size=None, proxy=None))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def render(self, url: str, *, width: int, dark: bool = False, checker: str = "") -> Rendering:
        """Load a page in a window of this width, with the dark or light colour scheme.

        `checker` is the script of axe-core, which then looks at the page; the page itself runs no script.
        """
        tab = Tab(self._connection)
        try:
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            device = {"width": width, "height": 800, "deviceScaleFactor": SCALE, "mobile": width < 600}
            tab.call("Emulation.setDeviceMetricsOverride", **device)
            tab.call("Emulation.setEmulatedMedia", features=[scheme])
            tab.call("Emulation.setScriptExecutionDisabled", value=True)
            tab.call("Page.enable")
            tab.call("Network.enable")
            tab.call("Page.navigate", url=url)
            tab.wait_for("Page.loadEventFired")
            tab.call("Page.stopLoading")  # a page that waits would reload itself meanwhile
            rendering = _render(tab)
            return replace(rendering, violations=_check(tab, checker)) if checker else rendering
        finally:
            tab.close()

    @contextmanager
    def open(self, url: str, *, scripts: bool = False, beside: "Tab | None" = None) -> "Iterator[Tab]":
        """A page to click on, of a user of their own: with the cookies of `beside`, or else without any.

        It runs no script but with `scripts`; the watchdogs of the browser then report too.
        """
        tab = Tab(self._connection, beside.context if beside else _NEW)
        try:
            tab.call("Emulation.setScriptExecutionDisabled", value=not scripts)
            for domain in ("Page", "Network", *(("Audits", "Log", "Runtime") if scripts else ())):
                tab.call(f"{domain}.enable")
            tab.go(url)
            yield tab
        finally:
            tab.close()


class Tab:
    """One page, and its DevTools events.

    Attributes:
        context: what keeps the cookies, by its id; `_NEW` makes one, and without it the browser has one for all.
    """

    def __init__(self, connection: ClientConnection, context: str = "") -> None:
        self._connection, self._session, self._number = connection, "", 0
        self.events: deque[dict[str, Any]] = deque()
        self.context = self.call("Target.createBrowserContext")["browserContextId"] if context == _NEW else context
        of_user = {"browserContextId": self.context} if self.context else {}
        self._target = self.call("Target.createTarget", url="about:blank", **of_user)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command and return its result.

        Raises:
            RuntimeError: the command failed.
            TimeoutError: there was no result.
        """
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = self._receive()
            if answer.get("id") == self._number and answer.get("sessionId", "") == self._session:
                break
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait_for(self, event: str) -> None:
        """Wait for an event."""
        while not any(seen["method"] == event for seen in self.events):
            self._receive()

    def go(self, url: str) -> None:
        """Load a page."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("Page.loadEventFired")

    def click(self, selector: str, *, loads: bool = True) -> None:
        """Click on an element, and wait for the page to which that leads."""
        self.events.clear()
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        if loads:
            self.wait_for("Page.loadEventFired")

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field, as the keyboard does."""
        self.evaluate(
            f"(field => {{ field.focus(); field.select(); }})(document.querySelector({json.dumps(selector)}))"
        )
        self.call("Input.insertText", text=text)

    def post(self, url: str, fields: Mapping[str, str]) -> None:
        """Send a form that the page does not have, as an attacker does who has changed it."""
        inputs = "".join(f"<input name={name} value={json.dumps(value)}>" for name, value in fields.items())
        form = f"<form method=post action={json.dumps(url)} id=forged>{inputs}<button>send</button></form>"
        self.evaluate(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(form)})")
        self.click("#forged button")

    def text(self) -> str:
        """The text of the page, once it is complete: a page that waits reloads itself."""
        script = "document.readyState === 'complete' ? document.body.innerText : null"
        while (found := self.evaluate(script)) is None:
            sleep(_POLL_SECONDS)
        return " ".join(found.split())

    def buttons(self) -> list[str]:
        """What the page offers to do: the texts of its buttons, in order."""
        script = "[...document.querySelectorAll('button, a.button')].map(each => each.innerText)"
        found: list[str] = self.evaluate(script)
        return found

    @property
    def status(self) -> int:
        """The HTTP status of the page."""
        answers = [event["params"] for event in self.events if event["method"] == "Network.responseReceived"]
        status: int = [each["response"]["status"] for each in answers if each["type"] == "Document"][-1]
        return status

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, whether or not that may run scripts. Raises RuntimeError."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['exception']}")
        return answer["result"].get("value")

    def close(self) -> None:
        self._session = ""
        self.call("Target.closeTarget", targetId=self._target)

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=_SECONDS))
        if "method" in message:
            self.events.append(message)
        return message


def _render(tab: Tab) -> Rendering:
    page = tab.call("Runtime.evaluate", expression=_TEXTS, returnByValue=True)["result"]["value"]
    clip = {"x": 0, "y": 0, "width": page["width"], "height": page["height"], "scale": 1}
    shot = tab.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip, optimizeForSpeed=True)
    png = b64decode(shot["data"])
    texts = (Text(text["text"], tuple(map(tuple, text["boxes"]))) for text in page["texts"])
    requests = (event["params"] for event in tab.events if event["method"] == "Network.requestWillBeSent")
    return Rendering(
        png=png,
        picture=Image.open(BytesIO(png)).convert("RGB"),
        texts=tuple(texts),
        width=page["width"],
        requested=tuple(request["request"]["url"] for request in requests),
    )


def _check(tab: Tab, checker: str) -> tuple[str, ...]:
    tab.call("Emulation.setScriptExecutionDisabled", value=False)  # it waits for frames and timers
    answer = tab.call("Runtime.evaluate", expression=f"{checker};{_AXE}", awaitPromise=True, returnByValue=True)
    if "exceptionDetails" in answer:
        raise RuntimeError(f"axe-core: {answer['exceptionDetails']}")
    return tuple(answer["result"]["value"])


def _find_address(output: str) -> str | None:
    match = re.search(r"DevTools listening on (ws://\S+)", output)
    return match and match[1]
