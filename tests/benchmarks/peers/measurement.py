"""One program consumes one topic: what the process used, as Linux counts it, and what rows it wrote."""

import re
import time

from clickhouse_driver import Client

from deploy.local import resources
from deploy.local.process import Process, ProcessFailedError
from tests.benchmarks.environment import BenchmarkEnvironment, Figures, Topic
from tests.benchmarks.peers.rows import AS_EXPECTED, Rows, describe_rows, read_rows
from tests.benchmarks.worker import consume_backlog

FIGURES = ("events_per_second", "cpu_us_per_event", "events_per_cpu_second", "peak_memory_mb")
"""What is measured of each program; all empty if it failed."""
_READY = re.compile(r"^ready (\d+)$", re.MULTILINE)
_POLL_SECONDS = 0.1
_STALLED_SECONDS = 15.0


def measure_worker(env: BenchmarkEnvironment, topic: Topic) -> tuple[Figures, Rows]:
    """The figures of a worker, and the rows that the events of `topic` become."""
    table = env.create_table()
    figures = consume_backlog(env, topic, table)
    with env.client() as client:
        rows = read_rows(client, table)
    return {name: figures[name] for name in FIGURES} | {"rows": AS_EXPECTED}, rows


def measure_peer(env: BenchmarkEnvironment, command: tuple[str, ...], topic: Topic, expected: Rows) -> Figures:
    """The figures of a peer; `rows` says how its rows differ from those that are expected, or why it failed.

    Time and CPU count from the moment that it has partitions, as those of the worker do.
    """
    table, name = env.create_table(), env.new_name()
    engine, servers = env.stack.engine, env.stack.broker.bootstrap_servers
    where = (servers, topic.name, name, engine.host, str(engine.port), env.stack.database, table)
    process = Process(name, [*command, *where], env.directory / f"{name}.log")
    try:
        pid = int(process.start(_READY.search)[1])
        began, cpu_before = time.time(), resources.cpu_seconds(pid)
        with env.client() as client:
            _wait_for_rows(client, table, expected.stored, process)
            cpu, peak = resources.cpu_seconds(pid) - cpu_before, resources.peak_memory_bytes(pid)
            process.stop()
            rows = read_rows(client, table)
            if not rows.stored:
                raise ProcessFailedError("it has written no row")
            ((ended,),) = client.execute(f"SELECT toUnixTimestamp64Milli(max(ingested_at)) FROM {table}")  # noqa: S608
    except (ProcessFailedError, FileNotFoundError) as error:  # the latter: Linux knows the process no more
        said = process.tail() if isinstance(error, FileNotFoundError) else str(error)
        return {**dict.fromkeys(FIGURES, ""), "rows": f"failed: {said.strip().splitlines()[-1]}"}
    finally:
        process.kill()
    return {
        "events_per_second": round(topic.events / (ended / 1000 - began)),
        "cpu_us_per_event": round(cpu / topic.events * 1e6, 2),
        "events_per_cpu_second": round(topic.events / max(cpu, resources.CPU_RESOLUTION)),
        "peak_memory_mb": round(peak / 1e6, 1),
        "rows": describe_rows(rows, expected),
    }


def _wait_for_rows(client: Client, table: str, expected: int, process: Process) -> None:
    """Wait until so many rows are stored, or no more come.

    Raises:
        ProcessFailedError: the process has ended.
    """
    stored, moved = 0, time.monotonic()
    while stored < expected and time.monotonic() - moved < _STALLED_SECONDS:
        time.sleep(_POLL_SECONDS)
        if not process.running:
            raise ProcessFailedError(process.tail())
        before = stored
        ((stored,),) = client.execute(f"SELECT count() FROM {table}")  # noqa: S608
        if stored > before:
            moved = time.monotonic()
