"""The probes of Kubernetes, which have neither a user nor the name of the host."""

from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Probes:
    """ASGI middleware for /livez and /readyz: ready is a console that has read the topic once.

    It stays ready while Kafka is away, because its pages then show the last numbers, and why.
    """

    def __init__(self, app: ASGIApp, is_ready: Callable[[], bool]) -> None:
        self._app = app
        self._is_ready = is_ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        await self._choose(scope)(scope, receive, send)

    def _choose(self, scope: Scope) -> ASGIApp:
        if scope["method"] not in ("GET", "HEAD") or scope["path"] not in ("/livez", "/readyz"):
            return self._app
        if scope["path"] == "/livez" or self._is_ready():
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the dead-letter topic has not been read yet\n", 503)
