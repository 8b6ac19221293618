"""`python -m tests.benchmarks.dead_letters`: how fast dead letters are counted and replayed.

The rate of the worker itself is measured in the same run, on events of ten metrics, so that the ratio does not depend
on other load. Broker, engine and command share the machine.

A replay handles more dead letters a second than the worker handles events. Its rows a second are 0.7 of the worker's
for dead letters of whole events, and 0.1 for those of single metrics, which cost about 50 µs of CPU each: a metric is a
row of an event there, and here a record with sixteen headers. Each of the two passes over the topic takes 15 µs of it
(6 in the client, 9 for parsing), value and row 8, the insert the rest. The first pass is needed because settlements at
the end of the topic decide about dead letters before them.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
from aiokafka import AIOKafkaProducer
from rich.console import Console

from deploy.local.broker import create_topics
from deploy.local.environment import environment_without_settings
from deploy.local.stack import Stack
from tests.benchmarks.environment import BenchmarkEnvironment, describe_machine
from tests.benchmarks.events import METRICS, Shape, generate_events
from tests.benchmarks.worker import consume_backlog
from tests.support.events import Record
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Failure
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter
from worker.events.decode import decode

HEAD = WorkerInfo("0.1.0", "default.execution_metrics")
OUTAGE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "Code: 210. Connection refused (clickhouse:9000)", 210)
INVALID = Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "schema_version must be 1 or 1.x; got 2")


@click.command()
@click.option("--letters", default=1_000_000, show_default=True, help="Dead letters of single metrics.")
@click.option("--events", default=100_000, show_default=True, help="Events for the worker; as many letters of events.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(letters: int, events: int, as_json: bool) -> None:
    """Measure `dlq stats` and `replay`, and the worker for comparison."""
    console = Console(stderr=True)
    figures: dict[str, int | float | str] = {"letters": letters, "events": events}
    with tempfile.TemporaryDirectory(prefix="execution-metrics-bench-") as folder:
        directory = Path(folder)
        with Stack(directory) as stack:
            env = BenchmarkEnvironment(stack, directory, console)
            worker = consume_backlog(env, env.topic(Shape(), events))
            figures |= {f"worker_{name}": worker[name] for name in ("events_per_second", "rows_per_second")}
            # A topic for each: Tansu does not keep the metadata of offsets, so that the second replay would read the
            # dead letters of the first too.
            asyncio.run(_send_dead_letters(stack, "of-metrics", letters, whole=False))
            figures |= _measure_command(stack, "of-metrics", "stats", ["dlq", "stats"], letters, letters)
            figures |= _measure_command(stack, "of-metrics", "replay", ["replay", "--yes"], letters, letters)
            asyncio.run(_send_dead_letters(stack, "of-events", events, whole=True))
            rows = events * len(METRICS)
            figures |= _measure_command(stack, "of-events", "replay_events", ["replay", "--yes"], events, rows)
            with stack.engine.client(stack.database) as client:
                ((rows,),) = client.execute("SELECT count() FROM execution_metrics_deduplicated")
    rate = float(figures["worker_rows_per_second"])
    figures["rows_in_the_view"] = rows
    figures["replay_events_to_worker_ratio_rows"] = round(float(figures["replay_events_rows_per_second"]) / rate, 2)
    figures["replay_to_worker_ratio_rows"] = round(float(figures["replay_rows_per_second"]) / rate, 2)
    records = float(figures["worker_events_per_second"])
    figures["replay_to_worker_ratio_records"] = round(float(figures["replay_letters_per_second"]) / records, 2)
    figures |= describe_machine()
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name:>36}  {value:,}" if isinstance(value, int | float) else f"{name:>36}  {value}")


def _generate_dead_letters(*, whole: bool) -> Iterator[EncodedDeadLetter]:
    for number, value in enumerate(generate_events(Shape(), sys.maxsize, seed=20260902)):
        record = Record(value, offset=number, timestamp=1_788_220_800_000 + number)
        if whole:
            yield encode_dead_letter(FailedEvent(record, INVALID), HEAD, record.timestamp)
        else:
            event = decode(record)
            assert event is not None
            for metric in METRICS:
                failed = FailedMetric(event, metric, event.metrics[metric], OUTAGE, 8)  # type: ignore[arg-type]
                yield encode_dead_letter(failed, HEAD, record.timestamp)


async def _send_dead_letters(stack: Stack, topic: str, letters: int, *, whole: bool) -> None:
    await create_topics(stack.broker.bootstrap_servers, {topic: 1})
    producer = AIOKafkaProducer(bootstrap_servers=stack.broker.bootstrap_servers, max_batch_size=262_144, linger_ms=5)
    await producer.start()
    try:
        for _, letter in zip(range(letters), _generate_dead_letters(whole=whole), strict=False):
            await producer.send(topic, letter.value, timestamp_ms=letter.timestamp, headers=list(letter.headers))
        await producer.flush()
    finally:
        await producer.stop()


def _measure_command(
    stack: Stack, topic: str, name: str, arguments: list[str], letters: int, rows: int
) -> dict[str, int | float | str]:
    """Run one command of the worker as a process; the time includes imports and connections."""
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "worker", *arguments],
        env=environment_without_settings() | stack.environment() | {"KAFKA_DLQ_TOPIC": topic},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise click.ClickException(f"{arguments} ended with {process.returncode}: {out!r}")
    return {
        f"{name}_seconds": round(seconds, 1),
        f"{name}_letters_per_second": round(letters / seconds),
        f"{name}_rows_per_second": round(rows / seconds),
        f"{name}_cpu_us_per_letter": round((usage.ru_utime + usage.ru_stime) / letters * 1e6, 2),
        f"{name}_peak_memory_mb": round(usage.ru_maxrss / 1000, 1),
    }


if __name__ == "__main__":
    main()
