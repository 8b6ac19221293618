"""Which server a connection uses; servers are sockets on loopback. `tests/contract/test_failover.py` has engines."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import trustme
from clickhouse_driver import errors as driver
from structlog.testing import capture_logs

from worker.clickhouse.connection import ClickHouseTarget, WorkerConnection, choose_server, run_statement
from worker.clickhouse.servers import RecentFailures, Server
from worker.clickhouse.view import DeduplicatedView
from worker.core.errors import DependencyError, StoreError
from worker.core.outcome import OutcomeKind

_GREETING = b"\x00\x01x\x01\x01\x01"
"""Of a server named x, version 1.1, whose protocol is too old for anything else."""
_REFUSAL = b"\x02" + (516).to_bytes(4, "little") + b"\x01x\x02no\x01t\x00"
"""AUTHENTICATION_FAILED."""
_DENIED = b"\x04\x02" + (497).to_bytes(4, "little") + b"\x01x\x02no\x01t\x00"
"""The answer to a ping, and ACCESS_DENIED for the statement after it."""

Listen = Callable[..., Server]


def trickle(connection: socket.socket) -> None:
    """Send a greeting that takes a second, byte by byte."""
    with suppress(OSError):
        for byte in b"\x00\x0aclickhouse\x01\x01\x01":
            connection.send(bytes([byte]))
            Event().wait(0.1)


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts servers that answer each connection with some bytes; without any, they accept it and are silent."""
    with ExitStack() as stack:

        def start(
            answer: bytes | None = None,
            host: str = "127.0.0.1",
            port: int = 0,
            *,
            closes: bool = False,
            trickles: bool = False,
            tls: ssl.SSLContext | None = None,
        ) -> Server:
            listener = stack.enter_context(socket.create_server((host, port)))
            if tls:
                listener = stack.enter_context(tls.wrap_socket(listener, server_side=True))

            def serve() -> None:
                while True:
                    try:
                        connection = stack.enter_context(listener.accept()[0])
                    except OSError:
                        return
                    if trickles:
                        threading.Thread(target=trickle, args=(connection,), daemon=True).start()
                    elif closes:
                        connection.close()
                    elif answer:
                        connection.sendall(answer)

            threading.Thread(target=serve, daemon=True).start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return Server(*listener.getsockname()[:2])

        yield start


