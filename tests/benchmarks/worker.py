"""One worker process and a backlog: CPU, memory and rate."""

import time
from statistics import median

import click
from clickhouse_driver import Client

from deploy.local.resources import CPU_RESOLUTION
from deploy.local.worker_process import WorkerProcess
from tests.benchmarks.environment import BenchmarkEnvironment, Figures, Topic

_POLL_SECONDS = 0.1
_STALLED_SECONDS = 90.0


def consume_backlog(env: BenchmarkEnvironment, topic: Topic, table: str = "", **settings: str) -> Figures:
    """Start a worker on `topic`, which writes to `table` or a new one, and wait until every event is settled.

    Time and CPU count from the moment that the worker is a member of its group, because the broker decides when that
    is, until the last row is in the table. The CPU is user and system time of the worker process alone.
    """
    table = table or env.create_table(constrained=topic.shape.poisoned)
    settings = {"EVENT_MAX_AGE_DAYS": str(topic.shape.max_age_days), **settings}
    environment = env.worker_environment(topic.name, table, **settings)
    with WorkerProcess(env.directory, environment, env.new_name()) as worker:
        wait_until_ready(worker)
        began, cpu_before = time.time(), worker.cpu_seconds()
        memory = _wait_until_consumed(env, worker, topic, table)
        cpu, peak, telemetry = worker.cpu_seconds() - cpu_before, worker.peak_memory_bytes(), worker.telemetry()
    dead = sum(telemetry.get("metrics_worker_dead_letters_total", {}).values())
    with env.client() as client:
        ((rows, ended, agreed),) = client.execute(
            f"SELECT count(), toUnixTimestamp64Milli(max(ingested_at)), uniqExact(execution_id) FROM {table}"  # noqa: S608
        )
        parts = _count_parts(client, table)
    if rows + dead != topic.results or (not topic.shape.has_dead_letters and agreed != topic.events):
        raise click.ClickException(f"{rows} rows and {dead} dead letters instead of {topic.results}")
    seconds = ended / 1000 - began
    return {
        "events": topic.events,
        "metrics_per_event": topic.shape.metrics,
        "seconds": round(seconds, 3),
        "events_per_second": round(topic.events / seconds),
        "rows_per_second": round(rows / seconds),
        "cpu_us_per_event": round(cpu / topic.events * 1e6, 2),
        "cpu_us_per_row": round(cpu / rows * 1e6, 3),
        "events_per_cpu_second": round(topic.events / max(cpu, CPU_RESOLUTION)),
        "usual_memory_mb": round(median(memory[len(memory) // 2 :]) / 1e6, 1),
        "peak_memory_mb": round(peak / 1e6, 1),
        "inserts": int(sum(telemetry["metrics_worker_inserts_total"].values())),
        "parts": parts,
        "dead_letters": int(dead),
    }


def wait_until_ready(worker: WorkerProcess) -> None:
    """Wait until the worker is a member of its group; every 20 ms, because the clock starts then."""
    while worker.readiness():
        time.sleep(_POLL_SECONDS / 5)


def _wait_until_consumed(env: BenchmarkEnvironment, worker: WorkerProcess, topic: Topic, table: str) -> list[int]:
    """Wait until the worker has consumed everything; returns samples of its memory, in bytes.

    Progress is read from the engine, because a scrape of the worker's telemetry costs CPU of the worker.
    """
    rows, dead, moved = -1, 0, time.monotonic()
    memory: list[int] = []
    click.echo(f"a worker consumes {topic.events:,} events", err=True)
    with env.client() as client:
        while rows + dead < topic.results:
            time.sleep(_POLL_SECONDS)
            memory.append(worker.memory_bytes())
            before = rows, dead
            ((rows,),) = client.execute(f"SELECT count() FROM {table}")  # noqa: S608
            if topic.shape.has_dead_letters and rows == before[0]:  # the rest may be dead letters
                dead = int(sum(worker.telemetry().get("metrics_worker_dead_letters_total", {}).values()))
            if (rows, dead) != before:
                moved = time.monotonic()
            if time.monotonic() - moved > _STALLED_SECONDS:
                raise click.ClickException(f"no progress for {_STALLED_SECONDS:g} s\n{worker.process.tail()}")
    return memory


def _count_parts(client: Client, table: str) -> int:
    """The number of parts that inserts made: each has its own block number in its partition."""
    ((parts,),) = client.execute(
        "SELECT sum(last) FROM (SELECT max(max_block_number) AS last FROM system.parts "
        "WHERE table = %(table)s GROUP BY partition)",
        {"table": table},
    )
    return int(parts)
