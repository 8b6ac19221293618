"""Refuses requests that another web site made a user's browser send (CSRF)."""

import hmac
from collections.abc import Callable, Mapping
from hashlib import sha256
from secrets import token_bytes
from time import time

from worker.console.identity import Identity

_MAX_AGE_SECONDS = 12 * 3_600


class CsrfTokens:
    """Tokens of forms: each is of one user, and valid for hours, but not beyond the end of the process."""

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._secret = token_bytes(32)
        self._clock = clock

    def issue(self, identity: Identity) -> str:
        """A token for a form that this user is shown."""
        return self._sign(identity, int(self._clock()))

    def is_valid(self, token: str, identity: Identity) -> bool:
        """Whether the token was issued to this user, and is not too old."""
        issued = token.partition(".")[0]
        if not (issued.isascii() and issued.isdigit() and len(issued) < 16):
            return False
        age = self._clock() - int(issued)
        is_genuine = hmac.compare_digest(token.encode("utf-8", "replace"), self._sign(identity, int(issued)).encode())
        return is_genuine and 0 <= age + 1 <= _MAX_AGE_SECONDS

    def _sign(self, identity: Identity, issued: int) -> str:
        text = f"{issued}.{identity.role.name}.{identity.name}".encode("utf-8", "surrogatepass")
        return f"{issued}.{hmac.new(self._secret, text, sha256).hexdigest()}"


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a page of the console itself has sent the request, as its browser says."""
    if (site := headers.get("sec-fetch-site")) is not None:  # no page can set it; a browser sends it over TLS only
        return site == "same-origin"
    _, separator, host = headers.get("origin", "").partition("://")
    return bool(separator and host) and host.lower() == headers.get("host", "").lower()
