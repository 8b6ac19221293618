"""The HTTP session of OTLP exports, in which a redirect is an error."""

from os import environ
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import Response, Session

_REDIRECTS = range(300, 400)
_CREDENTIAL_PROVIDER = "_CREDENTIAL_PROVIDER"
"""The end of OpenTelemetry's variables that name a session of the operator's own."""


def create_session() -> "Session | None":
    """A session whose requests fail when the answer is a redirect; None if OpenTelemetry's variables name another.

    OpenTelemetry's exporters do not follow a redirect, and take it for success (1.45.2): what they send is lost
    silently. They log the error of this session as any other.
    """
    if any(name.endswith(_CREDENTIAL_PROVIDER) for name in environ):
        return None
    from requests import Session

    session = Session()
    session.hooks["response"].append(_refuse_redirect)
    return session


def _refuse_redirect(response: "Response", **_: object) -> None:
    from requests import RequestException

    if response.status_code in _REDIRECTS:
        response.close()
        raise RequestException(
            f"HTTP status {response.status_code}, a redirect, is not followed: is OTEL_EXPORTER_OTLP_ENDPOINT right?",
            response=response,
        )
