"""The pages of actions. A GET only shows; a POST needs a token of its form, and a role.

/actions            the actions of this process, to look at; POST: preview one
/actions/new        the form of an action
/actions/ID         an action: its preview, progress and result
/actions/ID/start   POST: run what was previewed
/actions/ID/stop    POST: stop it
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker.console.actions.actions import Actions, TooManyActions
from worker.console.actions.counts import MAX_SAMPLE_BYTES
from worker.console.actions.form import MAX_BODY_BYTES, Fields, Form, InvalidForm, parse_fields, parse_form
from worker.console.actions.masked_run import mask_run
from worker.console.actions.past_action import OPERATION_ID, find_past_action
from worker.console.actions.request import ActionKind
from worker.console.actions.run import ActionRun
from worker.console.csrf import CsrfTokens, is_same_origin
from worker.console.identity import Role, identity_of
from worker.console.mask import Mask
from worker.console.snapshot import Snapshot
from worker.dead_letters.advice import ADVICE

_SECONDS = 0.8
"""How long an answer waits for an action, so that of a quick one the result is shown at once."""
_REFRESH_SECONDS = 2
_NO_JQ = "An edit needs jq: pip install 'execution-metrics-worker[edit]'"
_FORM_TYPE = "application/x-www-form-urlencoded"


class Answer(Protocol):
    """Renders a page."""

    def __call__(self, request: Request, template: str, status: int = 200, **values: object) -> Response:
        """The answer to a request."""


class ActionPages:
    """The routes of actions.

    Args:
        read_snapshot: the dead letters of the last scan.
        replay_problem: why nothing can be replayed; None if it can.
        choose_mask: how the user of a request sees dead letters.
    """

    def __init__(
        self,
        actions: Actions,
        answer: Answer,
        read_snapshot: Callable[[], Snapshot],
        replay_problem: str | None,
        choose_mask: Callable[[Request], Mask],
    ) -> None:
        self._actions = actions
        self._answer = answer
        self._read_snapshot = read_snapshot
        self._replay_problem = replay_problem
        self._choose_mask = choose_mask
        self._tokens = CsrfTokens()

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/actions", self._show_list, methods=["GET"]),
            Route("/actions", self._preview, methods=["POST"]),
            Route("/actions/new", self._show_form, methods=["GET"]),
            Route("/actions/{action}", self._show_action, methods=["GET"]),
            Route("/actions/{action}/start", self._start, methods=["POST"]),
            Route("/actions/{action}/stop", self._stop, methods=["POST"]),
        ]

    async def _show_list(self, request: Request) -> Response:
        return self._answer(request, "actions.html", runs=self._actions.latest())

    async def _show_form(self, request: Request) -> Response:
        form = _parse_form(_parse_fields(request.url.query.encode("ascii", "replace")))
        _require_role(request, form.request.kind.role)
        return self._answer_with_form(request, form._replace(problems=()))

    async def _preview(self, request: Request) -> Response:
        form = _parse_form(await self._receive(request))
        _require_role(request, form.request.kind.role)
        if (problem := self._find_problem(form.request.kind)) is not None:
            raise HTTPException(409, problem)
        if form.problems:
            return self._answer_with_form(request, form, 422)
        try:
            run = self._actions.preview(form.request, identity_of(request).name)
        except TooManyActions as error:
            raise HTTPException(429, str(error)) from error
        return await self._redirect_to(run)

    async def _show_action(self, request: Request) -> Response:
        run = self._actions.find(request.path_params["action"])
        if run is None:
            return self._show_past_action(request)
        seen, token = mask_run(run, self._choose_mask(request)), self._tokens.issue(identity_of(request))
        answer = self._answer(request, "action.html", run=seen, token=token, MAX_SAMPLE_BYTES=MAX_SAMPLE_BYTES)
        if run.is_active:
            answer.headers["Refresh"] = str(_REFRESH_SECONDS)
        return answer

    def _show_past_action(self, request: Request) -> Response:
        """An action that this process does not know: what the journal has of it."""
        action = request.path_params["action"]
        if OPERATION_ID.fullmatch(action) is None:
            raise HTTPException(404, "No action has this address.")
        found = find_past_action(self._read_snapshot().operations, action, self._choose_mask(request))
        return self._answer(request, "past_action.html", 200 if found else 404, found=found)

    async def _start(self, request: Request) -> Response:
        await self._receive(request)
        run = self._find(request)
        _require_role(request, run.request.kind.role)
        if run.by != identity_of(request).name:
            raise HTTPException(403, "Another user has checked this: check it yourself, then start it.")
        try:
            self._actions.confirm(run)
        except TooManyActions as error:
            raise HTTPException(429, str(error)) from error
        return await self._redirect_to(run)

    async def _stop(self, request: Request) -> Response:
        await self._receive(request)
        run = self._find(request)
        _require_role(request, Role.OPERATOR)
        self._actions.stop(run)
        return await self._redirect_to(run)

    def _answer_with_form(self, request: Request, form: Form, status: int = 200) -> Response:
        asked = form.request
        group = self._read_snapshot().statistics.find(asked.cause) if asked.cause is not None else None
        return self._answer(
            request,
            "action_form.html",
            status,
            form=form,
            asked=asked,
            kinds=ActionKind,
            problem=self._find_problem(asked.kind),
            group=self._choose_mask(request).mask_group(group) if group else None,
            advice=ADVICE[group.cause.error_class] if group else None,
            token=self._tokens.issue(identity_of(request)),
        )

    async def _redirect_to(self, run: ActionRun) -> Response:
        await self._actions.wait(run, _SECONDS)
        return RedirectResponse(f"/actions/{run.id}", 303)

    async def _receive(self, request: Request) -> Fields:
        """The fields of a form that a page of this console has sent for this user."""
        if not is_same_origin(request.headers):
            raise HTTPException(403, "Another web site has sent this request. Nothing was done.")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
            raise HTTPException(415, "This is no form.")
        fields = _parse_fields(await _read_body(request))
        tokens = fields.get("token", ())
        if not tokens or not self._tokens.is_valid(tokens[0], identity_of(request)):
            raise HTTPException(
                403, "The form is too old, of another user, or of a console that has ended: open its page again."
            )
        return fields

    def _find(self, request: Request) -> ActionRun:
        run = self._actions.find(request.path_params["action"])
        if run is None:
            raise HTTPException(404, "This process does not know the action. The history has what was done.")
        return run

    def _find_problem(self, kind: ActionKind) -> str | None:
        """Why an action of this kind is not possible."""
        if kind.replays and self._replay_problem is not None:
            return self._replay_problem
        return _NO_JQ if kind is ActionKind.EDIT and find_spec("jq") is None else None


def _require_role(request: Request, role: Role) -> None:
    identity = identity_of(request)
    if identity.role < role:
        raise HTTPException(
            403, f"This needs the role {role.name.lower()}; {identity.name} is {identity.role.name.lower()}."
        )


def _parse_fields(text: bytes) -> Fields:
    try:
        return parse_fields(text)
    except InvalidForm as error:
        raise HTTPException(400, str(error)) from error


def _parse_form(fields: Fields) -> Form:
    try:
        return parse_form(fields)
    except InvalidForm as error:
        raise HTTPException(400, str(error)) from error


async def _read_body(request: Request) -> bytes:
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413, "The form is too large.")
    except ClientDisconnect as error:  # nobody reads the answer; it is no error of this program
        raise HTTPException(400, "The form did not arrive.") from error
    return body
