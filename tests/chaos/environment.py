"""Where a scenario plays: a broker, an engine, proxies before both, a crew of workers, a load, and the ledger."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from deploy.local.broker import TansuBroker
from deploy.local.cluster import Cluster
from deploy.local.demo import table, topic
from deploy.local.demo.expectations import Expectations
from deploy.local.demo.verification import Tolerance, Verification, audit
from deploy.local.environment import environment_without_settings
from deploy.local.process import free_port
from deploy.local.stack import Stack
from tests.chaos.events import METRICS, generate_messages
from tests.chaos.load import Load
from tests.chaos.workers import Workers
from tests.support.proxy import FaultProxy, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from clickhouse_driver import Client

    from tests.chaos.scenario import Scenario

GROUP = "metrics-worker-chaos"
BATCH_EVENTS = 500
WRITERS = 2
IN_FLIGHT_EVENTS = BATCH_EVENTS * (WRITERS + 1)
"""Events that one worker has under way at most: as many batches as it has writers, and one that is decoded."""
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
"""Time compressed by configuration: what takes a minute with the defaults takes three seconds."""
LONG_RETRIES = {"RETRY_ATTEMPTS": "100", "RETRY_MAX_SECONDS": "20"}
"""For faults that are shorter than this, and must not become dead letters of an outage."""
STALLED_SECONDS = 60.0
POLL_SECONDS = 0.1
_NO_MERGES = "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1"
_MANY_PARTS = "parts_to_delay_insert = 100000, parts_to_throw_insert = 100000"


class StalledError(RuntimeError):
    """Records were left, and nothing was committed any more."""


@dataclass
class Environment:
    """What a scenario breaks, and what it asks of it.

    Attributes:
        cluster: the shards of the table; None where it has only one, `stack.engine`.
        random: everything that is left to chance.
        events: how many records the run has.
        problems: what was not as it should be, in words.
        notes: figures that the scenario wants to show.
    """

    stack: Stack
    cluster: Cluster | None
    engine_proxy: FaultProxy
    broker_proxy: FaultProxy
    ledger: Expectations
    load: Load
    workers: Workers
    random: Random
    events: int
    directory: Path
    outage_seconds: float
    problems: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def check(self, holds: bool, otherwise: str) -> None:
        """Note a problem unless `holds`."""
        if not holds:
            self.problems.append(otherwise)

    def wait_until(
        self,
        condition: Callable[[], bool],
        what: str,
        timeout_seconds: float = 30.0,
        poll_seconds: float = POLL_SECONDS,
    ) -> float:
        """Poll until `condition` holds; how many seconds that took. Raises TimeoutError, which names `what`."""
        started = time.monotonic()
        while not condition():
            self.workers.record_memory()
            if time.monotonic() - started > timeout_seconds:
                raise TimeoutError(f"not within {timeout_seconds:g} s: {what}")
            time.sleep(poll_seconds)
        return time.monotonic() - started

    def sleep_between(self, low: float, high: float) -> float:
        """Let a random time pass; how long it was."""
        seconds = self.random.uniform(low, high)
        time.sleep(seconds)
        return seconds

    def committed_offsets(self) -> dict[int, int]:
        """The next offset of each partition that the group has committed."""
        return asyncio.run(topic.committed(self.stack.broker.bootstrap_servers, self.stack.topic, GROUP))

    def count_uncommitted(self) -> int:
        """How many records are sent and not committed."""
        committed = self.committed_offsets()
        return sum(end - committed[partition] for partition, end in self.ledger.ends.items())

    def count_rows(self) -> int:
        """How many rows the table has, repeated ones included."""
        with self.client() as client:
            ((count,),) = client.execute(f"SELECT count() FROM {table.TABLE}")  # noqa: S608 - a constant
        return int(count)

    def client(self) -> Client:
        """A client of the engine, past the proxy."""
        return self.stack.engine.client(self.stack.database, connect_timeout=5, send_receive_timeout=120)

    def run_sql(self, statement: str) -> None:
        """Run one statement, past the proxy."""
        with self.client() as client:
            client.execute(statement)

    def wait_until_committed(self, stalled_seconds: float = STALLED_SECONDS) -> None:
        """Wait until everything that was sent is committed.

        Raises:
            StalledError: for a long time no commit has come, and no answer of ClickHouse about rows either.
        """
        before, moved = (self.count_uncommitted(), self.workers.count_answered_inserts()), time.monotonic()
        while before[0]:
            self.workers.record_memory()
            time.sleep(2 * POLL_SECONDS)
            now = self.count_uncommitted(), self.workers.count_answered_inserts()
            if now != before:
                before, moved = now, time.monotonic()
            if time.monotonic() - moved > stalled_seconds or not self.workers.running:
                raise StalledError(f"{before[0]:,} records are not committed; {len(self.workers.running)} workers run")

    def verify(self, tolerance: Tolerance) -> Verification:
        """Compare what is there with what is owed; nobody may be sending."""
        self.ledger.flush()
        return audit(self.stack, GROUP, self.ledger, None, (), lambda _: None, tolerance)

    def run_audit_command(self) -> str | None:
        """What `metrics-worker audit` has to say against it: another reckoning, by the worker's own decoder."""
        done = subprocess.run(
            [sys.executable, "-m", "worker", "audit", "--json"],
            env=environment_without_settings() | self.stack.environment() | {"KAFKA_GROUP_ID": GROUP},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode == 0:
            return None
        return f"exit {done.returncode}: {done.stdout[-1_000:]} {done.stderr[-500:]}"

    def check_committed_so_far(self) -> None:
        """With no worker running: what is committed must be accounted for, whatever comes later."""
        found = self.verify(Tolerance(repeats=True, unfinished=True))
        self.check(not found.differences, f"halfway: {found.differences.examples}")
        self.check(found.uncommitted == 0, f"halfway: {found.uncommitted} records committed that do not exist")


@contextmanager
def open_environment(
    scenario: Scenario, seed: int, events: int, outage_seconds: float, directory: Path
) -> Iterator[Environment]:
    """Everything up, but for the workers; and down again.

    The events and what the scenario leaves to chance have random numbers of their own, both from the seed: they are
    drawn in different threads, and must not depend on which is faster.
    """
    with ExitStack() as stack_of:
        broker_port = free_port()
        broker_proxy = stack_of.enter_context(in_thread(FaultProxy(broker_port)))
        advertised = broker_proxy.port if scenario.broker_proxied else 0
        cluster = Cluster(directory, shards=scenario.shards) if scenario.shards > 1 else None
        stack = Stack(directory, broker=TansuBroker(directory, broker_port, advertised), cluster=cluster)
        if scenario.before_engine is not None:
            stack_of.enter_context(scenario.before_engine(directory))
        stack_of.enter_context(stack)
        engine_proxy = stack_of.enter_context(in_thread(FaultProxy(stack.engine.port)))
        stored = cluster.local_table if cluster else table.TABLE
        for engine in cluster.engines if cluster else (stack.engine,):
            with engine.client(stack.database) as client:
                table.constrain(client, stored)
                # No merge removes what the report counts; and FINAL has to do all the work.
                client.execute(f"ALTER TABLE {stored} MODIFY SETTING {_NO_MERGES}, {_MANY_PARTS}")
        environment = {
            **stack.environment(),
            **SHORT_TIMES,
            **scenario.environment,
            "KAFKA_GROUP_ID": GROUP,
            "CLICKHOUSE_PORT": str(engine_proxy.port),
        }
        workers = Workers(directory, environment)
        stack_of.callback(workers.kill_all)
        ledger = stack_of.enter_context(Expectations(directory))
        load = Load(stack, ledger, generate_messages(Random(f"events {seed}"), scenario.mix), events)
        random = Random(f"{scenario.name} {seed}")
        yield Environment(
            stack, cluster, engine_proxy, broker_proxy, ledger, load, workers, random, events, directory, outage_seconds
        )
