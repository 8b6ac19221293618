"""Tokens by the client credentials grant, from an issuer on loopback; `tests/kafka/test_oauth.py` has a broker."""

import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import pytest
import trustme
from structlog.testing import capture_logs

from tests.support.token_issuer import TokenIssuer
from worker.core.errors import DependencyError
from worker.core.secrets import Secret
from worker.kafka import token_endpoint
from worker.kafka.token_endpoint import ClientCredentials, TokenEndpoint


@pytest.fixture
def issuer() -> Iterator[TokenIssuer]:
    with TokenIssuer().serve() as issuer:
        yield issuer


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_endpoint, "sleep", lambda _: None)


def credentials(issuer: TokenIssuer, secret: Secret | None = None, **options: str | Path) -> ClientCredentials:
    known = {"url": f"{issuer.url}/token", "client_id": issuer.client_id} | options
    return ClientCredentials(client_secret=secret or Secret(issuer.client_secret), **known)  # type: ignore[arg-type]


def problem_of(endpoint: TokenEndpoint) -> str:
    with pytest.raises(DependencyError) as caught:
        endpoint.token()
    return str(caught.value)


def test_token_is_granted_and_kept(issuer: TokenIssuer) -> None:
    endpoint = TokenEndpoint(credentials(issuer, scope="kafka", audience="brokers"))
    assert [endpoint.token(), endpoint.token()] == issuer.issued * 2
    assert issuer.forms == [{"grant_type": "client_credentials", "scope": "kafka", "audience": "brokers"}]


def test_token_is_renewed_before_it_expires(issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(token_endpoint, "monotonic", lambda: now)
    endpoint = TokenEndpoint(credentials(issuer))
    first = endpoint.token()
    now += 0.79 * issuer.life_seconds
    assert endpoint.token() == first
    now += 0.02 * issuer.life_seconds
    assert endpoint.token() == issuer.issued[1] != first


def test_valid_token_is_used_while_the_issuer_is_away_and_no_request_is_sent_for_a_while(
    issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(token_endpoint, "monotonic", lambda: now)
    endpoint = TokenEndpoint(credentials(issuer))
    first = endpoint.token()
    issuer.failure = 503
    now += 0.9 * issuer.life_seconds
    with capture_logs() as logs:
        assert [endpoint.token(), endpoint.token()] == [first, first]
    assert len(issuer.forms) == 1 + 3, "one call tries three times, the next one not at all"
    assert [line["event"] for line in logs] == ["no new token for Kafka"]
    assert first not in str(logs)
    now += 0.2 * issuer.life_seconds
    problem = problem_of(endpoint)
    assert problem.startswith(
        f"KAFKA_OAUTH_TOKEN_URL={issuer.url}/token answers 503 temporarily_unavailable later\\x1b"
    )
    sent = len(issuer.forms)
    assert problem_of(endpoint) == problem
    assert len(issuer.forms) == sent
    issuer.failure, now = None, now + 120
    assert endpoint.token() == issuer.issued[-1] != first


def test_one_thread_asks_for_all(issuer: TokenIssuer) -> None:
    endpoint = TokenEndpoint(credentials(issuer))
    with ThreadPoolExecutor(8) as threads:
        tokens = set(threads.map(lambda _: endpoint.token(), range(8)))
    assert tokens == set(issuer.issued)
    assert len(issuer.issued) == 1


def test_rotated_secret_is_read_from_its_file(
    issuer: TokenIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(token_endpoint, "monotonic", lambda: now)
    file = tmp_path / "secret"
    file.write_text(f"{issuer.client_secret}\n")
    endpoint = TokenEndpoint(credentials(issuer, Secret("", file)))
    endpoint.token()
    now += issuer.life_seconds
    issuer.client_secret = "another-s3cret"  # noqa: S105
    problem = problem_of(endpoint)
    assert problem.endswith("answers 401 invalid_client; see KAFKA_OAUTH_CLIENT_ID and KAFKA_OAUTH_CLIENT_SECRET")
    assert "s3cret" not in problem
    file.write_text("another-s3cret\n")
    now += 60
    assert endpoint.token() == issuer.issued[-1]


def test_wrong_scope_names_its_variable(issuer: TokenIssuer) -> None:
    assert problem_of(TokenEndpoint(credentials(issuer, scope="no"))).endswith("invalid_scope; see KAFKA_OAUTH_SCOPE")
    assert len(issuer.forms) == 1, "a mistake is not tried again"


def test_redirect_is_not_followed(issuer: TokenIssuer) -> None:
    issuer.failure = 302
    assert "answers 302" in problem_of(TokenEndpoint(credentials(issuer)))
    assert len(issuer.forms) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"access_token": null}',
        b'{"access_token": ""}',
        b'{"access_token": "a\\u0001auth=x"}',
        b'{"access_token": "a", "expires_in": -1}',
        b'{"access_token": "a", "expires_in": "soon"}',
        b'{"access_token": "a", "expires_in": 1e400}',
        b'{"access_token": "a", "expires_in": 1' + b"0" * 400 + b"}",
        b'{"access_token": "a", "expires_in": 1e-9}',
        b"[" * 200_000,
    ],
)
def test_answer_without_a_token_is_a_problem(issuer: TokenIssuer, answer: bytes) -> None:
    issuer.answer = answer
    assert problem_of(TokenEndpoint(credentials(issuer))).startswith("KAFKA_OAUTH_TOKEN_URL=")


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_issuer_that_trickles_its_answer_is_given_up(
    issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setattr(token_endpoint, "_REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(token_endpoint, "_ATTEMPTS", 1)
    sent = []

    def trickle(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            for _ in range(40):
                sent.append(connection.send(b"a"))
                Event().wait(0.05)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=trickle, args=(listener,), daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/token"
        assert problem_of(TokenEndpoint(credentials(issuer, url=url))).startswith(f"KAFKA_OAUTH_TOKEN_URL={url}")
    assert len(sent) < 40


def test_token_without_a_life_is_accepted(issuer: TokenIssuer) -> None:
    issuer.answer = b'{"access_token": "abc", "token_type": "bearer"}'
    assert TokenEndpoint(credentials(issuer)).token() == "abc"


def test_missing_issuer_names_the_address(issuer: TokenIssuer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    problem = problem_of(TokenEndpoint(credentials(issuer, url=f"http://127.0.0.1:{port}/token")))
    assert problem.startswith(f"KAFKA_OAUTH_TOKEN_URL=http://127.0.0.1:{port}/token cannot be reached: Connection")


def test_certificate_of_the_issuer_is_verified_by_the_file_of_authorities(tmp_path: Path) -> None:
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with TokenIssuer().serve(tls=tls) as encrypted:
        assert encrypted.url.startswith("https:")
        assert TokenEndpoint(credentials(encrypted, ca_file=ca_file)).token() == encrypted.issued[0]
        assert "KAFKA_OAUTH_CA_FILE" in problem_of(TokenEndpoint(credentials(encrypted)))
        (tmp_path / "empty.pem").write_text("none")
        wrong = credentials(encrypted, ca_file=tmp_path / "empty.pem")
        assert problem_of(TokenEndpoint(wrong)).startswith(f"KAFKA_OAUTH_CA_FILE={tmp_path}/empty.pem holds no")


def test_secret_is_not_shown(issuer: TokenIssuer) -> None:
    assert "s3cret" not in repr(credentials(issuer))


def test_silent_issuer_is_reported_as_silent(issuer: TokenIssuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_endpoint, "_REQUEST_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/token"
        assert "cannot be reached: TimeoutError" in problem_of(TokenEndpoint(credentials(issuer, url=url)))
