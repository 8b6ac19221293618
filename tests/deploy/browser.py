"""A Chromium without a window that looks at pages as people do: no script runs, nothing but the page is loaded."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Self

from PIL import Image
from websockets.sync.client import ClientConnection, connect

from deploy.local.process import LOOPBACK, Process

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCALE = 2
"""Pixels of a picture to one of CSS, in each direction: a stroke of a letter is wide enough to show its full colour."""
_SECONDS = 60.0
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # where this runs as root or in a container there is none; it looks at our own page alone
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",
    "--remote-debugging-port=0",
)
# DevTools may run this although the page may run nothing.
_TEXTS = """(() => {
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    if (!node.data.trim() || !node.parentElement.checkVisibility()) continue;
    const range = document.createRange(), cell = node.parentElement.closest("td, th");
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter(box => box.width && box.height);
    if (boxes.length) found.push({
      text: node.data.trim().replace(/\\s+/g, " "),
      boxes: boxes.map(box => [box.left + scrollX, box.top + scrollY, box.right + scrollX, box.bottom + scrollY]),
      column: cell && cell.classList.contains("n") && cell.offsetWidth
        ? [[...document.querySelectorAll("table")].indexOf(cell.closest("table")), cell.cellIndex] : null,
    });
  }
  const page = document.documentElement;
  return {texts: found, width: page.scrollWidth, height: page.scrollHeight};
})()"""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Text:
    """Some text that has a place on the page.

    Attributes:
        boxes: left, top, right, bottom of each of its lines, in pixels of CSS.
        column: the table and the column of numbers that it stands in.
    """

    text: str
    boxes: tuple[Box, ...]
    column: tuple[int, int] | None


@dataclass(frozen=True)
class Look:
    """What there is to see of a page: all of it, however long it is.

    Attributes:
        width: of what there is, which is more than that of the window when something overflows.
        requested: every address that the browser asked for.
    """

    picture: Image.Image
    texts: tuple[Text, ...]
    width: float
    requested: tuple[str, ...]

    @property
    def said(self) -> str:
        """All the text, in its order."""
        return " ".join(text.text for text in self.texts)


class Browser:
    """Started and stopped as a context."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        words = [*command, *_OPTIONS, f"--user-data-dir={directory / 'profile'}", "about:blank"]
        self._process = Process("chromium", words, directory / "chromium.log")
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.callback(self._process.stop)
            address = self._process.start(_address, timeout_seconds=_SECONDS)
            self._connection = opening.enter_context(connect(address, max_size=None, proxy=None))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def look(self, url: str, *, width: int, dark: bool = False) -> Look:
        """Load a page into a window of that width, as somebody sees it whose device is set to dark or light."""
        tab = _Tab(self._connection)
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
            return _look(tab)
        finally:
            tab.close()


def _look(tab: _Tab) -> Look:
    page = tab.call("Runtime.evaluate", expression=_TEXTS, returnByValue=True)["result"]["value"]
    clip = {"x": 0, "y": 0, "width": page["width"], "height": page["height"], "scale": 1}
    shot = tab.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    texts = (
        Text(text["text"], tuple(map(tuple, text["boxes"])), text["column"] and tuple(text["column"]))
        for text in page["texts"]
    )
    requests = (event["params"] for event in tab.events if event["method"] == "Network.requestWillBeSent")
    return Look(
        picture=Image.open(BytesIO(b64decode(shot["data"]))).convert("RGB"),
        texts=tuple(texts),
        width=page["width"],
        requested=tuple(request["request"]["url"] for request in requests),
    )


class _Tab:
    """One page, and what DevTools tells of it."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._session, self._number = connection, "", 0
        self.events: deque[dict[str, Any]] = deque()
        self._target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of a command.

        Raises:
            RuntimeError: it failed.
            TimeoutError: there was none.
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
        """Return once it has happened."""
        while not any(seen["method"] == event for seen in self.events):
            self._receive()

    def close(self) -> None:
        self._session = ""
        self.call("Target.closeTarget", targetId=self._target)

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=_SECONDS))
        if "method" in message:
            self.events.append(message)
        return message


def _address(said: str) -> str | None:
    found = re.search(r"DevTools listening on (ws://\S+)", said)
    return found and found[1]
