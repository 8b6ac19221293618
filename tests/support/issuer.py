"""An issuer of OpenID Connect on loopback: discovery, keys, and the code flow with PKCE, with real signatures."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_urlsafe
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID, CLIENT_SECRET = "console", "the secret of the client"


def _encode(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


@dataclass
class LoopbackIssuer:
    """What a test decides about it.

    Attributes:
        claims: of the user who signs in; those that are None are left out.
        algorithm: with which tokens are signed: `RS256`, `none` or `HS256`.
        signs_with_other_key: whether the signature is that of a key that it does not publish.
        offered: the algorithms of the discovery document.
        userinfo: what the endpoint for it answers.
        requests: the paths that were asked for.
    """

    url: str
    claims: dict[str, object]
    algorithm: str = "RS256"
    signs_with_other_key: bool = False
    calls_itself: str | None = None
    offered: list[str] = field(default_factory=lambda: ["RS256"])
    userinfo: dict[str, object] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    is_away: bool = False

    def __post_init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
        self._grants: dict[str, dict[str, str]] = {}

    def change_key(self) -> None:
        """Sign with a new key, and publish only that one."""
        self.key = RSAKey.generate_key(2048, {"kid": "second", "use": "sig"})

    def answer(self, path: str, query: dict[str, str], headers: Any) -> tuple[int, dict[str, str], object]:
        """Status, headers and JSON of the answer to a request."""
        self.requests.append(path)
        if self.is_away:
            return 503, {}, {}
        if path == "/.well-known/openid-configuration":
            return 200, {}, self._describe()
        if path == "/keys":
            return 200, {}, {"keys": [self.key.as_dict(private=False)]}
        if path == "/authorize":
            code = token_urlsafe(8)
            self._grants[code] = query
            return (
                302,
                {"Location": f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"},
                {},
            )
        if path == "/token":
            return self._grant(query, headers)
        if path == "/userinfo":
            assert headers["Authorization"] == "Bearer access"
            return 200, {}, self.userinfo
        return 404, {}, {}

    def _describe(self) -> dict[str, object]:
        return {
            "issuer": self.calls_itself or self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "id_token_signing_alg_values_supported": self.offered,
        }

    def _grant(self, query: dict[str, str], headers: Any) -> tuple[int, dict[str, str], object]:
        begun = self._grants.pop(query["code"], None)
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if begun is None or headers["Authorization"] != f"Basic {expected}":
            return 400, {}, {"error": "invalid_grant"}
        digest = hashlib.sha256(query["code_verifier"].encode()).digest()
        assert begun["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        assert begun["redirect_uri"] == query["redirect_uri"]
        return 200, {}, {"access_token": "access", "token_type": "Bearer", "id_token": self._sign(begun["nonce"])}

    def _sign(self, nonce: str) -> str:
        now = int(time.time())
        standard = {"iss": self.url, "sub": "1", "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": nonce}
        claims = {name: value for name, value in (standard | self.claims).items() if value is not None}
        if self.algorithm == "none":
            return f"{_encode({'alg': 'none'})}.{_encode(claims)}."
        key = RSAKey.generate_key(2048, {"kid": "first"}) if self.signs_with_other_key else self.key
        if self.algorithm == "HS256":  # with the public key as the secret of both
            text = f"{_encode({'alg': 'HS256', 'kid': key.kid})}.{_encode(claims)}"
            digest = hmac.digest(key.as_pem(private=False), text.encode(), "sha256")
            return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
        return jwt.encode({"alg": self.algorithm, "kid": key.kid}, claims, key)


@contextmanager
def run_issuer(**claims: object) -> Iterator[LoopbackIssuer]:
    """An issuer at which a user with these claims signs in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            self._answer(parts.path, parts.query)

        def do_POST(self) -> None:
            self._answer(self.path, self.rfile.read(int(self.headers["Content-Length"])).decode())

        def _answer(self, path: str, query: str) -> None:
            values = {name: value[0] for name, value in parse_qs(query).items()}
            status, headers, document = issuer.answer(path, values, self.headers)
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {
                **headers,
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = LoopbackIssuer(f"http://127.0.0.1:{server.server_port}", claims)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
