"""The servers of ClickHouse that the worker may use, and which of them failed a short time ago."""

import re
from collections.abc import Hashable, Iterable, Sequence
from ipaddress import IPv6Address
from math import inf
from time import monotonic
from typing import NamedTuple, TypeVar

Candidate = TypeVar("Candidate", bound=Hashable)

_NAME = r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?"
"""A name with an empty or a longer label cannot be asked for: it would fail only when its turn comes."""
_SERVER = re.compile(rf"(?:(?P<name>{_NAME})|\[(?P<address>[^\]]+)\])(?::(?P<port>[0-9]{{1,5}}))?")
_AVOID_SECONDS = 300.0
"""How long a server that failed comes after the others. A connection then tries it again, which costs at most
twice the connect time-out for each of its addresses: to connect, and for the greeting."""


class Server(NamedTuple):
    """A server, by host name or address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_servers(text: str, default_port: int) -> list[Server]:
    """The servers of `text`, such as `ch-1,ch-2:9440,[::1]`, in its order. Raises ValueError if it is no such list."""
    return [_parse_server(part.strip(), default_port) for part in text.split(",")]


def _parse_server(text: str, default_port: int) -> Server:
    match = _SERVER.fullmatch(text)
    if match is None:
        return Server(_parse_ipv6(text), default_port)
    port = int(match["port"] or default_port)
    if not 1 <= port <= 65535:
        raise ValueError
    return Server(match["name"] or _parse_ipv6(match["address"]), port)


def _parse_ipv6(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise ValueError from None  # without the text, which may be a URL with a password


class RecentFailures:
    """Remembers which servers and addresses failed, for all connections of a process. Any thread may use it."""

    def __init__(self, avoid_seconds: float = _AVOID_SECONDS) -> None:
        self._avoid_seconds = avoid_seconds
        self._failed_at: dict[Hashable, float] = {}

    def add(self, candidate: Hashable) -> None:
        """Remember that `candidate` failed now."""
        self._failed_at[candidate] = monotonic()

    def remove(self, candidate: Hashable) -> None:
        """Forget that `candidate` failed, because it works."""
        self._failed_at.pop(candidate, None)

    def is_recent(self, candidate: Hashable) -> bool:
        """Whether `candidate` failed a short time ago."""
        return monotonic() - self._failed_at.get(candidate, -inf) < self._avoid_seconds

    def order(self, candidates: Iterable[Candidate]) -> Sequence[Candidate]:
        """`candidates` in their order; those that failed recently come last, the longest ago of them first."""
        forgotten = monotonic() - self._avoid_seconds
        return sorted(candidates, key=lambda candidate: max(self._failed_at.get(candidate, 0.0) - forgotten, 0.0))
