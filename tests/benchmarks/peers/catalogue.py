"""The peers: what else a team could run between Kafka and ClickHouse, and what each does not do."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.benchmarks.environment import Figures
from tests.benchmarks.peers.environments import ensure_go_peer, ensure_python_peer

WORKER = "worker"


@dataclass(frozen=True)
class Peer:
    """A program that reads the events of a topic and writes the worker's rows.

    Attributes:
        ensure: installs it and returns its command, to which SERVERS TOPIC GROUP HOST PORT DATABASE TABLE are added.
            Raises PeerMissingError.
        most_events: so many events take it some seconds.
    """

    name: str
    ensure: Callable[[], tuple[str, ...]]
    most_events: int = sys.maxsize


PEERS = (
    Peer("FastStream", partial(ensure_python_peer, "faststream")),
    Peer("arroyo", partial(ensure_python_peer, "arroyo")),
    Peer("Go", ensure_go_peer),
    Peer("original loop", partial(ensure_python_peer, "original"), most_events=50),
)
_WHAT_EACH_DOES = (
    # The worker, then PEERS.
    ("a metric that is refused costs", "itself", "its batch", "its batch", "its batch", "the rest of its event"),
    ("what cannot be written or read", "is dead-lettered", "is read again forever", "ends it", "ends it", "is lost"),
    ("while ClickHouse is away", "it waits, then pauses", "it reads in a loop", "it ends", "it ends", "all is lost"),
    ("offsets are committed", "after the rows", "after the rows", "after the rows", "after the rows", "by a timer"),
    ("an INSERT without an answer", "again, same token", "other batches", "other batches", "other batches", "is lost"),
    ("NaN, CloudEvents, limits of the contract", "yes", "no", "no", "no", "no"),
    ("bounded memory whatever a record holds", "yes", "no", "no", "no", "no"),
    ("metrics, health, replay", "yes", "no", "no", "no", "no"),
)  # fmt: skip


def describe_peers() -> list[Figures]:
    """One line for each thing that may happen: what the worker makes of it, and each peer as it is written here."""
    names = ("what happens", WORKER, *(peer.name for peer in PEERS))
    return [dict(zip(names, cells, strict=True)) for cells in _WHAT_EACH_DOES]
