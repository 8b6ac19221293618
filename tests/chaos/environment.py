"""Where a scenario runs: a broker and an engine behind fault proxies, workers, a load, and the expected results."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from clickhouse_driver import Client

from deploy.local.apache_kafka.jars import KafkaMissingError
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import TansuBroker
from deploy.local.cluster import Cluster
from deploy.local.demo import table, topic
from deploy.local.demo.expectations import Expectations
from deploy.local.demo.verification import Tolerance, Verification, verify_results
from deploy.local.engine_process import EngineProcess
from deploy.local.process import free_port
from deploy.local.stack import Stack
from tests.chaos.events import METRICS, generate_messages
from tests.chaos.load import Load
from tests.chaos.scenario import FaultNotPossibleError, Scenario
from tests.chaos.workers import Workers
from tests.support.commands import Commands
from tests.support.local import wait_until
from tests.support.proxy import FaultProxy, run_in_thread

GROUP = "metrics-worker-chaos"
BATCH_EVENTS = 500
WRITERS = 2
IN_FLIGHT_EVENTS = BATCH_EVENTS * (WRITERS + 1)
"""Most events that one worker has in flight: a batch for each writer, and one that is being decoded."""
IN_FLIGHT_METRICS = IN_FLIGHT_EVENTS * len(METRICS)
SHORT_TIMES = {
    "BATCH_MAX_EVENTS": str(BATCH_EVENTS),
    "CLICKHOUSE_WRITERS": str(WRITERS),
    "CLICKHOUSE_CONNECT_TIMEOUT_SECONDS": "1",
    "CLICKHOUSE_TIMEOUT_SECONDS": "2",
    "KAFKA_DLQ_TIMEOUT_SECONDS": "2",
    "KAFKA_REBALANCE_TIMEOUT_SECONDS": "6",
    "KAFKA_SESSION_TIMEOUT_SECONDS": "2",
    "RETRY_ATTEMPTS": "5",
    "RETRY_FIRST_WAIT_SECONDS": "0.1",
    "RETRY_MAX_SECONDS": "3",
    "RETRY_MAX_WAIT_SECONDS": "1",
    "SHUTDOWN_TIMEOUT_SECONDS": "10",
}
"""Settings of every worker: what takes a minute with the defaults takes three seconds."""
LONG_RETRIES = {"RETRY_ATTEMPTS": "100", "RETRY_MAX_SECONDS": "20"}
"""For faults that end within this budget, and must not cause dead letters."""
STALLED_SECONDS = 60.0
POLL_SECONDS = 0.1
_NO_MERGES = "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1"
_MANY_PARTS = "parts_to_delay_insert = 100000, parts_to_throw_insert = 100000"


class StalledError(RuntimeError):
    """Records are not committed, and there is no more progress."""


@dataclass
class Environment:
    """What a scenario breaks and checks.

    Attributes:
        engines: the shards of the table, of which the first is `stack.engine`.
        random: the source of all random decisions of the scenario.
        events: how many records the run has.
        outage_seconds: length of a long outage.
        problems: descriptions of everything that is wrong.
        figures: numbers that the scenario reports.
    """

    random: Random
    events: int
    outage_seconds: float
    directory: Path
    stack: Stack
    engines: Sequence[EngineProcess]
    engine_proxy: FaultProxy
    broker_proxy: FaultProxy
    expectations: Expectations
    load: Load
    workers: Workers
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def check(self, holds: bool, otherwise: str) -> None:
        """Add the problem `otherwise` unless `holds`."""
        if not holds:
            self.problems.append(otherwise)

    def wait_until(
        self,
        condition: Callable[[], bool],
        what: str,
        timeout_seconds: float = 30.0,
        poll_seconds: float = POLL_SECONDS,
    ) -> float:
        """Wait with the times of a scenario; see `tests.support.local.wait_until`."""
        return wait_until(condition, what, timeout_seconds, poll_seconds)

    def sleep_between(self, low: float, high: float) -> None:
        """Sleep for a random time, in seconds."""
        time.sleep(self.random.uniform(low, high))

    def committed_offsets(self) -> dict[int, int]:
        """The next offset that the group has committed, by partition."""
        return asyncio.run(topic.read_committed_offsets(self.stack.broker.bootstrap_servers, self.stack.topic, GROUP))

    def count_uncommitted(self) -> int:
        """How many records are sent and not committed."""
        committed = self.committed_offsets()
        return sum(end - committed[partition] for partition, end in self.expectations.ends.items())

    def count_rows(self) -> int:
        """How many rows the table has, duplicates included."""
        with self.client() as client:
            ((count,),) = client.execute(f"SELECT count() FROM {table.TABLE}")  # noqa: S608 - a constant
        return int(count)

    def client(self) -> Client:
        """A client of the engine that does not use the proxy."""
        return self.stack.engine.client(self.stack.database, connect_timeout=5, send_receive_timeout=120)

    def run_sql(self, statement: str) -> None:
        """Run one statement, not through the proxy."""
        with self.client() as client:
            client.execute(statement)

    def wait_until_committed(self) -> None:
        """Wait until everything that was sent is committed.

        Raises:
            StalledError: for `STALLED_SECONDS` no offset was committed, or no worker runs.
        """
        left, moved = self.count_uncommitted(), time.monotonic()
        while left:
            time.sleep(2 * POLL_SECONDS)
            before, left = left, self.count_uncommitted()
            if left != before:
                moved = time.monotonic()
            if time.monotonic() - moved > STALLED_SECONDS or not self.workers.running:
                raise StalledError(f"{left:,} records are not committed; {len(self.workers.running)} workers run")

    def verify(self, tolerance: Tolerance) -> Verification:
        """Compare rows, dead letters and commits with the expected ones, while no record is being sent."""
        self.expectations.flush()
        return verify_results(self.stack, GROUP, self.expectations, None, (), lambda _: None, tolerance)

    def run_audit_command(self) -> str | None:
        """Compare with `metrics-worker audit` as well, which uses the worker's own decoder; its objection, or None."""
        done = self._audit_command().run("audit", "--json")
        if done.returncode == 0:
            return None
        return f"exit {done.returncode}: {done.stdout[-1_000:]} {done.stderr[-500:]}"

    def read_audit_sums(self) -> dict[str, Any]:
        """The sums of `metrics-worker audit` now."""
        *_, last = self._audit_command().json("audit", "--json")
        sums: dict[str, Any] = last["sums"]
        return sums

    def _audit_command(self) -> Commands:
        return Commands(self.stack.environment() | {"KAFKA_GROUP_ID": GROUP}, timeout_seconds=600)

    def check_committed_so_far(self) -> None:
        """Check, while no worker runs, that every committed record is a row or a dead letter."""
        found = self.verify(Tolerance(repeats=True, unfinished=True))
        self.check(not found.differences, f"halfway: {found.differences.examples}")
        self.check(found.uncommitted == 0, f"halfway: {found.uncommitted} records committed that do not exist")


