"""The fault proxy: each of its faults, seen from client and server."""

import socket
import threading
from collections.abc import Iterator

import pytest

from deploy.local.process import LOOPBACK
from tests.support.connection import Side
from tests.support.local import wait_until
from tests.support.proxy import FaultProxy, run_in_thread

SECONDS = 5.0


class Echo:
    """A server that sends back what it receives.

    Attributes:
        received: the bytes of all connections.
        open: number of open connections.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        self.received = bytearray()
        self.open = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.open += 1
        try:
            with connection:
                while data := connection.recv(65_536):
                    self.received += data
                    connection.sendall(data)
        except OSError:
            return  # cut by the proxy
        finally:
            self.open -= 1


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[FaultProxy]:
    with run_in_thread(FaultProxy(echo.port)) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[socket.socket]:
    """A client that has sent "hello" and received it back."""
    with connect(proxy) as client:
        assert exchange(client, b"hello") == b"hello"
        yield client


def connect(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=SECONDS)


def exchange(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    return client.recv(65_536)


def is_cut(client: socket.socket) -> bool:
    try:
        return client.recv(65_536) == b""
    except ConnectionResetError:
        return True


def is_silent(client: socket.socket) -> bool:
    client.settimeout(0.3)
    try:
        client.recv(65_536)
    except TimeoutError:
        return True
    finally:
        client.settimeout(SECONDS)
    return False


def test_cut_reaches_both_sides(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    proxy.cut()

    assert is_cut(client)
    wait_until(lambda: echo.open == 0, "the server's connection is cut too")
    assert proxy.cuts >= 1


def test_unreachable_cuts_and_refuses_until_it_ends(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.unreachable = True
    assert is_cut(client)
    with connect(proxy) as another:
        assert is_cut(another)
    assert proxy.refused == 1

    proxy.unreachable = False
    with connect(proxy) as another:
        assert exchange(another, b"back") == b"back"


def test_silent_accepts_and_forwards_nothing_until_it_ends(
    proxy: FaultProxy, client: socket.socket, echo: Echo
) -> None:
    proxy.silent = True
    client.sendall(b"delayed")
    with connect(proxy) as another:
        another.sendall(b"lost")
        assert is_silent(another)
    assert is_silent(client)
    assert bytes(echo.received) == b"hello"

    proxy.silent = False
    assert client.recv(100) == b"delayed"


@pytest.mark.parametrize(("direction", "received"), [("to_server", b"123"), ("to_client", b"123456")])
def test_cut_after_lets_that_many_bytes_pass_in_one_direction(
    proxy: FaultProxy, client: socket.socket, echo: Echo, direction: str, received: bytes
) -> None:
    getattr(proxy, direction).cut_after(3)
    client.sendall(b"123456")
    answered = b""
    try:
        while data := client.recv(100):
            answered += data
    except ConnectionResetError:
        pass  # a reset may discard what was on its way

    assert b"123".startswith(answered)
    wait_until(lambda: bytes(echo.received) == b"hello" + received, "the server has what was let through")
    assert getattr(proxy, direction).passed == len(b"hello123")
    with connect(proxy) as another:
        assert exchange(another, b"once only") == b"once only"


@pytest.mark.parametrize("kept", list(Side))
def test_half_open_closes_one_side_and_keeps_the_other(
    proxy: FaultProxy, client: socket.socket, echo: Echo, kept: Side
) -> None:
    proxy.half_open(kept)

    if kept is Side.SERVER:
        assert is_cut(client)
        assert echo.open == 1
    else:
        wait_until(lambda: echo.open == 0, "the server's side is closed")
        client.sendall(b"lost")
        assert is_silent(client)


def test_lose_answer_cuts_after_the_server_has_answered(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    proxy.lose_answer_after(4)
    client.sendall(b"work")

    assert is_cut(client)
    assert bytes(echo.received) == b"hellowork"


def test_swallow_silences_only_the_connection_with_such_data(
    proxy: FaultProxy, client: socket.socket, echo: Echo
) -> None:
    proxy.swallow = lambda data: data.startswith(b"bad")
    with connect(proxy) as another:
        client.sendall(b"bad")
        assert is_silent(client)
        assert exchange(another, b"good") == b"good"
    assert bytes(echo.received) == b"hellogood"

    proxy.swallow = None
    assert client.recv(100) == b"bad"
