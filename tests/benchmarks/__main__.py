"""`make bench`: how fast the worker takes a backlog, and at what cost. It prints, it never judges.

Broker, ClickHouse engine and worker share this machine, so events per second depends on all three; CPU per event and
peak memory are the worker's alone.
"""

import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from uuid import UUID

import click
from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess

METRICS = (
    "execution_time_ms", "memory_usage_mb", "cpu_percent", "result_success", "input_tokens", "output_tokens",
    "cost_usd", "tool_calls", "retries", "queue_time_ms",
)  # fmt: skip
_POLL_SECONDS = 0.05
_STALLED_SECONDS = 60.0


@click.command()
@click.option("--events", default=200_000, show_default=True, help="Events waiting when the worker starts.")
@click.option("--partitions", default=4, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(events: int, partitions: int, as_json: bool) -> None:
    """Measure the worker on a backlog of events with ten numeric metrics each."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="execution-metrics-bench-") as folder:
        directory = Path(folder)
        with Stack(directory, partitions=partitions) as stack:
            size = asyncio.run(_fill(stack, events, console))
            figures = _measure(stack, directory, events, console)
    figures = {"events": events, "event_bytes": size, "partitions": partitions, **figures, **_machine()}
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name:>28}  {value:,}" if isinstance(value, int | float) else f"{name:>28}  {value}")


async def _fill(stack: Stack, events: int, console: Console) -> int:
    producer = AIOKafkaProducer(bootstrap_servers=stack.broker.bootstrap_servers, max_batch_size=262_144, linger_ms=5)
    random = Random(20260901)
    await producer.start()
    size = 0
    try:
        with _progress(console) as progress:
            bar = progress.add_task("filling the topic", total=events)
            for number in range(events):
                value = _event(random, number)
                size += len(value)
                await producer.send(stack.topic, value)
                if number % 1_000 == 0:
                    progress.update(bar, completed=number)
            progress.update(bar, completed=events)
        await producer.flush()
    finally:
        await producer.stop()
    return size // events


def _event(random: Random, number: int) -> bytes:
    started = 1_788_220_800 + number // 1_000
    instant = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(started))
    return json.dumps(
        {
            "execution_id": str(UUID(int=random.getrandbits(128))),
            "agent_name": f"agent-{number % 20}",
            "user_id": f"user-{number % 5_000}",
            "completed_at": f"{instant}.{number % 1_000:03}Z",
            "metrics": {name: round(random.uniform(0, 10_000), 3) for name in METRICS},
        }
    ).encode()


def _measure(stack: Stack, directory: Path, events: int, console: Console) -> dict[str, int | float | str]:
    """Clock and CPU run from the moment that the worker is a member of its group; the broker decides when that is."""
    rows = events * len(METRICS)
    with WorkerProcess(directory, stack.environment()) as worker, _progress(console) as progress:
        bar = progress.add_task("worker", total=events)
        while worker.readiness():
            time.sleep(_POLL_SECONDS)
        started, cpu_before = time.perf_counter(), worker.cpu_seconds()
        for done in _rows_written(worker, rows):
            progress.update(bar, completed=done // len(METRICS))
        seconds, cpu = time.perf_counter() - started, worker.cpu_seconds() - cpu_before
        telemetry, peak = worker.telemetry(), worker.peak_memory_bytes()
    return {
        "metrics_per_event": len(METRICS),
        "seconds": round(seconds, 2),
        "events_per_second": round(events / seconds),
        "rows_per_second": round(rows / seconds),
        "worker_cpu_us_per_event": round(cpu / events * 1e6, 2),
        "worker_peak_memory_mb": round(peak / 1e6, 1),
        "inserts": int(sum(telemetry["metrics_worker_inserts_total"].values())),
    }


def _rows_written(worker: WorkerProcess, rows: int) -> Iterator[int]:
    """How many rows are acknowledged, again and again until all are."""
    done, moved = 0, time.perf_counter()
    while done < rows:
        time.sleep(_POLL_SECONDS)
        before, done = done, int(worker.telemetry()["metrics_worker_rows_written_total"][()])
        moved = time.perf_counter() if done > before else moved
        if time.perf_counter() - moved > _STALLED_SECONDS:
            raise click.ClickException(f"no progress for {_STALLED_SECONDS:g} s\n{worker.process.tail()}")
        yield done


def _machine() -> dict[str, int | float | str]:
    return {"python": platform.python_version(), "cpus": len(os.sched_getaffinity(0)), "platform": sys.platform}


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    )


if __name__ == "__main__":
    main()