@contextmanager
def open_environment(
    scenario: Scenario, seed: int, events: int, outage_seconds: float, directory: Path
) -> Iterator[Environment]:
    """Start all servers, but no worker; stop everything at the end.

    Two threads draw random numbers, for the events and for the scenario. Each has a generator of its own, made from
    the seed, so that the numbers do not depend on which thread is faster.
    """
    with ExitStack() as opened:
        broker_port = free_port()
        broker_proxy = opened.enter_context(run_in_thread(FaultProxy(broker_port)))
        advertised = broker_proxy.port if scenario.broker_proxied else 0
        cluster = Cluster(directory, shards=scenario.shards) if scenario.shards > 1 else None
        broker = _apache_kafka(directory) if scenario.apache_kafka else TansuBroker(directory, broker_port, advertised)
        stack = Stack(directory, broker=broker, cluster=cluster)
        if scenario.before_engine is not None:
            opened.enter_context(scenario.before_engine(directory))
        opened.enter_context(stack)
        engine_proxy = opened.enter_context(run_in_thread(FaultProxy(stack.engine.port)))
        engines = cluster.engines if cluster else [stack.engine]
        for engine in engines:
            _prepare_table(engine.client(stack.database), cluster.local_table if cluster else table.TABLE)
        addresses = {"KAFKA_GROUP_ID": GROUP, "CLICKHOUSE_PORT": str(engine_proxy.port)}
        workers = Workers(directory, {**stack.environment(), **SHORT_TIMES, **scenario.environment, **addresses})
        opened.callback(workers.kill_all)
        expectations = opened.enter_context(Expectations(directory))
        load = Load(stack, expectations, generate_messages(Random(f"events {seed}"), scenario.mix), events)
        random, servers = Random(f"{scenario.name} {seed}"), (stack, engines, engine_proxy, broker_proxy)
        yield Environment(random, events, outage_seconds, directory, *servers, expectations, load, workers)


def _apache_kafka(directory: Path) -> ApacheKafka:
    try:
        return ApacheKafka(directory)
    except KafkaMissingError as error:
        raise FaultNotPossibleError(str(error)) from error


def _prepare_table(client: Client, stored: str) -> None:
    """Add the constraint, and switch merges off: they would remove duplicates that the report counts."""
    with client:
        table.add_constraint(client, stored)
        client.execute(f"ALTER TABLE {stored} MODIFY SETTING {_NO_MERGES}, {_MANY_PARTS}")
