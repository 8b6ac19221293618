"""The console over a topic in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from xml.etree.ElementTree import Element

import httpx
from html5lib import HTMLParser, getTreeBuilder
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.fakes import MemoryConstraints, MemorySources, MemoryStore, MemoryTopic
from tests.support.worker_harness import FAILURE_LOG, open_worker_harness
from worker.console.actions.actions import Actions
from worker.console.actions.runner import ActionRunner
from worker.console.app import Console
from worker.console.group import GroupProgress
from worker.console.identity import FixedIdentity, Identity, Role
from worker.console.mask_rules import NO_RULES, parse_mask_rules
from worker.console.snapshot import Snapshots
from worker.console.workers import Workers
from worker.core.errors import DependencyError
from worker.core.model import PartitionProgress
from worker.dead_letters.settlement import Settlement
from worker.pipeline import Pipeline
from worker.replay.edit_preview import EditPreview
from worker.replay.event_editor import EventEditor
from worker.replay.journal import Journal
from worker.replay.plan import ReplayPolicy
from worker.replay.replayer import Replayer
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import WatchedHold
from worker.replay.watch import DeadLetterWatch
from worker.writing.on_unavailable import OnUnavailable

Fields = Mapping[str, str | list[str]]
VIEWER = Identity("vera", Role.VIEWER)
AWAY = "Kafka cannot be reached"


class ConsoleHarness:
    """A console whose checks the test decides about.

    Attributes:
        is_away: whether Kafka cannot be reached.
        silent_since: when it last answered, if that was long ago.
        retention: of the topic, in seconds.
        group: what Kafka says of the workers' group.
        app: the ASGI application.
        identity: of the user who asks.
        store: where replays write.
        constraints: what the preview of an edit compares rows with.
        actions: those of the console.
        gate: what an action waits for before it scans.
        addresses: parts of addresses, by names that a test has given.
    """

    def __init__(
        self,
        topic: MemoryTopic,
        lag: Mapping[int, int | None] | None = None,
        identity: Identity = VIEWER,
        store: MemoryStore | None = None,
        replay_problem: str | None = None,
        *,
        identify: Callable[[ASGIApp], ASGIApp] | None = None,
        public_url: str | None = None,
        mask: str = "",
        workers: Workers | None = None,
    ) -> None:
        self.topic = topic
        self.is_away = False
        self.silent_since: float | None = None
        self.addresses: dict[str, str] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.retention: float | None = 7 * 86_400
        self.group = progress_of({0: 0, 1: 0} if lag is None else lag)
        self.identity = identity
        self.store = store or MemoryStore()
        self.constraints = MemoryConstraints({})
        self._snapshots = Snapshots()
        self._watch = DeadLetterWatch(
            self._open, self._fetch_retention, self._end, create_observer=self._snapshots.begin
        )
        self.actions = Actions(ActionRunner(self, ReplayPolicy(table=topic.HEAD.table)), lambda: None, 5.0)
        self.app = Console(
            "1.2.3",
            "execution-completed.dlq",
            "metrics-worker",
            self._snapshots,
            lambda: self._watch.state,
            lambda: self.group,
            self._open,
            identify or self._identify,
            self.actions,
            replay_problem,
            public_url,
            parse_mask_rules(mask) if mask else NO_RULES,
            None if workers is None else lambda: workers,
            lambda: self.silent_since,
        ).create_app()

    async def check(self) -> None:
        """Check once whether the topic has changed."""
        with suppress(asyncio.CancelledError):
            await self._watch.run()

    async def request(
        self,
        path: str,
        method: str = "GET",
        host: str = "127.0.0.1:8090",
        *,
        raises: bool = True,
        headers: Mapping[str, str] = MappingProxyType({}),
        data: Fields | None = None,
    ) -> httpx.Response:
        """The answer; with `raises` an error of the program is raised here."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=raises)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8090") as client:
            return await client.request(method, path, headers={"Host": host, **headers}, data=data)

    async def post(self, path: str, fields: Fields, **headers: str) -> httpx.Response:
        """Send a form as a browser does, with the token that its page has."""
        page = (await self.request("/actions/new?do=discard&letter=0:0")).text
        token = page.partition('name="token" value="')[2].partition('"')[0]
        origin = {"Origin": "http://127.0.0.1:8090", **headers}
        return await self.request(path, "POST", headers=origin, data={"token": token} | dict(fields))

    @asynccontextmanager
    async def open_scan(self) -> AsyncIterator[DeadLetterScan]:
        """See `ActionConnections`."""
        await self.gate.wait()
        async with self._open() as topic:
            yield await DeadLetterScan.begin(topic)

    @asynccontextmanager
    async def open_journal(self, entry: Settlement) -> AsyncIterator[Journal]:
        """See `ActionConnections`."""
        yield Journal(self.topic, entry)

    @asynccontextmanager
    async def open_edit_preview(self, policy: ReplayPolicy, editor: EventEditor) -> AsyncIterator[EditPreview]:
        """See `ActionConnections`."""
        yield EditPreview(policy, editor, MemorySources(), self.constraints)

    @asynccontextmanager
    async def open_replay(
        self,
        scan: DeadLetterScan,
        policy: ReplayPolicy,
        entry: Settlement,
        editor: EventEditor | None,
        *,
        on_progress: Callable[[int], object],
        on_finishing: Callable[[float], object],
    ) -> AsyncIterator[Replayer]:
        """See `ActionConnections`."""
        hold = WatchedHold()
        async with open_worker_harness(self.store, OnUnavailable.HOLD, hold=hold) as worker:
            clock = worker.clock
            pipeline = Pipeline(worker.writer, self.topic, hold, worker.telemetry, FAILURE_LOG, sleep=clock.sleep)
            yield Replayer(
                scan,
                Journal(self.topic, entry),
                MemorySources(),
                pipeline,
                hold,
                policy,
                editor=editor,
                on_progress=on_progress,
                on_finishing=on_finishing,
            )

    def _identify(self, app: ASGIApp) -> ASGIApp:
        async def identify(scope: Scope, receive: Receive, send: Send) -> None:
            await FixedIdentity(app, self.identity)(scope, receive, send)

        return identify

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[MemoryTopic]:
        if self.is_away:
            raise DependencyError(AWAY)
        yield self.topic

    async def _fetch_retention(self) -> float | None:
        return self.retention

    async def _end(self, _: float) -> None:
        raise asyncio.CancelledError


def progress_of(lag: Mapping[int, int | None], **rates: float) -> GroupProgress:
    """A group that lags so far behind in each partition; None where it has committed nothing."""
    end = 10_000_000
    partitions = {
        number: PartitionProgress(0 if records is None else end, None if records is None else end - records)
        for number, records in lag.items()
    }
    return GroupProgress(partitions, **rates, problem=None)


def parse_page(text: str) -> Element:
    """The tree of a page; fails where the HTML is not as the standard has it."""
    parser = HTMLParser(getTreeBuilder("etree"), strict=True, namespaceHTMLElements=False)
    root: Element = parser.parse(text)
    return root


def texts(root: Element) -> str:
    """All the text of the page, with one space between words and between elements."""
    return " ".join(" ".join(root.itertext()).split()).replace(" ,", ",")
