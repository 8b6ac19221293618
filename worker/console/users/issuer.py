"""The sign-in at an issuer of OpenID Connect: the code flow with PKCE. Authlib makes the requests and checks tokens."""

import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import structlog
from authlib.integrations.starlette_client import OAuth, OAuthError
from httpx2 import HTTPError
from joserfc.errors import JoseError
from starlette.requests import Request
from starlette.responses import Response

from worker.console.users.admission import Refused
from worker.console.users.roles import User, is_valid_name
from worker.core.secrets import Secret

log = structlog.get_logger(__name__)

_TIMEOUT_SECONDS = 10.0
_CLOCK_SKEW_SECONDS = 60
_MAX_WAITING = 20
_ALGORITHMS = frozenset(f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)) | {"EdDSA"}
"""With public keys only: an issuer that also names `none` or `HS256` must not let anybody sign."""

_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_ERROR_NAME = re.compile(r"[a-z_]{1,40}")

Flow = dict[str, Any]
"""What Authlib has to remember between the two steps of a sign-in: state, nonce and code verifier."""


class IssuerPolicy(NamedTuple):
    """Where users sign in, and what is read from their tokens.

    Attributes:
        issuer: as the discovery document names it.
        return_to: the address to which the issuer sends users back.
        ca_file: CA certificates that verify the issuer; None for those of the system.
    """

    issuer: str
    client_id: str
    client_secret: Secret
    return_to: str
    scopes: str
    user_claim: str
    groups_claim: str
    ca_file: Path | None = None


class Issuer:
    """An issuer."""

    def __init__(self, policy: IssuerPolicy) -> None:
        self._policy = policy
        self._waiting = 0
        self._client = OAuth().register(
            "issuer",
            server_metadata_url=f"{policy.issuer.removesuffix('/')}/.well-known/openid-configuration",
            client_id=policy.client_id,
            client_kwargs={
                "scope": policy.scopes,
                "code_challenge_method": "S256",
                "timeout": _TIMEOUT_SECONDS,
                "verify": ssl.create_default_context(cafile=policy.ca_file),
            },
        )

    async def begin(self, request: Request, flow: Flow) -> Response:
        """Send the browser to the issuer. Raises Refused if the issuer does not answer."""
        with self._count_request():
            await self._load_metadata()
        return cast("Response", await self._client.authorize_redirect(_with(flow, request), self._policy.return_to))

    async def finish(self, request: Request, flow: Flow) -> User:
        """The user who has signed in. Raises Refused if the issuer does not confirm it, or does not answer."""
        with self._count_request():
            return self._read_user(await self._redeem(request, flow))

    async def _redeem(self, request: Request, flow: Flow) -> Mapping[str, Any]:
        """The claims that the issuer gives for the code that the browser has brought."""
        policy = self._policy
        self._client.client_secret = policy.client_secret.reveal()  # its file may have changed
        await self._load_metadata()
        try:
            token = await self._client.authorize_access_token(
                _with(flow, request),
                claims_options={
                    "iss": {"essential": True, "value": policy.issuer},
                    "aud": {"essential": True, "value": policy.client_id},
                },
                leeway=_CLOCK_SKEW_SECONDS,
            )
            return await self._read_claims(token)
        except HTTPError as error:
            raise _unusable(error) from error
        except (OAuthError, JoseError, AttributeError, TypeError, ValueError) as error:  # some for malformed answers
            reason = _describe(error)
            log.warning("a sign-in is refused", error_type=type(error).__name__, error=reason)
            raise Refused(403, "Sign-in refused", f"The issuer's answer is not valid ({reason}).") from error

    @contextmanager
    def _count_request(self) -> Iterator[None]:
        """Raises Refused if too many wait for the issuer: they would keep all others from the console."""
        if self._waiting >= _MAX_WAITING:
            raise Refused(503, "No sign-in now", "The issuer answers slowly. Try again in a moment.")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _load_metadata(self) -> None:
        """Read the discovery document, until it is valid once. Raises Refused while it is not."""
        try:
            metadata = await self._client.load_server_metadata()
            if metadata.get("issuer") != self._policy.issuer:
                metadata.pop("_loaded_at", None)  # so that it is read again
                name = str(metadata.get("issuer"))[:200]
                raise ValueError(f"the issuer calls itself {name!r}, not {self._policy.issuer!r}")
            offered = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
            metadata["id_token_signing_alg_values_supported"] = sorted(_ALGORITHMS.intersection(offered))
            if not all(metadata.get(name) for name in _ENDPOINTS):
                metadata.pop("_loaded_at", None)
                raise ValueError(f"the discovery document lacks one of {', '.join(_ENDPOINTS)}")
        except (HTTPError, AttributeError, TypeError, ValueError) as error:
            raise _unusable(error) from error

    async def _read_claims(self, token: Mapping[str, Any]) -> Mapping[str, Any]:
        """The claims of the ID token; those of the endpoint for them too, where some issuers put names and groups."""
        if "userinfo" not in token:
            raise ValueError("no ID token")
        claims: dict[str, Any] = dict(token["userinfo"])
        wanted = {self._policy.user_claim, self._policy.groups_claim}
        if wanted <= claims.keys() or "userinfo_endpoint" not in self._client.server_metadata:
            return claims
        others = await self._client.userinfo(token=token)
        if others.get("sub") != claims["sub"]:
            raise ValueError("the issuer described another user")
        return {**others, **claims}

    def _read_user(self, claims: Mapping[str, Any]) -> User:
        name, groups = claims.get(self._policy.user_claim), claims.get(self._policy.groups_claim, [])
        if not isinstance(name, str) or not is_valid_name(name):
            log.warning("a token names no valid user", claim=self._policy.user_claim)
            raise Refused(403, "Sign-in refused", f"The issuer sent no valid name in {self._policy.user_claim!r}.")
        # Some issuers send it as text.
        if self._policy.user_claim == "email" and str(claims.get("email_verified")).lower() == "false":
            log.warning("an e-mail address is not verified", user=name)
            raise Refused(403, "Sign-in refused", f"The issuer has not verified the address {name}.")
        groups = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        return User(name, frozenset(group for group in groups if isinstance(group, str) and group))


def _with(flow: Flow, request: Request) -> Request:
    """The request with the session in which Authlib keeps its state."""
    return Request({**request.scope, "session": flow})


def _unusable(error: Exception) -> Refused:
    log.warning("the issuer cannot be used", error_type=type(error).__name__, error=str(error))
    return Refused(503, "No sign-in now", "The issuer did not answer as it should. Try again in a moment.")


def _describe(error: Exception) -> str:
    """Why an answer was refused, by the name of the error; nothing else that the browser or the issuer has sent."""
    name = getattr(error, "error", None)
    return name if isinstance(name, str) and _ERROR_NAME.fullmatch(name) else type(error).__name__
