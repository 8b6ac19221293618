"""The console over a topic in memory."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from xml.etree.ElementTree import Element

import httpx
from html5lib import HTMLParser, getTreeBuilder

from tests.support.fakes import MemoryTopic
from worker.console.app import Console
from worker.console.identity import FixedIdentity, Identity, Role
from worker.console.lag import GroupLag
from worker.console.snapshot import Snapshots
from worker.core.errors import DependencyError
from worker.replay.watch import DeadLetterWatch

AWAY = "Kafka cannot be reached"


class ConsoleHarness:
    """A console whose checks the test decides about.

    Attributes:
        is_away: whether Kafka cannot be reached.
        retention: of the topic, in seconds.
        app: the ASGI application.
    """

    def __init__(self, topic: MemoryTopic, lag: Mapping[int, int | None] | None = None) -> None:
        self.topic = topic
        self.is_away = False
        self.retention: float | None = 7 * 86_400
        self.lag = GroupLag({0: 0, 1: 0} if lag is None else lag, None)
        self._snapshots = Snapshots()
        self._watch = DeadLetterWatch(
            self._open, self._fetch_retention, self._end, create_observer=self._snapshots.begin
        )
        self.app = Console(
            "1.2.3",
            "execution-completed.dlq",
            "metrics-worker",
            self._snapshots,
            lambda: self._watch.state,
            lambda: self.lag,
            self._open,
            partial(FixedIdentity, identity=Identity("ana", Role.VIEWER)),
        ).create_app()

    async def check(self) -> None:
        """Check once whether the topic has changed."""
        with suppress(asyncio.CancelledError):
            await self._watch.run()

    async def request(
        self, path: str, method: str = "GET", host: str = "127.0.0.1:8090", *, raises: bool = True
    ) -> httpx.Response:
        """The answer; with `raises` an error of the program is raised here."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=raises)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8090") as client:
            return await client.request(method, path, headers={"Host": host})

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[MemoryTopic]:
        if self.is_away:
            raise DependencyError(AWAY)
        yield self.topic

    async def _fetch_retention(self) -> float | None:
        return self.retention

    async def _end(self, _: float) -> None:
        raise asyncio.CancelledError


def parse_page(text: str) -> Element:
    """The tree of a page; fails where the HTML is not as the standard has it."""
    parser = HTMLParser(getTreeBuilder("etree"), strict=True, namespaceHTMLElements=False)
    root: Element = parser.parse(text)
    return root


def texts(root: Element) -> str:
    """All the text of the page, with one space between words and between elements."""
    return " ".join(" ".join(root.itertext()).split()).replace(" ,", ",")
