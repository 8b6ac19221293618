"""Who asks, and what they may do."""

from enum import IntEnum
from typing import NamedTuple, cast

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send


class Role(IntEnum):
    """What a user may do; each role may do what those before it may.

    VIEWER reads. OPERATOR starts and stops replays, discards and restores, and asks what they would do. EDITOR also
    edits events.
    """

    VIEWER = 1
    OPERATOR = 2
    EDITOR = 3


class Identity(NamedTuple):
    """A user; the journal shows the name."""

    name: str
    role: Role


def anonymous_identity(*, allow_actions: bool) -> Identity:
    """The identity of everybody where no users are configured."""
    return Identity("anonymous", Role.EDITOR if allow_actions else Role.VIEWER)


class FixedIdentity:
    """ASGI middleware: every request is that of one user."""

    def __init__(self, app: ASGIApp, identity: Identity) -> None:
        self._app = app
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        state = {**scope.get("state", {}), "identity": self._identity}
        await self._app({**scope, "state": state}, receive, send)


def identity_of(request: Request) -> Identity:
    """Who asks."""
    return cast("Identity", request.state.identity)
