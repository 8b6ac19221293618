"""Health over HTTP, on both kinds of address."""

import json
import socket
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from worker.errors import SettingsError
from worker.health import MAX_SILENCE_SECONDS, Health


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


@pytest.mark.parametrize("host", addresses())
def test_answers_on_either_kind_of_address(host: str) -> None:
    server = Health(lambda: 0.0, dict, CollectorRegistry()).serve(host, 0)
    try:
        shown = f"[{host}]" if ":" in host else host
        assert get(f"http://{shown}:{server.port}/livez")[0] == 200
    finally:
        server.close()


def test_tells_why_it_is_not_ready_and_when_it_makes_no_progress() -> None:
    silence, reasons = [0.0], {"store": "UNKNOWN_TABLE"}
    server = Health(lambda: silence[0], lambda: reasons, CollectorRegistry()).serve("127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.port}"
    try:
        status, body = get(f"{base}/readyz")
        assert (status, json.loads(body)) == (503, {"ready": False, "reasons": {"store": "UNKNOWN_TABLE"}})
        reasons.clear()
        assert get(f"{base}/readyz")[0] == 200
        silence[0] = MAX_SILENCE_SECONDS
        assert get(f"{base}/livez")[0] == 503
        assert get(f"{base}/metrics")[0] == 200
        assert get(f"{base}/other")[0] == 404
    finally:
        server.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"HTTP_PORT={port} cannot be listened on"):
            Health(lambda: 0.0, dict, CollectorRegistry()).serve("127.0.0.1", port)
