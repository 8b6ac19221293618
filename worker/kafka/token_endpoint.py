"""Tokens of an OAuth 2.0 token endpoint: the client credentials grant (RFC 6749, section 4.4).

It is one request and one JSON object, so that the standard library is enough: an OAuth library with its HTTP client
would be nine more packages in every worker, for those that sign in by a password too.
"""

import json
import ssl
import threading
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from math import inf
from pathlib import Path
from random import uniform
from time import monotonic, sleep
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import quote_plus, urlencode
from urllib.request import HTTPRedirectHandler, Request, build_opener

import structlog

from worker.core.errors import DependencyError
from worker.core.escaping import escape_control_characters
from worker.core.secrets import Secret
from worker.kafka.timed_http import TimedHandler

log = structlog.get_logger(__name__)

_REQUEST_SECONDS = 3.0
_ATTEMPTS = 3
"""Within one call: a restart of the endpoint should not stop the start of a worker."""
_FIRST_WAIT_SECONDS = 0.5
_MAX_WAIT_SECONDS = 60.0
_USED_SHARE = 0.8
"""Share of a token's life after which it is renewed, as in Kafka's own clients (sasl.login.refresh.window.factor)."""
_UNKNOWN_LIFE_SECONDS = 60.0
"""Life of a token without `expires_in`, which RFC 6749 only recommends."""
_MAX_ANSWER_BYTES = 1 << 20
_ADVICE = {
    "invalid_client": "KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET",
    "unauthorized_client": "KAFKA_OAUTH_CLIENT_ID",
    "invalid_scope": "KAFKA_OAUTH_SCOPE",
}


@dataclass(frozen=True)
class ClientCredentials:
    """The endpoint, and what a client shows it. The secret is sent by HTTP Basic, which every endpoint must accept."""

    url: str
    client_id: str
    client_secret: Secret = field(repr=False)
    scope: str | None = None
    audience: str | None = None
    ca_file: Path | None = None

    def request(self) -> Request:
        """The request for a token, with the secret as its file is now."""
        optional = {"scope": self.scope, "audience": self.audience}
        form = {"grant_type": "client_credentials"} | {name: value for name, value in optional.items() if value}
        user = ":".join(quote_plus(part) for part in (self.client_id, self.client_secret.reveal()))  # RFC 6749, 2.3.1
        headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}", "Accept": "application/json"}
        return Request(self.url, urlencode(form).encode(), headers)  # noqa: S310 - Settings allows http and https

    def tls(self) -> ssl.SSLContext:
        """The authorities that verify the endpoint, from their file as it is now. Raises DependencyError."""
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise DependencyError(f"KAFKA_OAUTH_CA_FILE={self.ca_file} holds no certificate: {error}") from error


class _EndpointAway(DependencyError):
    """The endpoint does not answer, or asks to come back later."""


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: the secret is for one address only."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Let the answer be an error; overrides the method of urllib."""


class TokenEndpoint:
    """Keeps one token, and renews it before it expires; see `TokenProvider`.

    While the endpoint is away the last token is used as long as it is valid. Between two failures passes a growing
    time, in which no request is sent.
    """

    def __init__(self, credentials: ClientCredentials) -> None:
        self._credentials = credentials
        self._renewing = threading.Lock()
        self._token: str | None = None
        self._renew_at = self._expires_at = self._retry_at = 0.0
        self._problem = ""
        self._failures = 0

    def token(self) -> str:
        """See `TokenProvider`. One thread renews; the others wait for it only if there is no valid token."""
        if self._renewing.acquire(blocking=not self._is_valid()):
            try:
                if monotonic() >= max(self._renew_at, self._retry_at):
                    self._renew()
            finally:
                self._renewing.release()
        if self._token is None or not self._is_valid():
            raise DependencyError(self._problem)
        return self._token

    def _is_valid(self) -> bool:
        return monotonic() < self._expires_at

    def _renew(self) -> None:
        started = monotonic()
        try:
            token, seconds = self._fetch_with_retries()
        except DependencyError as error:
            self._problem = str(error)
            self._failures += 1
            wait = min(_FIRST_WAIT_SECONDS * 2**self._failures, _MAX_WAIT_SECONDS)
            self._retry_at = monotonic() + uniform(wait / 2, wait)  # noqa: S311 # nosec B311
            log.warning("no new token for Kafka", error=self._problem, valid_seconds=round(self._expires_at - started))
            return
        self._token, self._failures = token, 0
        self._problem = f"KAFKA_OAUTH_TOKEN_URL={self._credentials.url} answers a token that is valid for {seconds:g} s"
        self._renew_at, self._expires_at = started + _USED_SHARE * seconds, started + seconds

    def _fetch_with_retries(self) -> tuple[str, float]:
        for attempt in range(1, _ATTEMPTS):
            try:
                return _fetch(self._credentials)
            except _EndpointAway:
                sleep(uniform(0, _FIRST_WAIT_SECONDS * 2**attempt))  # noqa: S311 # nosec B311
        return _fetch(self._credentials)


def _fetch(credentials: ClientCredentials) -> tuple[str, float]:
    """A new token, and how many seconds it is valid. Raises DependencyError."""
    where = f"KAFKA_OAUTH_TOKEN_URL={credentials.url}"
    opener = build_opener(TimedHandler(context=credentials.tls()), _NoRedirect)
    try:
        with opener.open(credentials.request(), timeout=_REQUEST_SECONDS) as answer:
            body = answer.read(_MAX_ANSWER_BYTES)
    except HTTPError as error:
        raise _refusal(where, error) from None  # its traceback holds the request, and so the secret
    except (OSError, HTTPException) as error:
        raise _away(where, error) from None
    return _parse(where, body)


def _refusal(where: str, error: HTTPError) -> DependencyError:
    """The reason of an answer that is an error (RFC 6749, section 5.2)."""
    try:
        answer = json.loads(error.read(_MAX_ANSWER_BYTES))
    except (OSError, HTTPException, ValueError, RecursionError):
        answer = None
    name, description = (answer.get(key, "") for key in ("error", "error_description")) if _is_object(answer) else "  "
    text = escape_control_characters(f"{where} answers {error.code} {name} {description}".strip()[:500])
    if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == HTTPStatus.TOO_MANY_REQUESTS:
        return _EndpointAway(text)
    return DependencyError(f"{text}; see {_ADVICE.get(str(name), 'KAFKA_OAUTH_TOKEN_URL')}")


def _away(where: str, error: Exception) -> DependencyError:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DependencyError(f"{where}: its certificate is not trusted ({reason}); see KAFKA_OAUTH_CA_FILE")
    return _EndpointAway(f"{where} cannot be reached: {type(reason).__name__}: {reason}")


def _parse(where: str, body: bytes) -> tuple[str, float]:
    """Token and life of an answer (RFC 6749, section 5.1)."""
    try:
        answer = json.loads(body)
        token, seconds = answer["access_token"], float(answer.get("expires_in") or _UNKNOWN_LIFE_SECONDS)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        raise DependencyError(f"{where} answers no token of RFC 6749, section 5.1") from None
    can_be_sent = isinstance(token, str) and token and token.isascii() and token.isprintable()
    if not can_be_sent or not 0 < seconds < inf:
        raise DependencyError(f"{where} answers a token that cannot be sent")
    return token, seconds


def _is_object(answer: object) -> bool:
    return isinstance(answer, dict)
