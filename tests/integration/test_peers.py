"""The worker beside peers on real servers: each has its figures and what became of its rows, or why it has none."""

import sys
from collections.abc import Callable
from pathlib import Path

from deploy.local.broker import KafkaServer
from deploy.local.stack import Stack
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.named_shapes import TELEMETRY
from tests.benchmarks.peers.catalogue import Peer
from tests.benchmarks.peers.comparison import PeerComparison
from tests.benchmarks.peers.environments import PeerMissingError
from tests.benchmarks.peers.measurement import FIGURES

ORIGINAL_LOOP = (sys.executable, "-m", "tests.benchmarks.peers.original.consumer")
ENDS_AT_ONCE = (sys.executable, "-c", "import os, sys; print('ready', os.getpid(), flush=True); sys.exit('no topic')")


def ensure_missing() -> tuple[str, ...]:
    raise PeerMissingError("Go is not installed")


def test_every_program_is_measured_or_named_with_the_reason(
    tmp_path: Path, new_broker: Callable[[Path], KafkaServer]
) -> None:
    peers = (
        Peer("original loop", lambda: ORIGINAL_LOOP, most_events=3),
        Peer("ends", lambda: ENDS_AT_ONCE),
        Peer("Go", ensure_missing),
    )
    with Stack(tmp_path, broker=new_broker(tmp_path)) as stack:
        comparison = PeerComparison(BenchmarkEnvironment(stack, tmp_path), 500, peers)
        lines = {str(line["program"]): line for line in comparison.compare("telemetry", TELEMETRY, runs=1)}
    assert {name: line["rows"] for name, line in lines.items()} == {
        "worker": "all, once",
        "original loop": "all, once",
        "ends": "failed: no topic",
        "Go": "not to be had: Go is not installed",
    }
    for name, line in lines.items():
        has_figures = name in ("worker", "original loop")
        assert all((float(line[figure]) > 0) if has_figures else line[figure] == "" for figure in FIGURES)
    assert [list(run) for run in comparison.runs] == [["topic", "worker", "original loop", "ends"]]
