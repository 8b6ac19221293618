"""An open load: events at a fixed rate, whoever keeps up with them or not.

`python -m tests.benchmarks.load SERVERS TOPIC PARTITIONS RATE SECONDS`. Each event says in `completed_at` when it was
*planned*, to the millisecond, so that a producer that was held up makes the latency worse and not better. So does its
linger; without one every event would be a batch of its own at the broker, which then is what waits.
"""

import sys
import time
from datetime import UTC, datetime
from random import Random

from tests.benchmarks.environment import fast_producer, produce_patiently
from tests.benchmarks.events import Shape, event

_TICK_SECONDS = 0.001


def offer(servers: str, topic: str, partitions: int, rate: float, seconds: float) -> None:
    """Send `rate` events a second for so many seconds; returns when all are acknowledged."""
    producer = fast_producer(servers)
    shape, random = Shape(), Random(20260903)
    count, sent = int(rate * seconds), 0
    began = time.time() + 0.5
    while sent < count:
        due = min(int((time.time() - began) * rate) + 1, count)
        while sent < due:
            planned = datetime.fromtimestamp(began + sent / rate, UTC).isoformat(timespec="milliseconds")
            produce_patiently(producer, topic, event(shape, random, sent, planned), sent % partitions)
            sent += 1
        producer.poll(0)
        time.sleep(_TICK_SECONDS)
    if producer.flush(60):
        raise SystemExit("not everything was acknowledged")


if __name__ == "__main__":
    offer(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))
