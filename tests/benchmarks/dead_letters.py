"""How fast dead letters are counted and replayed, compared with the rate of the worker on events of ten metrics.

README.md has figures. A dead letter of a single metric is a record with sixteen headers, while the worker makes ten
rows of one record. Of its CPU the client and the bounds of memory take 5 µs in each of two passes: the first one is for
the settlements, which lie behind the dead letters that they settle. In the second pass 4 are for the headers and 5 for
value and row; network, checksums and the insert are the rest. Where the first dead letters are settled, the second pass
begins after them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice

import click

from deploy.local.environment import environment_without_settings
from tests.benchmarks.environment import BenchmarkEnvironment, Figures
from tests.benchmarks.events import EventGenerator
from tests.benchmarks.metric_maps import PLAIN_NAMES
from tests.benchmarks.named_shapes import PLAIN, UNUSUAL
from tests.benchmarks.worker import consume_backlog
from tests.support.events import Record
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Failure
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter
from worker.events.decode import decode

ONE_METRIC = UNUSUAL["1 metric"]
HEAD = WorkerInfo("0.1.0", "default.execution_metrics")
OUTAGE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "Code: 210. Connection refused (clickhouse:9000)", 210)
INVALID = Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "schema_version must be 1 or 1.x; got 2")


def measure_dead_letters(env: BenchmarkEnvironment, events: int) -> list[Figures]:
    """One line each for `dlq stats` and `dlq causes`, and for `replay` of dead letters of metrics and of events.

    Of the metrics a tenth is replayed first, and then the rest.
    """
    rows = events * len(PLAIN_NAMES)
    of_ten, of_one = (consume_backlog(env, env.topic(*topic)) for topic in ((PLAIN, events), (ONE_METRIC, rows)))
    # A topic for each kind: a replay reads all dead letters of its topic.
    of_metrics, of_events = (_create_topic(env, events, whole=whole) for whole in (False, True))
    replay, some = ["replay", "--yes", "--any-table"], rows // 10
    others = rows - some
    empty = env.create_empty_topic(partitions=1)
    start = {"command": "replay, nothing", **_measure_command(env, empty, replay, 0, 0)}
    lines = [
        {"command": "dlq stats", **_measure_command(env, of_metrics, ["dlq", "stats"], rows, 0)},
        {"command": "dlq causes", **_measure_command(env, of_metrics, ["dlq", "causes"], rows, 0)},
        {
            "command": "replay, a tenth",
            **_measure_command(env, of_metrics, [*replay, "--limit", str(some)], some, some, exit_code=1),
        },
        {"command": "replay, metrics", **_measure_command(env, of_metrics, replay, others, others)},
        {"command": "replay, events", **_measure_command(env, of_events, replay, events, rows)},
    ]
    return [line | _compare(line, start, of_ten, of_one) for line in lines]


def _compare(line: Figures, start: Figures, of_ten: Figures, of_one: Figures) -> Figures:
    """Rates and CPU relative to the worker, which consumes events of ten metrics, and as many rows of events of one.

    Only the latter does what the replay of a dead letter of a single metric does: one row of one record. The start of
    the process is left out of these ratios, as it is of the worker's figures.
    """
    seconds, cpu = (float(line[name]) - float(start[name]) for name in ("seconds", "cpu_seconds"))
    names = ("rate_to_one_metric", "cpu_to_one_metric", "rows_to_ten_metrics", "letters_to_ten_metrics")
    if min(seconds, cpu) <= 0:
        return dict.fromkeys(names, "too few events")
    letters = int(line["letters"])
    rows = letters * int(line["rows_per_letter"])
    ratios = (
        rows / seconds / float(of_one["rows_per_second"]),
        rows / cpu * float(of_one["cpu_us_per_row"]) / 1e6,
        rows / seconds / float(of_ten["rows_per_second"]),
        letters / seconds / float(of_ten["events_per_second"]),
    )
    return {name: round(ratio, 2) for name, ratio in zip(names, ratios, strict=True)}


def generate_dead_letters(*, whole: bool, head: WorkerInfo = HEAD) -> Iterator[EncodedDeadLetter]:
    """Dead letters of whole events, or of each of their metrics, without end."""
    for number, generated in enumerate(EventGenerator(PLAIN, seed=20260902).generate(sys.maxsize)):
        record = Record(generated.value, offset=number, timestamp=generated.timestamp)
        if whole:
            yield encode_dead_letter(FailedEvent(record, INVALID), head, record.timestamp)
        else:
            event = decode(record)
            assert event is not None
            for metric in PLAIN_NAMES:
                failed = FailedMetric(event, metric, event.metrics[metric], OUTAGE, 8)  # type: ignore[arg-type]
                yield encode_dead_letter(failed, head, record.timestamp)


def _create_topic(env: BenchmarkEnvironment, events: int, *, whole: bool) -> str:
    """Create a topic with the dead letters of `events` events; returns its name."""
    topic = env.create_empty_topic(partitions=1)
    letters = events if whole else events * len(PLAIN_NAMES)
    env.fill(topic, islice(generate_dead_letters(whole=whole), letters))
    return topic


def _measure_command(
    env: BenchmarkEnvironment, topic: str, arguments: list[str], letters: int, rows: int, exit_code: int = 0
) -> Figures:
    """Run one command of the worker as a process, which must write `rows` rows. Includes imports and connections."""
    table = env.create_table()
    started = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "worker", *arguments],
        env=environment_without_settings() | env.worker_environment(env.stack.topic, table, KAFKA_DLQ_TOPIC=topic),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    with env.client() as client:
        ((written,),) = client.execute(f"SELECT count() FROM {table}_deduplicated")  # noqa: S608
    if process.returncode != exit_code or written != rows:
        raise click.ClickException(f"{arguments} ended with {process.returncode}, {written} rows of {rows}: {out!r}")
    return {
        "letters": letters,
        "rows_per_letter": rows // max(letters, 1),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
        "letters_per_second": round(letters / seconds),
        "rows_per_second": round(rows / seconds),
        "cpu_us_per_letter": round((usage.ru_utime + usage.ru_stime) / max(letters, 1) * 1e6, 2),
        "peak_memory_mb": round(usage.ru_maxrss / 1000, 1),
    }
