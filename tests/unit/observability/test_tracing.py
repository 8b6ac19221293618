"""Spans of a batch, their links to the producers' traces, and the trace of dead letters."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tests.support.events import event, record
from tests.support.fakes import MemoryStore
from tests.support.worker_harness import FAILURE_LOG, WorkerHarness, open_worker_harness
from worker.observability.tracing import NO_TRACING, OpenTelemetryTracing, create_tracing
from worker.pipeline import Pipeline

PRODUCER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class MemoryTraces:
    """Keeps spans in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = OpenTelemetryTracing(provider)

    def pipeline(self, worker: WorkerHarness) -> Pipeline:
        return Pipeline(
            worker.writer,
            worker.dead_letters,
            worker.hold,
            worker.telemetry,
            FAILURE_LOG,
            sleep=worker.clock.sleep,
            tracing=self.tracing,
        )

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def traced() -> Iterator[MemoryTraces]:
    traced = MemoryTraces()
    yield traced
    traced.tracing.close()


async def test_batch_links_to_its_producers_and_contains_writes_and_dead_letters(traced: MemoryTraces) -> None:
    async with open_worker_harness(MemoryStore(refuses=lambda row: row.metric == "refused")) as worker:
        headers = (("traceparent", PRODUCER.encode()), ("other", b"x"))
        records = [record(event(metrics={"good": 1, "refused": 2}), offset=at, headers=headers) for at in range(3)]
        await traced.pipeline(worker).process([*records, record(b"{", offset=3)])
    (batch,), (write,), (letters,) = map(traced.spans, ("batch", "write", "dead-letter"))
    (link,) = batch.links
    assert f"{link.context.trace_id:032x}-{link.context.span_id:016x}" == PRODUCER[3:52]
    assert batch.parent is None
    assert write.parent is not None
    assert letters.parent is not None
    assert batch.context is not None
    assert {write.parent.span_id, letters.parent.span_id} == {batch.context.span_id}
    assert (dict(write.attributes or {})["rows"], dict(letters.attributes or {})["letters"]) == (6, 4)


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"00-0-0-0", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
async def test_invalid_traceparent_is_no_link(traced: MemoryTraces, value: bytes) -> None:
    async with open_worker_harness() as worker:
        await traced.pipeline(worker).process(
            [record(event(), headers=(("traceparent", value), ("traceparent", None)))]
        )
    assert traced.spans("batch")[0].links == ()


async def test_number_of_links_is_bounded(traced: MemoryTraces) -> None:
    names = [f"00-{number:032x}-{number:016x}-01".encode() for number in range(1, 500)]
    async with open_worker_harness() as worker:
        records = [record(event(), offset=at, headers=(("traceparent", name),)) for at, name in enumerate(names)]
        await traced.pipeline(worker).process(records)
    assert len(traced.spans("batch")[0].links) == 128


async def test_spans_of_a_dropped_batch_end(traced: MemoryTraces) -> None:
    async with open_worker_harness() as worker:
        worker.dead_letters.fail_writes(*[None] * 1_000)
        waits = asyncio.Event()
        worker.clock.watch = waits.set
        batch = asyncio.create_task(traced.pipeline(worker).process([record(b"{")]))
        await waits.wait()
        batch.cancel()
        await asyncio.gather(batch, return_exceptions=True)
    assert [len(traced.spans(name)) for name in ("batch", "dead-letter")] == [1, 1]


def test_dead_letter_has_the_trace_of_its_record_or_else_of_its_failure(traced: MemoryTraces) -> None:
    own = [("traceparent", PRODUCER.encode()), ("dlq.kind", b"event")]
    with traced.tracing.span("dead-letter"):
        assert traced.tracing.with_trace_context(own) == own
        (name, value), *rest = traced.tracing.with_trace_context([("dlq.kind", b"event")])
    (span,) = traced.spans("dead-letter")
    assert span.context is not None
    assert (name, rest) == ("traceparent", [("dlq.kind", b"event")])
    assert f"{span.context.trace_id:032x}-{span.context.span_id:016x}".encode() in (value or b"")
    assert span.status.status_code is StatusCode.UNSET


def test_tracing_that_is_off_loads_nothing_and_keeps_headers() -> None:
    assert create_tracing(enabled=False, version="1") is NO_TRACING
    headers = [("dlq.kind", b"event")]
    assert NO_TRACING.with_trace_context(headers) is headers
    program = "import sys, worker.app; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    printed = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60)  # noqa: S603 - our own
    assert printed == "[]\n"
