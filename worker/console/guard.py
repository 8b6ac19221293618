"""What holds for every answer of the console: who may ask, how, and what a browser may do with the answer."""

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE | re.ASCII)
"""Names of loopback; any port, because a tunnel has its own. Another name can be one that an attacker has pointed here,
whose pages could then read these (DNS rebinding)."""
_METHODS = ("GET", "HEAD")
_ACTIONS = re.compile(r"/actions(?:/[0-9a-f]{32}/(?:start|stop))?|/sign-out")
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
    """Refuses requests by other names and methods, and adds the headers to every answer.

    Without a `public_url` the names are those of loopback.
    """

    def __init__(self, app: ASGIApp, public_url: str | None = None) -> None:
        self._app = app
        self._hosts = _match_hosts(public_url) if public_url else _HOST
        self._names = public_url or "localhost, 127.0.0.1 or [::1]"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._choose(scope)(scope, receive, send_with_headers)

    def _choose(self, scope: Scope) -> ASGIApp:
        hosts = Headers(scope=scope).getlist("host")
        if len(hosts) != 1 or self._hosts.fullmatch(hosts[0]) is None:
            return PlainTextResponse(f"ask for {self._names}: the console has no other name\n", 400)
        if scope["method"] in _METHODS or (scope["method"] == "POST" and _ACTIONS.fullmatch(scope["path"])):
            return self._app
        return PlainTextResponse("only GET and HEAD\n", 405, {"Allow": ", ".join(_METHODS)})


def _match_hosts(public_url: str) -> re.Pattern[str]:
    """The host of an address, with its port; that of the scheme may be left out."""
    parts = urlsplit(public_url)
    default = {"https": 443, "http": 80}[parts.scheme]
    host = re.escape(parts.netloc.removesuffix(f":{parts.port}"))
    port = f":{parts.port}" if parts.port not in (None, default) else f"(?::{default})?"
    return re.compile(host + port, re.IGNORECASE | re.ASCII)
