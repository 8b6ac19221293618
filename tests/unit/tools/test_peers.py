"""The peers of the benchmark: none is dropped in silence, and their rows are the worker's."""

import re
from pathlib import Path

import pytest

from deploy.local.process import REPOSITORY
from tests.benchmarks.events import EventGenerator
from tests.benchmarks.named_shapes import EVENTS
from tests.benchmarks.peers import columns
from tests.benchmarks.peers.catalogue import PEERS, Peer, describe_peers
from tests.benchmarks.peers.comparison import install_peers
from tests.benchmarks.peers.environments import PeerMissingError, ensure_go_peer
from tests.benchmarks.peers.rows import Rows, describe_rows
from tests.support.events import Record
from worker.events.block import COLUMNS
from worker.events.fan_out import FanOut

FOLDER = REPOSITORY / "tests" / "benchmarks" / "peers"
PYTHON_PEERS = sorted(path.parent for path in FOLDER.glob("*/requirements.txt"))
EXPECTED = Rows(stored=100, distinct=100, digest=7)


@pytest.mark.parametrize(
    ("rows", "described"),
    [
        (EXPECTED, "all, once"),
        (Rows(stored=90, distinct=90, digest=5), "10 lost"),
        (Rows(stored=103, distinct=100, digest=7), "3 repeated"),
        (Rows(stored=95, distinct=90, digest=5), "10 lost, 5 repeated"),
        (Rows(stored=100, distinct=100, digest=8), "other values"),
    ],
)
def test_rows_that_differ_from_the_workers_are_described(rows: Rows, described: str) -> None:
    assert describe_rows(rows, EXPECTED) == described


def test_a_peer_that_cannot_be_had_is_named_with_the_reason() -> None:
    def ensure() -> tuple[str, ...]:
        raise PeerMissingError("Go is not installed")

    installed = Peer("installed", lambda: ("program",))
    commands, missing = install_peers([Peer("Go", ensure), installed])
    assert (commands, missing) == ({installed: ("program",)}, {"Go": "not to be had: Go is not installed"})


def test_the_peer_in_go_cannot_be_had_without_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(PeerMissingError, match="Go is not installed"):
        ensure_go_peer()


def test_what_happens_is_said_of_every_program() -> None:
    for line in describe_peers():
        assert set(line) == {"what happens", "worker", *(peer.name for peer in PEERS)}


@pytest.mark.parametrize("event", EVENTS)
def test_hand_made_columns_are_the_rows_of_the_worker(event: str) -> None:
    assert columns.COLUMNS == COLUMNS
    records = [
        Record(one.value, offset=offset, timestamp=one.timestamp)
        for offset, one in enumerate(EventGenerator(EVENTS[event]).generate(50))
    ]
    fan_out, made = FanOut(), columns.Columns()
    for record in records:
        fan_out.add_record(record)
        made.add(record.value or b"", record.topic, record.partition, record.offset, record.timestamp)
    (block,) = fan_out.blocks.values()
    assert made.lists == [list(column) for column in block.columns()]


@pytest.mark.parametrize("peer", PYTHON_PEERS, ids=lambda peer: peer.name)
def test_a_peer_has_exact_pins_and_the_workers_versions_of_shared_packages(peer: Path) -> None:
    pinned = read_pins(peer / "requirements.txt")
    for requirement in (peer / "requirements.in").read_text().splitlines():
        name, _, version = re.sub(r"\[.*\]", "", requirement).partition("==")
        assert pinned[name] == (version or pinned[name])
    worker = read_pins(REPOSITORY / "deploy" / "requirements.txt")
    shared = {"aiokafka", "clickhouse-driver", "orjson"} & pinned.keys()
    assert {name: pinned[name] for name in shared} == {name: worker[name] for name in shared}


def read_pins(file: Path) -> dict[str, str]:
    """The versions in a file of requirements, each of which has a hash."""
    text = file.read_text()
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    hashed = re.findall(r"^([a-z0-9-]+)==\S+.*\\\n    --hash=sha256:", text, re.MULTILINE)
    assert pins.keys() == set(hashed)
    return pins
