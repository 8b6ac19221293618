"""The proxy that breaks connections: each of its faults, seen from both ends."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from deploy.local.process import LOOPBACK
from tests.support.connection import Side
from tests.support.local import wait_until
from tests.support.proxy import FaultProxy, run_in_thread

SECONDS = 5.0


class Echo:
    """A server that sends back what it gets; `seen` has what each connection has brought, `open` how many there are."""

    def __init__(self) -> None:
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        self.seen = bytearray()
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
                    self.seen += data
                    connection.sendall(data)
        except OSError:
            return  # cut off: what the tests are about
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
    """Connected through to the server, which has answered."""
    with connected(proxy) as client:
        assert asked(client, b"hello") == b"hello"
        yield client


def connected(proxy: FaultProxy) -> socket.socket:
    return socket.create_connection((LOOPBACK, proxy.port), timeout=SECONDS)


def asked(client: socket.socket, data: bytes) -> bytes:
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


def test_a_cut_reaches_both_sides(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    proxy.cut()

    assert is_cut(client)
    wait_until(lambda: echo.open == 0, "the server sees it too")
    assert proxy.cuts >= 1


def test_away_cuts_and_refuses_until_it_is_back(proxy: FaultProxy, client: socket.socket) -> None:
    proxy.unreachable = True
    assert is_cut(client)
    with connected(proxy) as another:
        assert is_cut(another)
    assert proxy.refused == 1

    proxy.unreachable = False
    with connected(proxy) as another:
        assert asked(another, b"back") == b"back"


def test_a_black_hole_accepts_and_never_answers(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    proxy.silent = True
    client.sendall(b"anybody?")
    with connected(proxy) as another:
        another.sendall(b"or here?")
        assert is_silent(another)
    assert is_silent(client)
    assert bytes(echo.seen) == b"hello"

    proxy.silent = False
    assert client.recv(100) == b"anybody?"


@pytest.mark.parametrize(("lane", "heard"), [("to_server", b""), ("to_client", b"one way")])
def test_one_direction_may_be_silent(
    proxy: FaultProxy, client: socket.socket, echo: Echo, direction: str, heard: bytes
) -> None:
    getattr(proxy, direction).silent = True
    client.sendall(b"one way")

    assert is_silent(client)
    assert bytes(echo.seen) == b"hello" + heard


@pytest.mark.parametrize(("lane", "heard"), [("to_server", b"123"), ("to_client", b"123456")])
def test_a_connection_is_cut_after_so_many_bytes_of_either_direction(
    proxy: FaultProxy, client: socket.socket, echo: Echo, direction: str, heard: bytes
) -> None:
    getattr(proxy, direction).cut_after(3)
    client.sendall(b"123456")
    received = b""
    try:
        while data := client.recv(100):
            received += data
    except ConnectionResetError:
        pass  # what was on its way may be lost with a reset

    assert b"123".startswith(received)
    wait_until(lambda: bytes(echo.seen) == b"hello" + heard, "the server has what was let through")
    assert getattr(proxy, direction).passed == len(b"hello123")
    with connected(proxy) as another:
        assert asked(another, b"once only") == b"once only"


@pytest.mark.parametrize("lane", ["to_server", "to_client"])
def test_a_delay_holds_each_piece_up(proxy: FaultProxy, client: socket.socket, direction: str) -> None:
    getattr(proxy, direction).delay_seconds = 0.3
    started = time.monotonic()

    assert asked(client, b"slowly") == b"slowly"
    assert time.monotonic() - started >= 0.3


def test_of_a_half_open_connection_the_client_knows_nothing(
    proxy: FaultProxy, client: socket.socket, echo: Echo
) -> None:
    proxy.half_open(Side.CLIENT)
    wait_until(lambda: echo.open == 0, "the server's end is gone")

    client.sendall(b"anybody?")
    assert is_silent(client)


def test_of_a_half_open_connection_the_server_knows_nothing(
    proxy: FaultProxy, client: socket.socket, echo: Echo
) -> None:
    proxy.half_open(Side.SERVER)

    assert is_cut(client)
    assert echo.open == 1


def test_an_answer_is_lost_after_the_server_has_given_it(proxy: FaultProxy, client: socket.socket, echo: Echo) -> None:
    proxy.lose_answer_after(4)
    client.sendall(b"work")

    assert is_cut(client)
    assert bytes(echo.seen) == b"hellowork"


def test_only_the_connection_that_sends_what_is_swallowed_falls_silent(
    proxy: FaultProxy, client: socket.socket, echo: Echo
) -> None:
    proxy.swallow = lambda data: data.startswith(b"bad")
    with connected(proxy) as another:
        client.sendall(b"bad")
        assert is_silent(client)
        assert asked(another, b"good") == b"good"
    assert bytes(echo.seen) == b"hellogood"

    proxy.swallow = None
    assert client.recv(100) == b"bad"
