"""One worker, a process of its own, taking a backlog: what it costs and how fast it goes."""

import time
from statistics import median

import click
from clickhouse_driver import Client

from deploy.local.worker_process import WorkerProcess
from tests.benchmarks.environment import BenchmarkEnvironment, Figures, Topic

_POLL_SECONDS = 0.1
_STALLED_SECONDS = 90.0


def take_backlog(env: BenchmarkEnvironment, topic: Topic, **settings: str) -> Figures:
    """Start a worker on `topic` and wait until every event has come to its end.

    Clock and CPU run from the moment that the worker is a member of its group, because the broker decides when that
    is, to the last row in the table; the CPU is user and system time of the worker's process alone.
    """
    table = env.table(ruled=topic.shape.poisoned)
    environment = env.environment(topic.name, table, **settings)
    with WorkerProcess(env.directory, environment, env.name()) as worker:
        wait_until_ready(worker)
        began, cpu_before = time.time(), worker.cpu_seconds()
        memory = _wait_until_taken(env, worker, topic, table)
        cpu, peak, telemetry = worker.cpu_seconds() - cpu_before, worker.peak_memory_bytes(), worker.telemetry()
    dead = sum(telemetry.get("metrics_worker_dead_letters_total", {}).values())
    with env.client() as client:
        ((rows, ended, agreed),) = client.execute(
            f"SELECT count(), toUnixTimestamp64Milli(max(ingested_at)), uniqExact(execution_id) FROM {table}"  # noqa: S608
        )
        parts = _parts_made(client, table)
    if rows + dead != topic.rows or (not topic.shape.poisoned and agreed != topic.events):
        raise click.ClickException(f"{rows} rows and {dead} dead letters of {topic.rows} metrics")
    seconds = ended / 1000 - began
    return {
        "events": topic.events,
        "metrics_per_event": topic.shape.metrics,
        "seconds": round(seconds, 3),
        "events_per_second": round(topic.events / seconds),
        "rows_per_second": round(topic.rows / seconds),
        "cpu_us_per_event": round(cpu / topic.events * 1e6, 2),
        "cpu_us_per_row": round(cpu / topic.rows * 1e6, 3),
        "events_per_cpu_second": round(topic.events / cpu),
        "usual_memory_mb": round(median(memory[len(memory) // 2 :]) / 1e6, 1),
        "peak_memory_mb": round(peak / 1e6, 1),
        "inserts": int(sum(telemetry["metrics_worker_inserts_total"].values())),
        "parts": parts,
        "dead_letters": int(dead),
    }


def wait_until_ready(worker: WorkerProcess) -> None:
    """Until it is a member of its group."""
    while worker.readiness():
        time.sleep(_POLL_SECONDS / 5)


def _wait_until_taken(env: BenchmarkEnvironment, worker: WorkerProcess, topic: Topic, table: str) -> list[int]:
    """The worker's memory again and again, in bytes, until it has taken everything.

    How far it is, the engine is asked, not the worker: a scrape of its telemetry is CPU of the worker.
    """
    rows, dead, moved = -1, 0, time.monotonic()
    memory: list[int] = []
    with env.client() as client, env.progress() as progress:
        bar = progress.add_task("a worker takes it", total=topic.rows)
        while rows + dead < topic.rows:
            time.sleep(_POLL_SECONDS)
            memory.append(worker.memory_bytes())
            before = rows, dead
            ((rows,),) = client.execute(f"SELECT count() FROM {table}")  # noqa: S608
            if topic.shape.poisoned and rows == before[0]:  # it may be only letters that are still to come
                dead = int(sum(worker.telemetry().get("metrics_worker_dead_letters_total", {}).values()))
            if (rows, dead) != before:
                moved = time.monotonic()
                progress.update(bar, completed=rows + dead)
            if time.monotonic() - moved > _STALLED_SECONDS:
                raise click.ClickException(f"no progress for {_STALLED_SECONDS:g} s\n{worker.process.tail()}")
    return memory


def _parts_made(client: Client, table: str) -> int:
    """Block numbers are given one for each part that an insert makes, in each partition."""
    ((parts,),) = client.execute(
        "SELECT sum(last) FROM (SELECT max(max_block_number) AS last FROM system.parts "
        "WHERE table = %(table)s GROUP BY partition)",
        {"table": table},
    )
    return int(parts)
