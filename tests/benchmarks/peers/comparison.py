"""The worker beside its peers in one run, on the same topic, with a table for each program."""

from collections.abc import Mapping, Sequence

import click

from tests.benchmarks.environment import BenchmarkEnvironment, Figures
from tests.benchmarks.medians import median_of, median_ratio
from tests.benchmarks.peers.catalogue import PEERS, WORKER, Peer
from tests.benchmarks.peers.environments import PeerMissingError
from tests.benchmarks.peers.measurement import FIGURES, measure_peer, measure_worker
from tests.benchmarks.peers.rows import AS_EXPECTED, Rows
from tests.benchmarks.shape import Shape

Command = tuple[str, ...]
_RATIOS = {"worker_to_it_per_cpu_second": "events_per_cpu_second", "worker_to_it_per_second": "events_per_second"}
"""How many times as many events as the program the worker handled in a CPU-second, and in a second."""


class PeerComparison:
    """Runs the worker and every peer in turns; a ratio compares two programs of the same run.

    Attributes:
        runs: the figures of each program, for every run.
    """

    def __init__(self, env: BenchmarkEnvironment, count: int, peers: Sequence[Peer] = PEERS) -> None:
        self._env = env
        self._count = count
        self._commands, self._missing = install_peers(peers)
        self._expected: dict[str, Rows] = {}
        self.runs: list[dict[str, Figures]] = []

    def compare(self, event: str, shape: Shape, runs: int) -> list[Figures]:
        """A line of medians for each program, also for those that are missing."""
        of_shape = [self._run(shape) for _ in range(runs)]
        self.runs += ({"topic": {"event": event}, **run} for run in of_shape)
        lines = [_summarize(program, of_shape) for program in of_shape[0]]
        lines += ({"program": name, **_no_figures(), "rows": reason} for name, reason in self._missing.items())
        return [{"event": event, **line} for line in lines]

    def _run(self, shape: Shape) -> dict[str, Figures]:
        topic = self._env.topic(shape, self._count)
        run: dict[str, Figures] = {}
        run[WORKER], self._expected[topic.name] = measure_worker(self._env, topic)
        for peer, command in self._commands.items():
            topic = self._env.topic(shape, min(self._count, peer.most_events))
            if topic.name not in self._expected:
                _, self._expected[topic.name] = measure_worker(self._env, topic)
            click.echo(f"{peer.name} consumes {topic.events:,} events", err=True)
            run[peer.name] = measure_peer(self._env, command, topic, self._expected[topic.name])
        return run


def install_peers(peers: Sequence[Peer]) -> tuple[dict[Peer, Command], dict[str, str]]:
    """The commands of the peers, and for each that cannot be had, why."""
    commands: dict[Peer, Command] = {}
    missing: dict[str, str] = {}
    for peer in peers:
        click.echo(f"{peer.name} is installed, if it is not yet", err=True)
        try:
            commands[peer] = peer.ensure()
        except PeerMissingError as error:
            missing[peer.name] = f"not to be had: {error}"
    return commands, missing


def _summarize(program: str, runs: Sequence[Mapping[str, Figures]]) -> Figures:
    """The medians of one program over the runs in which it worked, and the worst that is known of its rows."""
    outcomes = [str(run[program]["rows"]) for run in runs]
    rows = next((outcome for outcome in outcomes if outcome != AS_EXPECTED), AS_EXPECTED)
    worked = [run for run in runs if run[program][FIGURES[0]] != ""]
    if not worked:
        return {"program": program, **_no_figures(), "rows": rows}
    workers, own = [run[WORKER] for run in worked], [run[program] for run in worked]
    medians: Figures = {name: median_of(own, name) for name in FIGURES}
    ratios: Figures = {ratio: median_ratio(workers, own, name) for ratio, name in _RATIOS.items()}
    return {"program": program, **medians, **ratios, "rows": rows}


def _no_figures() -> Figures:
    return dict.fromkeys((*FIGURES, *_RATIOS), "")
