"""Dead letters whose every field has markup and control characters."""

from tests.support.events import event, read, record
from tests.support.fakes import MemoryTopic
from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterPosition, Edit, FailedEvent, FailedMetric, Failure, ReplayedRecord
from worker.dead_letters.dead_letter import EncodedDeadLetter
from worker.dead_letters.record_format import encode_dead_letter
from worker.dead_letters.settlement import Action, OffsetRun, Settlement, identify

OPERATION = "0" * 32


async def create_hostile_topic(hostile: str) -> MemoryTopic:
    """Dead letters of every class, foreign records, and an operation of the journal, with this text in each field."""
    source = record(None, key=hostile.encode(), headers=((hostile, hostile.encode() + b"\xff"),))
    replayed = ReplayedRecord(
        hostile, 0, 0, 0, hostile.encode(), None, source.headers, 1, 1, DeadLetterPosition(0, 0), whole=False,
        part_of=DeadLetterPosition(0, 0), edit=Edit(hostile, hostile, DeadLetterPosition(0, 0), "0" * 64),
    )  # fmt: skip
    hostile_event = read(event(agent_name=hostile, user_id=hostile))
    failures = [Failure(error_class, hostile, hostile, 469) for error_class in ErrorClass]
    topic = MemoryTopic()
    await topic.write([FailedMetric(hostile_event._replace(record=source), hostile, 1, each, 1) for each in failures])
    await topic.write([FailedEvent(record(hostile.encode(), headers=source.headers), each) for each in failures])
    edited = FailedMetric(hostile_event._replace(record=replayed), hostile, 1, failures[2], 1)
    topic.keep(encode_dead_letter(edited, topic.HEAD, 1_767_225_600_000))
    topic.keep(EncodedDeadLetter(hostile.encode(), hostile.encode(), ((hostile, hostile.encode()),), 0))
    topic.keep(EncodedDeadLetter(None, hostile.encode(), (("dlq.kind", b"settlement"),), 0))
    run = OffsetRun(1, 1, identify(topic.records[0][1]))
    entry = Settlement(
        Action.DISCARDED, OPERATION, hostile, 0, hostile, hostile, (run,), outcome={hostile: 3}, edit=hostile
    )
    await topic.append(0, entry)
    return topic
