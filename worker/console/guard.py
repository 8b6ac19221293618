"""What holds for every answer of the console: who may ask, how, and what a browser may do with the answer."""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE | re.ASCII)
"""Names of loopback; any port, because a tunnel has its own. Another name can be one that an attacker has pointed here,
whose pages could then read these (DNS rebinding)."""
_METHODS = ("GET", "HEAD")
_ACTIONS = re.compile(r"/actions(?:/[0-9a-f]{32}/(?:start|stop))?")
"""Paths that a POST may have."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser sends the forms of the console with `Origin: null`
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""A browser runs and loads nothing but the style, even if some text were not escaped."""


class Guard:
    """Refuses requests by other names and methods, and adds the headers to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._choose(scope)(scope, receive, send_with_headers)

    def _choose(self, scope: Scope) -> ASGIApp:
        if _HOST.fullmatch(Headers(scope=scope).get("host", "")) is None:
            return PlainTextResponse("ask for localhost, 127.0.0.1 or [::1]: the console has no other name\n", 400)
        if scope["method"] in _METHODS or (scope["method"] == "POST" and _ACTIONS.fullmatch(scope["path"])):
            return self._app
        return PlainTextResponse("only GET and HEAD\n", 405, {"Allow": ", ".join(_METHODS)})
