"""An open load: events at a fixed rate, whether or not the worker keeps up.

`python -m tests.benchmarks.load SERVERS TOPIC PARTITIONS RATE SECONDS`. Each event says in `completed_at` when it was
*planned*, to the millisecond, so that a delay of the producer increases the measured latency. So does its linger,
without which every event would be a batch of its own, and the broker the bottleneck.

All events are generated before the first one is sent: at 10,000 a second that would take a third of a core, which the
broker, the worker and ClickHouse need.
"""

import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

from tests.benchmarks.environment import create_producer, produce
from tests.benchmarks.events import EventGenerator
from tests.benchmarks.named_shapes import TELEMETRY

SHAPE = replace(TELEMETRY, nulls=0.0)
"""Without null, so that it is known beforehand how many rows there will be."""
_TICK_SECONDS = 0.001
_PLACEHOLDER = "2026-09-01T00:00:00.000+00:00"
"""In place of the planned time, which is not known when an event is generated; of the same length."""


def send_load(servers: str, topic: str, partitions: int, rate: float, seconds: float) -> None:
    """Send `rate` events a second for so many seconds; return when all are acknowledged."""
    producer = create_producer(servers)
    generator = EventGenerator(SHAPE, seed=20260903)
    count, sent = int(rate * seconds), 0
    events = [generator.build(number, _PLACEHOLDER) for number in range(count)]
    began = time.time() + 0.5
    while sent < count:
        due = min(int((time.time() - began) * rate) + 1, count)
        while sent < due:
            planned = datetime.fromtimestamp(began + sent / rate, UTC).isoformat(timespec="milliseconds")
            value = events[sent].value.replace(_PLACEHOLDER.encode(), planned.encode(), 1)
            produce(producer, topic, events[sent]._replace(value=value), sent % partitions)
            sent += 1
        producer.poll(0)
        time.sleep(_TICK_SECONDS)
    if producer.flush(60):
        raise SystemExit("not everything was acknowledged")


if __name__ == "__main__":
    send_load(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
