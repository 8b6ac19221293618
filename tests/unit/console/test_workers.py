"""What workers say of themselves, by the server that they have."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Thread

from prometheus_client import CollectorRegistry

from deploy.local.process import LOOPBACK
from worker.console.workers import WorkerHealth, Workers, WorkersWatch, ask
from worker.observability.server import HealthServer


@dataclass(frozen=True)
class Health:
    reasons: Mapping[str, str]
    notice: str | None = None
    silence_seconds: float = 0.0


def open_worker(stack: ExitStack, reasons: Mapping[str, str], notice: str | None = None) -> int:
    server = HealthServer(lambda: Health(reasons, notice), CollectorRegistry(), LOOPBACK, 0)
    stack.callback(server.close)
    return server.port


async def ask_once(url: str, addresses: Sequence[str] | OSError) -> Workers:
    async def resolve(_name: str, _port: int) -> Sequence[str]:
        if isinstance(addresses, OSError):
            raise addresses
        return addresses

    async def end(_: float) -> None:
        raise asyncio.CancelledError

    watch = WorkersWatch(url, end, resolve)
    with suppress(asyncio.CancelledError):
        await watch.run()
    return watch.state


async def test_every_address_of_the_name_is_a_worker() -> None:
    with ExitStack() as stack:
        port = open_worker(stack, {"store": "Code: 210. Connection refused"})
        state = await ask_once(f"http://metrics-worker:{port}", [LOOPBACK, "127.0.0.2"])
    first, second = state.answers
    assert first == WorkerHealth(f"{LOOPBACK}:{port}", {"store": "Code: 210. Connection refused"})
    assert second.problem is not None
    assert second.problem.startswith("no answer: ConnectionRefusedError")
    assert [each.state for each in state.answers] == ["holds", "no answer"]
    assert state.consuming == 0


async def test_worker_that_consumes_gives_no_reason() -> None:
    with ExitStack() as stack:
        port = open_worker(stack, {}, "it writes nothing")
        state = await ask_once(f"http://localhost:{port}", [LOOPBACK])
    assert state == Workers([WorkerHealth(f"{LOOPBACK}:{port}", notice="it writes nothing")], None)
    assert state.consuming == 1


async def test_number_of_workers_that_are_asked_is_bounded() -> None:
    with ExitStack() as stack:
        port = open_worker(stack, {"group": "no member"})
        state = await ask_once(f"http://localhost:{port}", [LOOPBACK] * 260)
    assert (len(state.answers), state.not_asked) == (256, 4)
    assert {each.state for each in state.answers} == {"joins its group"}


async def test_name_without_an_address_is_a_problem() -> None:
    state = await ask_once("http://nowhere:8080", socket.gaierror(-2, "Name or service not known"))
    assert state.problem == "nowhere has no address: Name or service not known"


async def test_answer_of_something_else_is_a_problem_and_is_bounded() -> None:
    with socket.create_server((LOOPBACK, 0)) as listening:
        for answer in (b"SSH-2.0-x\r\n", b"HTTP/1.0 200 OK\r\n\r\n[1]", b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 200_000):
            serving = Thread(target=_answer_once, args=(listening, answer))
            serving.start()
            health = await ask(*listening.getsockname())
            serving.join()
            assert health.problem is not None
            assert len(health.problem) < 300


def _answer_once(listening: socket.socket, answer: bytes) -> None:
    connection, _ = listening.accept()
    with connection, suppress(OSError):
        connection.recv(65_536)
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)
