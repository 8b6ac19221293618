"""Health over HTTP, on both kinds of address."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from prometheus_client import CollectorRegistry

from worker.core.errors import SettingsError
from worker.observability import server
from worker.observability.server import HealthApp
from worker.observability.status import MAX_SILENCE_SECONDS, Status


def addresses() -> list[str]:
    """Loopback, and that of IPv6 where the machine has it: containers often have not."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return ["127.0.0.1"]
    return ["127.0.0.1", "::1"]


def get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


WELL = Status("1.2.3", "events", "workers", started=0.0, now=60.0, reasons={}, silence_seconds=0.0)


@contextmanager
def served(status: Status, host: str = "127.0.0.1") -> Iterator[str]:
    """The address of a server that tells of `status`."""
    listening = HealthApp(lambda: status, CollectorRegistry()).serve(host, 0)
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{listening.port}"
    finally:
        listening.close()


@pytest.mark.parametrize("host", addresses())
def test_answers_on_either_kind_of_address(host: str) -> None:
    with served(WELL, host) as base:
        assert get(f"{base}/livez")[0] == 200


def test_is_ready_and_alive_when_all_is_well() -> None:
    with served(WELL) as base:
        assert [get(f"{base}/{path}")[0] for path in ("livez", "readyz", "metrics", "", "other")] == [200] * 4 + [404]


def test_tells_why_it_is_not_ready_and_lives_all_the_same() -> None:
    with served(replace(WELL, reasons={"store": "UNKNOWN_TABLE"})) as base:
        status, body = get(f"{base}/readyz")
        assert (status, json.loads(body)) == (503, {"ready": False, "reasons": {"store": "UNKNOWN_TABLE"}})
        assert get(f"{base}/livez")[0] == 200


def test_does_not_live_without_progress() -> None:
    with served(replace(WELL, silence_seconds=MAX_SILENCE_SECONDS)) as base:
        assert get(f"{base}/livez")[0] == 503


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_there_changes_state(method: str) -> None:
    with served(WELL) as base:
        for path in ("/", "/livez", "/readyz", "/metrics"):
            with pytest.raises(HTTPError, match="405") as refused:
                urlopen(Request(base + path, method=method, data=b""), timeout=5)  # noqa: S310 - our own server
            refused.value.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"HTTP_PORT={port} cannot be listened on"):
            HealthApp(lambda: WELL, CollectorRegistry()).serve("127.0.0.1", port)


def test_nobody_is_told_of_a_client_that_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A browser connects once more than it needs; the log must stay lines of JSON."""
    monkeypatch.setattr(server._QuietHandler, "timeout", 0.05)
    with served(WELL) as url:
        host, _, port = url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port))) as idle:
            assert idle.recv(1) == b"", "hung up on"
        assert get(f"{url}/livez")[0] == 200
    assert "".join(capfd.readouterr()) == ""
