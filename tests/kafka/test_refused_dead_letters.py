"""A dead-letter topic that refuses: what the broker takes arrives, the rest is a pointer, and the worker goes on."""

import json
import subprocess
from collections.abc import Callable, Sequence

import pytest

from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload, count_dead_letters
from tests.support.local import wait_until
from tests.support.topic import headers_of, limit_batches, read, send, size

RunCommand = Callable[..., subprocess.CompletedProcess[str]]

LIMIT, LARGE = 20_000, 30_000
EVENTS = [b"%d %s" % (number, b"x" * (LARGE if number % 4 == 1 else 1_000)) for number in range(20)]
"""Twenty records that are no events; five of them are larger than the dead-letter topic allows."""


async def assert_each_is_a_dead_letter(workload: Workload, values: Sequence[bytes]) -> None:
    """Each value is a dead letter once, those beyond the limit are pointers, and all are committed."""
    letters = await read(workload.servers, workload.dlq_topic, len(values))
    full = [letter.value for letter in letters if headers_of(letter)["dlq.error.class"] == "invalid_event"]
    pointers = [letter for letter in letters if headers_of(letter)["dlq.error.class"] == "too_large"]
    assert sorted(full) == sorted(value for value in values if len(value) < LIMIT)
    assert len({headers_of(letter)["dlq.source.offset"] for letter in pointers}) == len(values) - len(full)
    assert await size(workload.servers, workload.dlq_topic) == len(values)
    assert await workload.count_committed() == len(values)


@pytest.mark.parametrize("limited_at", ["start", "later"])
async def test_dead_letters_beyond_the_limit_are_pointers(
    workload: Workload, start_worker: StartWorker, run_command: RunCommand, limited_at: str
) -> None:
    """A limit that is lowered while the worker runs is known from the broker's refusal."""
    if limited_at == "start":
        await limit_batches(workload.servers, workload.dlq_topic, LIMIT)
    worker = start_worker()
    await send(workload.servers, workload.topic, EVENTS[:1], partition=0)
    wait_until(lambda: count_dead_letters(worker) == 1, "the first dead letter")
    await limit_batches(workload.servers, workload.dlq_topic, LIMIT)
    await send(workload.servers, workload.topic, EVENTS[1:], partition=0)
    wait_until(lambda: count_dead_letters(worker) == 20, "all dead letters")
    assert worker.readiness() == {}
    worker.stop()
    await assert_each_is_a_dead_letter(workload, EVENTS)
    worker = start_worker()
    await send(workload.servers, workload.topic, EVENTS, partition=0)
    wait_until(lambda: count_dead_letters(worker) == 20, "all dead letters after a restart")
    worker.stop()
    await assert_each_is_a_dead_letter(workload, [*EVENTS, *EVENTS])
    replayed = run_command("replay", "--yes", "--refused", "--json")
    assert replayed.returncode == 1, replayed.stderr
    assert json.loads(replayed.stdout)["failed_as"] == {"invalid_event": 40}, replayed.stdout
    records = await read(workload.servers, workload.dlq_topic, await size(workload.servers, workload.dlq_topic))
    assert sum(headers_of(record)["dlq.kind"] != "settlement" for record in records) == 80


async def test_worker_holds_while_not_even_a_pointer_fits_and_resumes_when_it_does(
    workload: Workload, start_worker: StartWorker
) -> None:
    await limit_batches(workload.servers, workload.dlq_topic, 100)
    worker = start_worker()
    await send(workload.servers, workload.topic, EVENTS, partition=0)
    wait_until(lambda: "MessageSizeTooLarge" in worker.readiness().get("dead_letters", ""), "the worker holds")
    assert await workload.count_committed() == 0
    await limit_batches(workload.servers, workload.dlq_topic, LIMIT)
    wait_until(lambda: count_dead_letters(worker) == 20 and not worker.readiness(), "the worker has resumed")
    worker.stop()
    letters = await read(workload.servers, workload.dlq_topic, 20)
    assert {headers_of(letter)["dlq.error.class"] for letter in letters} == {"too_large"}
    assert await workload.count_committed() == 20


async def test_produce_sends_what_fits_and_names_the_lines_that_do_not(
    workload: Workload, run_command: RunCommand
) -> None:
    await limit_batches(workload.servers, workload.topic, LIMIT)
    done = run_command("produce", "-", stdin="\n".join(value.decode() for value in EVENTS))
    assert done.returncode == 1
    assert "line 2, 6, 10, 14, 18" in done.stderr
    fitting = [value for value in EVENTS if len(value) < LIMIT]
    assert sorted(record.value for record in await read(workload.servers, workload.topic, 15)) == sorted(fitting)
    assert await size(workload.servers, workload.topic) == 15
