"""What the workers say of themselves: whether they consume, and if not, why. Kafka does not know that."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson

from worker.core.retry import Sleep
from worker.observability.status import GROUP

_PAUSE_SECONDS = 15.0
_ANSWER_SECONDS = 3.0
_MAX_WORKERS = 256
_MAX_ANSWER_BYTES = 65_536
_MAX_REASONS, _MAX_REASON = 10, 1_000


class WorkerHealth(NamedTuple):
    """What one worker has answered.

    Attributes:
        address: its address and port.
        reasons: why it does not consume, by cause; empty while it does.
        notice: what an operator must know, whatever its state.
        problem: why it gave no answer; None if it did.
    """

    address: str
    reasons: Mapping[str, str] = {}
    notice: str | None = None
    problem: str | None = None

    @property
    def state(self) -> str:
        """Its state in words."""
        if self.problem is not None:
            return "no answer"
        if self.reasons.keys() - {GROUP}:
            return "holds"
        return "joins its group" if self.reasons else "consumes"


class Workers(NamedTuple):
    """All workers that a name stands for.

    Attributes:
        problem: why they are not known.
        not_asked: how many others there are.
    """

    answers: Sequence[WorkerHealth] = ()
    problem: str | None = "the workers have not been asked yet"
    not_asked: int = 0

    @property
    def consuming(self) -> int:
        """How many consume."""
        return sum(answer.state == "consumes" for answer in self.answers)


class WorkersWatch:
    """Asks all workers again and again: `state` is then replaced.

    Args:
        url: the base of their status pages. A name with several addresses, such as that of a headless Service in
            Kubernetes, stands for several workers.
    """

    def __init__(
        self,
        url: str,
        sleep: Sleep = asyncio.sleep,
        resolve: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        parts = urlsplit(url)
        self._name, self._port = parts.hostname or "", parts.port or 80
        self._sleep = sleep
        self._resolve = resolve or _resolve
        self.state = Workers()

    async def run(self) -> None:
        """Ask until it is cancelled."""
        while True:
            self.state = await self._ask_all()
            await self._sleep(_PAUSE_SECONDS)

    async def _ask_all(self) -> Workers:
        try:
            addresses = await self._resolve(self._name, self._port)
        except OSError as error:
            return Workers(problem=f"{self._name} has no address: {error.strerror or error}")
        asked = addresses[:_MAX_WORKERS]
        answers = await asyncio.gather(*(ask(address, self._port) for address in asked))
        return Workers(answers, None, len(addresses) - len(asked))


async def _resolve(name: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


async def ask(address: str, port: int) -> WorkerHealth:
    """What the worker at an address answers at /readyz."""
    shown = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return _parse(shown, await _fetch(address, port))
    except TimeoutError:
        return WorkerHealth(shown, problem=f"no answer within {_ANSWER_SECONDS:g} s")
    except OSError as error:
        return WorkerHealth(shown, problem=f"no answer: {type(error).__name__}: {error}")
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return WorkerHealth(shown, problem=f"its answer is not that of a worker: {type(error).__name__}: {error}")


async def _fetch(address: str, port: int) -> bytes:
    """The body, of which at most `_MAX_ANSWER_BYTES` are read. With HTTP/1.0 it ends with the connection."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        answer = b""
        while len(answer) < _MAX_ANSWER_BYTES and (part := await reader.read(_MAX_ANSWER_BYTES - len(answer))):
            answer += part
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2]


def _parse(shown: str, body: bytes) -> WorkerHealth:
    """Raises ValueError, LookupError, TypeError or AttributeError if it is not what a worker answers."""
    answer = orjson.loads(body)
    reasons = [] if answer["ready"] else list(answer["reasons"].items())[:_MAX_REASONS]
    notice = answer.get("notice")
    return WorkerHealth(
        shown,
        {str(cause): str(reason)[:_MAX_REASON] for cause, reason in reasons},
        None if notice is None else str(notice)[:_MAX_REASON],
    )
