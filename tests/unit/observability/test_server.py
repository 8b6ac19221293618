"""Health and the status page over HTTP."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from threading import active_count
from time import sleep
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry
from waitress.trigger import trigger

from worker.core.errors import SettingsError
from worker.observability import server
from worker.observability.page import render_page
from worker.observability.server import HealthServer
from worker.observability.status import MAX_SILENCE_SECONDS, Status

HEALTHY = Status("1.2.3", "events", "workers", started=0.0, now=60.0, reasons={}, silence_seconds=0.0)


def loopback_addresses() -> list[str]:
    """Of IPv4, and of IPv6 if the machine has it: many containers do not."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


def get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


@contextmanager
def serve(status: Status, host: str = "127.0.0.1") -> Iterator[str]:
    """The address of a server with this status."""
    listening = HealthServer(lambda: status, CollectorRegistry(), host, 0, render_page)
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{listening.port}"
    finally:
        listening.close()


@pytest.mark.parametrize("host", loopback_addresses())
def test_healthy_worker_is_live_and_ready(host: str) -> None:
    with serve(HEALTHY, host) as base:
        assert [get(f"{base}/{path}")[0] for path in ("livez", "readyz", "metrics", "", "other")] == [200] * 4 + [404]


def test_close_while_an_answer_wakes_the_thread_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pull = trigger._physical_pull

    def pull_twice(self: trigger) -> None:
        pull(self)
        sleep(0.1)  # the thread is awake, and may close
        pull(self)

    with serve(HEALTHY):
        monkeypatch.setattr(trigger, "_physical_pull", pull_twice)


def test_holding_worker_is_not_ready_but_live() -> None:
    with serve(replace(HEALTHY, reasons={"store": "UNKNOWN_TABLE"})) as base:
        status, body = get(f"{base}/readyz")
        assert (status, json.loads(body)) == (503, {"ready": False, "reasons": {"store": "UNKNOWN_TABLE"}})
        assert get(f"{base}/livez")[0] == 200


def test_stuck_worker_is_not_live() -> None:
    with serve(replace(HEALTHY, silence_seconds=MAX_SILENCE_SECONDS)) as base:
        assert get(f"{base}/livez")[0] == 503


@pytest.mark.parametrize("method", ["POST", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/livez", "/readyz", "/metrics"])
def test_only_get_and_head_are_allowed(method: str, path: str) -> None:
    with serve(HEALTHY) as base:
        with pytest.raises(HTTPError, match="405") as refused:
            urlopen(Request(base + path, method=method, data=b""), timeout=5)  # noqa: S310 - our own server
        refused.value.close()


def test_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        with pytest.raises(SettingsError, match=f"cannot listen on HTTP_HOST=127.0.0.1 HTTP_PORT={port}"):
            HealthServer(lambda: HEALTHY, CollectorRegistry(), "127.0.0.1", port)


def connect(url: str, data: bytes = b"") -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    connection.sendall(data)
    return connection


def test_client_that_sends_nothing_is_disconnected_and_not_logged(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A browser opens one connection more than it needs; the log must stay lines of JSON."""
    monkeypatch.setattr(server, "_CONNECTION_SECONDS", 0.05)
    with serve(HEALTHY) as url:
        with connect(url) as idle:
            assert idle.recv(1) == b"", "the connection is closed"
        assert get(f"{url}/livez")[0] == 200
    assert "".join(capfd.readouterr()) == ""


def send_slowly(connection: socket.socket) -> None:
    for _ in range(100):
        connection.sendall(b"x")
        sleep(0.1)


def test_client_that_sends_slowly_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_CONNECTION_SECONDS", 0.5)
    with serve(HEALTHY) as url, connect(url, b"GET / HTTP/1.1\r\nX: ") as slow, pytest.raises(ConnectionError):
        send_slowly(slow)


def test_many_slow_clients_cost_no_threads_and_no_answers(caplog: pytest.LogCaptureFixture) -> None:
    before = active_count()
    with ExitStack() as clients, serve(HEALTHY) as url:
        for _ in range(server._MAX_CONNECTIONS + 50):
            clients.enter_context(connect(url, b"GET / HTTP/1.1\r\n"))
        assert get(f"{url}/livez")[0] == 200
        assert active_count() - before <= 1 + server._THREADS
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
