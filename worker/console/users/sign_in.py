"""Users by a sign-in at an issuer, with a session in a cookie.

/sign-in    leads to the issuer, which leads back to
/signed-in  where the session begins
/sign-out   ends it (POST)
/signed-out says so
"""

import re
from typing import NamedTuple
from urllib.parse import quote

import structlog
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from worker.console.csrf import is_same_origin
from worker.console.users.admission import (
    OPEN_PATHS,
    Admission,
    Refused,
    client_address,
    is_navigation,
    outside_page,
)
from worker.console.users.issuer import Flow, Issuer
from worker.console.users.roles import RoleRules, User
from worker.console.users.sessions import Sessions

log = structlog.get_logger(__name__)

RETURN_PATH = "/signed-in"
_MAX_SESSIONS, _MAX_SIGN_INS = 1_000, 10_000
_SIGN_IN_SECONDS = 600
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,1000}", re.ASCII)
"""An address on this host, with nothing that a browser could read as another one."""


class _SignIn(NamedTuple):
    """A sign-in that has begun, and the address to which it leads."""

    flow: Flow
    target: str


class SignInUsers:
    """ASGI middleware: each request is that of the user who has signed in with the browser."""

    def __init__(
        self, app: ASGIApp, issuer: Issuer, roles: RoleRules, session_seconds: int, *, is_secure: bool
    ) -> None:
        self._admission = Admission(app, roles)
        self._issuer = issuer
        self._seconds = session_seconds
        self._sessions = Sessions[User](session_seconds, _MAX_SESSIONS)
        self._sign_ins = Sessions[_SignIn](_SIGN_IN_SECONDS, _MAX_SIGN_INS)
        self._is_secure = is_secure
        # With this prefix a browser takes the cookie from this host only, not from another one of the same domain.
        prefix = "__Host-" if is_secure else ""
        self._session_cookie, self._sign_in_cookie = f"{prefix}console-session", f"{prefix}console-sign-in"
        self._routes = {
            ("GET", "/sign-in"): self._begin,
            ("GET", RETURN_PATH): self._finish,
            ("POST", "/sign-out"): self._end,
            ("GET", "/signed-out"): self._show_signed_out,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        request = Request(scope, receive)
        try:
            if scope["path"] in OPEN_PATHS:
                await self._admission.pass_open(scope, receive, send)
            elif route := self._routes.get((scope["method"], scope["path"])):
                await (await route(request))(scope, receive, send)
            elif user := self._find_user(request):
                known = {**scope, "state": {**scope.get("state", {}), "can_sign_out": True}}
                await self._admission.admit(user, known, receive, send)
            else:
                await _lead_to_sign_in(scope)(scope, receive, send)
        except Refused as refused:
            is_known = self._find_user(request) is not None
            answer = outside_page(
                refused.status, refused.title, str(refused), can_sign_in=not is_known, can_sign_out=is_known
            )
            await answer(scope, receive, send)

    async def _begin(self, request: Request) -> Response:
        target = request.query_params.get("next", "/")
        flow: Flow = {}
        answer = await self._issuer.begin(request, flow)
        secret = self._sign_ins.begin(_SignIn(flow, target if _LOCAL_PATH.fullmatch(target) else "/"))
        self._set_cookie(answer, self._sign_in_cookie, secret, _SIGN_IN_SECONDS)
        return answer

    async def _finish(self, request: Request) -> Response:
        begun = self._sign_ins.end(request.cookies.get(self._sign_in_cookie))  # so that nobody can use it again
        if begun is None:
            if self._find_user(request):  # another tab was faster
                return RedirectResponse("/", 303)
            raise Refused(403, "Sign-in refused", "This sign-in did not begin in this browser, or took too long.")
        user = await self._issuer.finish(request, begun.flow)
        self._sessions.end(request.cookies.get(self._session_cookie))
        answer = RedirectResponse(begun.target, 303)
        self._set_cookie(answer, self._session_cookie, self._sessions.begin(user), self._seconds)
        self._set_cookie(answer, self._sign_in_cookie, "", 0)
        log.info("a user has signed in", user=user.name, groups=len(user.groups), client=client_address(request.scope))
        return answer

    async def _end(self, request: Request) -> Response:
        if not is_same_origin(request.headers):
            raise Refused(403, "Refused", "Another web site has sent this request. Nothing was done.")
        if user := self._sessions.end(request.cookies.get(self._session_cookie)):
            log.info("a user has signed out", user=user.name, client=client_address(request.scope))
        answer = RedirectResponse("/signed-out", 303)
        self._set_cookie(answer, self._session_cookie, "", 0)
        return answer

    async def _show_signed_out(self, _: Request) -> Response:
        text = "You are signed out of the console; perhaps not at the issuer."
        return outside_page(200, "Signed out", text, can_sign_in=True)

    def _find_user(self, request: Request) -> User | None:
        return self._sessions.find(request.cookies.get(self._session_cookie))

    def _set_cookie(self, answer: Response, name: str, value: str, seconds: int) -> None:
        answer.set_cookie(name, value, seconds, path="/", secure=self._is_secure, httponly=True, samesite="lax")


def _lead_to_sign_in(scope: Scope) -> Response:
    """Raises Refused where a browser could not come back to what it was doing."""
    if not is_navigation(scope):
        text = "Nothing was done. Sign in, go back to the page, reload it, and do it again."
        raise Refused(401, "Your session has ended", text)
    url = URL(scope=scope)
    target = f"{url.path}?{url.query}" if url.query else url.path
    return RedirectResponse(f"/sign-in?next={quote(target, safe='')}", 303)
