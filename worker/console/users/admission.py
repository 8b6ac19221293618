"""Lets a known user in, by their role, and answers those who are not let in."""

import structlog
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.console.identity import Identity
from worker.console.pages import render
from worker.console.users.roles import RoleRules, User

log = structlog.get_logger(__name__)

OPEN_PATHS = frozenset({"/console.css"})
"""What pages that refuse somebody need."""
_READING = frozenset({"GET", "HEAD"})


class Refused(Exception):
    """Somebody is not let in; the message says why, in a sentence for them."""

    def __init__(self, status: int, title: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.title = title


class Admission:
    """Passes the requests of users who have a role on to the pages, and logs each that may change something."""

    def __init__(self, app: ASGIApp, roles: RoleRules) -> None:
        self._app = app
        self._roles = roles

    async def pass_open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that needs no user."""
        await self._app(scope, receive, send)

    async def admit(self, user: User, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of a user. Raises Refused if they have no role."""
        role = self._roles.find_role(user)
        if role is None:
            log.warning("a user has no role", user=user.name, groups=len(user.groups), client=client_address(scope))
            groups = ", ".join(sorted(user.groups)) or "none"
            raise Refused(
                403,
                "No access",
                f"You are known as {user.name}, and have no role here. Your groups: {groups}. Who operates the console "
                "gives roles with CONSOLE_VIEWERS, CONSOLE_OPERATORS and CONSOLE_EDITORS.",
            )
        await self._answer(Identity(user.name, role), scope, receive, send)

    async def _answer(self, identity: Identity, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_and_log(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["method"] not in _READING:
                log.info(
                    "action in the console",
                    user=identity.name,
                    role=identity.role.name.lower(),
                    method=scope["method"],
                    path=scope["path"],
                    status=message["status"],
                    client=client_address(scope),
                )
            await send(message)

        state = {**scope.get("state", {}), "identity": identity}
        await self._app({**scope, "state": state}, receive, send_and_log)


def client_address(scope: Scope) -> str | None:
    """The address that has connected, of the proxy for example; never one that a header names."""
    client = scope.get("client")
    return str(client[0]) if client else None


def outside_page(
    status: int, title: str, text: str, *, can_sign_in: bool = False, can_sign_out: bool = False
) -> HTMLResponse:
    """A page for somebody who is not let in."""
    page = render("no_access.html", title=title, text=text, can_sign_in=can_sign_in, can_sign_out=can_sign_out)
    return HTMLResponse(page, status)


def is_navigation(scope: Scope) -> bool:
    """Whether a browser asks for a page, which can lead elsewhere; not for a part of one, as a script does."""
    return scope["method"] in _READING and Headers(scope=scope).get("sec-fetch-mode", "navigate") == "navigate"
