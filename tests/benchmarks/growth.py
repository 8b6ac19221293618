"""Memory and rate by size of the backlog, and the time until a worker's first commit."""

import asyncio
import time
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.worker_process import WorkerProcess
from tests.benchmarks.environment import BenchmarkEnvironment, Figures
from tests.benchmarks.events import Shape
from tests.benchmarks.worker import consume_backlog, wait_until_ready


def measure_growth(env: BenchmarkEnvironment, counts: Sequence[int]) -> list[Figures]:
    """One line for each backlog, with the ratio of its memory to that of the second.

    *Usual* is the median of the second half of a run. The peak is a maximum, which grows with the length of a run.
    """
    lines = [{"waiting": count, **consume_backlog(env, env.topic(Shape(), count))} for count in counts]
    base = lines[min(1, len(lines) - 1)]
    return [
        line
        | {
            f"{kind}_ratio": round(float(line[f"{kind}_memory_mb"]) / float(base[f"{kind}_memory_mb"]), 3)
            for kind in ("usual", "peak")
        }
        for line in lines
    ]


def measure_start(env: BenchmarkEnvironment, count: int = 10_000) -> Figures:
    """Seconds from the start of the process until it is a member of its group, and until its first commit."""
    topic = env.topic(Shape(), count)
    environment = env.worker_environment(topic.name, env.create_table())
    began = time.perf_counter()
    with WorkerProcess(env.directory, environment, env.new_name()) as worker:
        runs = time.perf_counter() - began
        wait_until_ready(worker)
        ready = time.perf_counter() - began
        asyncio.run(_until_committed(environment, topic.partitions))
        committed = time.perf_counter() - began
    return {
        "process_seconds": round(runs, 2),
        "member_seconds": round(ready, 2),
        "first_commit_seconds": round(committed, 2),
    }


async def _until_committed(environment: dict[str, str], partitions: int) -> None:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=environment["KAFKA_BOOTSTRAP_SERVERS"],
        group_id=environment["KAFKA_GROUP_ID"],
        enable_auto_commit=False,
    )
    topic_partitions = [TopicPartition(environment["KAFKA_TOPIC"], number) for number in range(partitions)]
    async with consumer:
        while not any([await consumer.committed(assigned) for assigned in topic_partitions]):  # noqa: ASYNC110 - Kafka has no event for it
            await asyncio.sleep(0.02)