@pytest.fixture
def free_server() -> Server:
    """Nothing listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Server(*listener.getsockname()[:2])


def connect(*servers: Server, failures: RecentFailures | None = None) -> Any:
    target = ClickHouseTarget(
        ",".join(map(str, servers)), connect_timeout_seconds=0.2, failures=failures or RecentFailures()
    )
    connection = target.client().connection
    connection.connect()
    connection.socket.close()
    return connection


def test_first_server_is_used_while_it_answers(listen: Listen) -> None:
    first, second = listen(_GREETING), listen(_GREETING)
    assert connect(first, second).server == first
    assert connect(second, first).server == second


def test_next_server_is_used_where_the_first_refuses_closes_is_silent_or_refuses_the_user(
    listen: Listen, free_server: Server
) -> None:
    last = listen(_GREETING)
    for unusable in (free_server, listen(closes=True), listen(), listen(_REFUSAL), listen(b"HTTP/1.1 400")):
        assert connect(unusable, last).server == last


def test_silent_server_costs_one_time_out_until_it_is_tried_again(listen: Listen) -> None:
    silent, last, failures = listen(), listen(_GREETING), RecentFailures()
    assert connect(silent, last, failures=failures).server == last
    assert failures.order([silent, last]) == [last, silent]
    assert connect(silent, last, failures=failures).server == last


def test_server_that_trickles_its_greeting_costs_one_time_out(listen: Listen) -> None:
    last, failures = listen(_GREETING), RecentFailures()
    assert connect(trickling := listen(trickles=True), last, failures=failures).server == last
    assert failures.order([trickling, last]) == [last, trickling]


def test_statement_that_its_user_may_not_run_does_not_change_the_server_of_inserts(listen: Listen) -> None:
    target = ClickHouseTarget(f"{listen(_GREETING + _DENIED)},{listen(_GREETING)}")
    with pytest.raises(StoreError) as caught:
        run_statement(target, "SELECT 1 FROM system.replicas")
    assert caught.value.outcome.code == 497
    assert target.failures.order(target.servers) == target.servers


def test_error_names_each_server_and_what_an_operator_must_correct(listen: Listen, free_server: Server) -> None:
    refusing = listen(_REFUSAL)
    with pytest.raises(StoreError) as caught:
        connect(free_server, refusing)
    outcome = caught.value.outcome
    assert (outcome.kind, outcome.code) == (OutcomeKind.MISCONFIGURED, 516)
    assert f"{free_server}: NetworkError: Code: 210. Connection refused" in outcome.message
    assert f"{refusing}: AUTHENTICATION_FAILED: x. no" in outcome.message
    with pytest.raises(StoreError) as caught:
        connect(free_server, listen(closes=True))
    assert caught.value.outcome.kind is OutcomeKind.UNAVAILABLE


def test_audit_without_a_server_is_an_expected_error(free_server: Server) -> None:
    view = DeduplicatedView(ClickHouseTarget(f"{free_server},localhost:{free_server.port}"))
    with pytest.raises(DependencyError, match="no server can be used"):
        view.read_rows([], lambda *_: None)


def test_first_server_that_can_be_used_is_chosen_for_many_statements(listen: Listen, free_server: Server) -> None:
    usable = listen(_GREETING)
    assert choose_server(ClickHouseTarget(f"{free_server},{usable},{listen(_GREETING)}")).servers == [usable]
    with pytest.raises(StoreError, match="no server can be used"):
        choose_server(ClickHouseTarget(f"{free_server},localhost:{free_server.port}"))


def test_only_server_raises_the_error_of_the_driver(free_server: Server) -> None:
    with pytest.raises(driver.NetworkError, match="Connection refused"):
        connect(free_server)


def test_each_address_of_a_name_is_tried_and_one_that_failed_comes_last(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = listen(_GREETING, "127.0.0.2")
    listen(None, "127.0.0.1", second.port)
    resolve = socket.getaddrinfo

    def two_addresses(host: str, *arguments: Any) -> list[Any]:
        hosts = ("127.0.0.1", "127.0.0.2") if host == "clickhouse" else (host,)
        return [found for each in hosts for found in resolve(each, *arguments)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    failures, server = RecentFailures(), Server("clickhouse", second.port)
    connection = connect(server, failures=failures)
    assert connection.get_description() == f"clickhouse:{second.port}"
    assert failures.order(["127.0.0.1", "127.0.0.2"]) == ["127.0.0.2", "127.0.0.1"]
    assert failures.order([Server("other", 1), server]) == [Server("other", 1), server]


def test_connection_that_was_cut_connects_to_no_server(listen: Listen) -> None:
    server = listen(_GREETING)
    connection = WorkerConnection(ClickHouseTarget(str(server)))
    connection.cut()
    with pytest.raises(driver.NetworkError, match="ended by the worker"), connection.use():
        pass


def test_change_of_the_server_is_logged(listen: Listen) -> None:
    first, second, failures = listen(_GREETING), listen(_GREETING), RecentFailures()
    with capture_logs() as logs:
        connection = connect(first, second, failures=failures)
        connection.mark_failed()
        connection.connect()
        connection.connect()
    connection.socket.close()
    assert [(line["event"], line["server"]) for line in logs] == [("another ClickHouse server is used", str(second))]


def test_name_with_a_final_dot_is_verified_without_it(
    listen: Listen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, ca_file, certificate = trustme.CA(), tmp_path / "ca.pem", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.cert_pem.write_to_path(ca_file)
    authority.issue_cert("clickhouse.example").configure_cert(certificate)
    port, resolve = listen(_GREETING, tls=certificate).port, socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *arguments: resolve("127.0.0.1", *arguments))
    connection: Any = ClickHouseTarget(f"clickhouse.example.:{port}", secure=True, ca_file=ca_file).client().connection
    connection.connect()
    connection.socket.close()
