"""A small OAuth 2.0 token endpoint on loopback: the client credentials grant, signed tokens, and its public key."""

import json
import ssl
import threading
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from deploy.local.process import LOOPBACK

AUDIENCE, KEY_ID, USER = "kafka", "key-1", "worker"


class TokenIssuer:
    """Issues tokens to one client, and checks the grant as RFC 6749 has it.

    Attributes:
        client_id, client_secret: of the client.
        life_seconds: of each token.
        failure: the status of every answer, such as 503; None while the issuer works.
        answer: the body of every answer in place of a token; None for a token.
        issued: the tokens so far.
        forms: the forms of the requests so far.
    """

    def __init__(self) -> None:
        self.client_id, self.client_secret = "metrics worker", "s3cret+/ä:%"
        self.life_seconds = 300.0
        self.failure: int | None = None
        self.answer: bytes | None = None
        self.issued: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.port = 0
        self._scheme = "http"
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def url(self) -> str:
        """The address; the endpoint is `/token`, the public key `/keys`."""
        return f"{self._scheme}://{LOOPBACK}:{self.port}"

    @contextmanager
    def serve(self, tls: ssl.SSLContext | None = None) -> Iterator["TokenIssuer"]:
        """Answer requests while the context lasts."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self._send(*issuer.grant(self.headers.get("Authorization", ""), body.decode()))

            def do_GET(self) -> None:
                self._send(200, issuer.keys())

            def _send(self, status: int, answer: Any) -> None:
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer((LOOPBACK, self.port), Handler) as server:
            self.port = server.server_address[1]
            if tls:
                server.socket, self._scheme = tls.wrap_socket(server.socket, server_side=True), "https"
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            try:
                yield self
            finally:
                server.shutdown()

    def grant(self, authorization: str, body: str) -> tuple[int, Any]:
        """Status and answer of a request for a token."""
        form = {name: value for name, (value,) in parse_qs(body, strict_parsing=True).items()}
        self.forms.append(form)
        if self.failure is not None:
            return self.failure, {"error": "temporarily_unavailable", "error_description": "later\x1b"}
        scheme, _, encoded = authorization.partition(" ")
        user = [unquote_plus(part) for part in b64decode(encoded).decode().split(":")]
        if scheme != "Basic" or user != [self.client_id, self.client_secret]:
            return 401, {"error": "invalid_client"}
        if form["grant_type"] != "client_credentials":
            return 400, {"error": "unsupported_grant_type"}
        if form.get("scope", "kafka") != "kafka":
            return 400, {"error": "invalid_scope"}
        if self.answer is not None:
            return 200, self.answer
        self.issued.append(self.sign(self.life_seconds))
        return 200, {"access_token": self.issued[-1], "token_type": "Bearer", "expires_in": self.life_seconds}

    def sign(self, seconds: float) -> str:
        """A JWT (RS256) that is valid for so long."""
        now = time.time()
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": USER,
            "scope": "kafka",
            "iat": int(now),
            "exp": now + seconds,
        }
        parts = [{"alg": "RS256", "typ": "JWT", "kid": KEY_ID}, claims | {"jti": str(len(self.issued))}]
        signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_base64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def keys(self) -> dict[str, Any]:
        """The public key, as a JSON Web Key Set."""
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = (number.to_bytes(-(-number.bit_length() // 8)) for number in (numbers.n, numbers.e))
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": _base64(modulus), "e": _base64(exponent)}
        return {"keys": [key]}


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
