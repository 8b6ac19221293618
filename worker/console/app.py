"""The routes of the console. Those of `actions.pages` settle dead letters; no other request changes anything.

/                   the open dead letters: over time, by class, by cause; the workers, and the progress of their group
/causes/ID          a cause and its dead letters
/letters/P:N        one dead letter in full
/letters/P:N/value  its value, byte for byte
/history            who has settled or reopened dead letters
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from worker.console import views
from worker.console.actions.actions import Actions
from worker.console.actions.pages import ActionPages
from worker.console.actions.past_action import OPERATION_ID
from worker.console.cause_order import CauseOrder
from worker.console.group import GroupProgress
from worker.console.guard import Guard
from worker.console.identity import Role, identity_of
from worker.console.mask import Mask
from worker.console.mask_rules import NO_RULES, MaskRules
from worker.console.page import Page
from worker.console.pages import STYLE, render
from worker.console.snapshot import Snapshot, Snapshots
from worker.console.workers import Workers
from worker.core.errors import DependencyError
from worker.core.model import DeadLetterPosition
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.causes import CAUSE_ID
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.settlement import find_settlement
from worker.observability.open_dead_letters import WatchState
from worker.ports import TopicReader
from worker.replay.lookup import find_at, read_at

_POSITION = re.compile(r"(\d{1,9}):(\d{1,18})", re.ASCII)
_PAGE = re.compile(r"[1-9]\d{0,8}", re.ASCII)
_LETTERS, _CAUSES, _OPERATIONS = 50, 20, 50
"""Entries of a page."""
_MAX_READERS = 4
"""Requests that read from Kafka at the same time; each has buffers of some MiB."""


class _NotReadYet(Exception):
    """The topic has not been scanned yet."""


@dataclass(frozen=True)
class Console:
    """What the pages are made of.

    Attributes:
        topic, group: that of the dead letters, and whose progress is shown.
        open_reader: connects to the dead-letter topic.
        read_state: what the watch over it knows.
        identify: wraps the application in the middleware that finds out who asks.
        replay_problem: why nothing can be replayed; None if it can.
        public_url: the address that browsers ask for; None if it is one of loopback.
        mask_rules: what only editors see.
        read_workers: what the workers say of themselves; None if their addresses are not known.
        find_silence: since when Kafka has not answered (Unix time); None if it answers.
    """

    version: str
    topic: str
    group: str
    snapshots: Snapshots
    read_state: Callable[[], WatchState]
    read_group: Callable[[], GroupProgress]
    open_reader: Callable[[], AbstractAsyncContextManager[TopicReader]]
    identify: Callable[[ASGIApp], ASGIApp]
    actions: Actions
    replay_problem: str | None = None
    public_url: str | None = None
    mask_rules: MaskRules = NO_RULES
    read_workers: Callable[[], Workers] | None = None
    find_silence: Callable[[], float | None] = lambda: None
    readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_MAX_READERS))

    def create_app(self) -> ASGIApp:
        """The ASGI application."""
        app = Starlette(
            routes=[
                Route("/", self._show_overview),
                Route("/causes/{cause}", self._show_cause),
                Route("/letters/{position}", self._show_letter),
                Route("/letters/{position}/value", self._send_value),
                Route("/history", self._show_history),
                Route("/console.css", _send_style),
                *ActionPages(self.actions, self._answer, self._snapshot, self.replay_problem, self._mask).routes(),
            ],
            exception_handlers={
                HTTPException: self._show_refusal,
                _NotReadYet: self._show_waiting,
                DependencyError: self._show_failure,
            },
        )
        app.router.redirect_slashes = False
        # Around Starlette itself, so that the answer to an error of this program has the headers too.
        return Guard(self.identify(app), self.public_url)

    async def _show_overview(self, request: Request) -> Response:
        snapshot = self._snapshot()
        page, order = _requested_page(request, len(snapshot.causes), _CAUSES), _requested_order(request)
        overview = views.view_overview(self.read_state(), snapshot, page, order, self._mask(request))
        workers = self.read_workers() if self.read_workers else None
        return self._answer(
            request, "overview.html", overview=overview, orders=CauseOrder, group=self.read_group(), workers=workers
        )

    async def _show_cause(self, request: Request) -> Response:
        snapshot, cause = self._snapshot(), request.path_params["cause"]
        known = snapshot.letters.count(cause)
        group = snapshot.statistics.find(cause)
        if CAUSE_ID.fullmatch(cause) is None or not known:
            return self._answer(request, "no_cause.html", 404, cause=cause if CAUSE_ID.fullmatch(cause) else None)
        page, mask = _requested_page(request, known, _LETTERS), self._mask(request)
        positions = snapshot.letters.find(cause, page)
        async with self.readers, self.open_reader() as reader, aclosing(read_at(reader, positions)) as items:
            letters = [views.summarize(item, mask) async for item in items]
        return self._answer(
            request,
            "cause.html",
            cause=cause,
            group=mask.mask_group(group) if group else None,
            advice=ADVICE[group.cause.error_class] if group else None,
            commands_for_all=views.commands_for_cause(cause),
            letters=letters,
            page=page,
        )

    async def _show_letter(self, request: Request) -> Response:
        item = await self._find(request)
        view = views.view_letter(item, self._snapshot().scan.find_settled(item), self._mask(request))
        return self._answer(request, "letter.html", letter=view)

    async def _send_value(self, request: Request) -> Response:
        if self._mask(request).rules:
            raise HTTPException(403, "Only editors may download values, because CONSOLE_MASK masks some of them.")
        item = await self._find(request)
        name = f"dead-letter-{item.position.partition}-{item.position.offset}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(item.record.value or b"", headers=headers, media_type="application/octet-stream")

    async def _show_history(self, request: Request) -> Response:
        operations = self._snapshot().operations
        page = _requested_page(request, len(operations), _OPERATIONS)
        shown = [self._mask(request).mask_operation(operation) for operation in operations[page.entries]]
        return self._answer(request, "history.html", operations=shown, page=page, operation_id=OPERATION_ID)

    async def _find(self, request: Request) -> DeadLetter | ForeignRecord:
        """The record whose position is in the address."""
        match = _POSITION.fullmatch(request.path_params["position"])
        position = DeadLetterPosition(int(match[1]), int(match[2])) if match else DeadLetterPosition(-1, -1)
        known = self._snapshot().scan.offset_ranges.get(position.partition, range(0))
        item = None
        if position.offset in known:
            async with self.readers, self.open_reader() as reader:
                item = await find_at(reader, position, known)
        if item is None:
            raise HTTPException(404, "The dead-letter topic has no record here, or it came after the last check.")
        if find_settlement(item.record) is not None:
            raise HTTPException(404, "This record is an entry of the journal, which the history shows.")
        return item

    def _mask(self, request: Request) -> Mask:
        """How the user sees dead letters."""
        return Mask(self.mask_rules) if identity_of(request).role < Role.EDITOR else Mask()

    def _snapshot(self) -> Snapshot:
        if self.snapshots.current is None:
            raise _NotReadYet
        return self.snapshots.current

    async def _show_refusal(self, request: Request, error: Exception) -> Response:
        status, text = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
        title = "Not here" if status == 404 else "Refused"
        return self._answer(request, "message.html", status, title=title, text=text)

    async def _show_waiting(self, request: Request, _error: Exception) -> Response:
        problem = self.read_state().problem or ""
        answer = self._answer(request, "message.html", 503, title="The console waits", text=f"{problem}.")
        answer.headers["Refresh"] = "2"
        return answer

    async def _show_failure(self, request: Request, error: Exception) -> Response:
        return self._answer(request, "message.html", 503, title="Kafka did not answer", text=f"{error}.")

    def _answer(self, request: Request, template: str, status: int = 200, **values: object) -> Response:
        identity = identity_of(request)
        values |= {
            "console": self,
            "state": self.read_state(),
            "silent_since": self.find_silence(),
            "identity": identity,
            "may_act": identity.role >= Role.OPERATOR,
            "may_edit": identity.role >= Role.EDITOR,
            "can_sign_out": getattr(request.state, "can_sign_out", False),
        }
        return HTMLResponse(render(template, **values), status)


async def _send_style(_: Request) -> Response:
    return Response(STYLE, media_type="text/css")


def _requested_page(request: Request, total: int, size: int) -> Page:
    """The page that the address names; the last one, if the list has become shorter meanwhile."""
    text = request.query_params.get("page", "1")
    if _PAGE.fullmatch(text) is None:
        raise HTTPException(404, "There is no such page.")
    return Page(min(int(text), Page(1, total, size).pages), total, size)


def _requested_order(request: Request) -> CauseOrder:
    """The order of causes that the address names."""
    try:
        return CauseOrder(request.query_params.get("sort", CauseOrder.NEWEST))
    except ValueError as error:
        raise HTTPException(404, "There is no such order.") from error
