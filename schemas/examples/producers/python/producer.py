"""Send one event of an execution that has just finished, and print its execution_id."""

import asyncio
import json
import os
from datetime import UTC, datetime
from uuid import uuid4

from aiokafka import AIOKafkaProducer


async def main() -> None:
    """Send the event, and wait until every in-sync replica has it."""
    execution_id = str(uuid4())
    event = {
        "execution_id": execution_id,
        "agent_name": "example-python",
        "completed_at": datetime.now(UTC).isoformat(),
        "labels": {"gen_ai.request.model": "large-2", "service.version": "2026.11.0"},
        "metrics": {"execution_time_ms": 1840, "cost_usd": 0.0132, "result_success": True},
    }
    value = json.dumps(event, allow_nan=False).encode()  # NaN is not valid JSON: omit such metrics
    # acks="all": by default aiokafka waits only for the leader.
    producer = AIOKafkaProducer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"], acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(os.environ["KAFKA_TOPIC"], value, key=execution_id.encode())
    finally:
        await producer.stop()
    print(execution_id)  # noqa: T201 - the output of the example


asyncio.run(main())
