"""Records of version 1 of the dead-letter topic, as they were written: every later version must read them."""

import json
from pathlib import Path

import pytest

from tests.support.fakes import KeptRecord
from tests.unit.dead_letters.builders import FAILED_AT, INVALID, POSITION, SOURCE, WORKER, failed_metric
from tests.unit.dead_letters.test_settlement import SETTLEMENT
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, Failure, UnrepresentableNumber
from worker.dead_letters.dead_letter import DeadLetter, EncodedDeadLetter
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer, parse_dead_letter
from worker.dead_letters.settlement import encode_settlement, is_settlement, parse_settlement
from worker.dead_letters.value import parse_metric_event, parse_pointer
from worker.replay.contents import to_replayed_record

FILE = Path(__file__).with_name("released") / "records.1.json"
RECORDS = json.loads(FILE.read_text("utf-8"))
NAN = Failure(ErrorClass.INVALID_METRIC, "NotFinite", "NaN does not fit a Float64", None)
OUTAGE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "ClickHouse is away", 210)
WRITTEN = {
    "row_refused": encode_dead_letter(failed_metric(), WORKER, FAILED_AT),
    "invalid_metric": encode_dead_letter(
        failed_metric(UnrepresentableNumber("NaN"), "quality", failure=NAN), WORKER, FAILED_AT
    ),
    "store_unavailable": encode_dead_letter(failed_metric(failure=OUTAGE), WORKER, FAILED_AT),
    "invalid_event": encode_dead_letter(FailedEvent(SOURCE, INVALID), WORKER, FAILED_AT),
    "too_large": encode_pointer(failed_metric(), WORKER, FAILED_AT),
    "settlement": encode_settlement(SETTLEMENT, WORKER.version),
}


def to_document(letter: EncodedDeadLetter) -> dict[str, object]:
    """A record as JSON; each byte of it is a character."""
    headers = {name: None if value is None else value.decode("latin-1") for name, value in letter.headers}
    key = None if letter.key is None else letter.key.decode("latin-1")
    return {"key": key, "value": (letter.value or b"").decode("latin-1"), "headers": headers}


def load(name: str) -> KeptRecord:
    """A record of the file, as the topic has it."""
    found = RECORDS[name]
    headers = tuple(
        (header, None if value is None else value.encode("latin-1")) for header, value in found["headers"].items()
    )
    key = None if found["key"] is None else found["key"].encode("latin-1")
    return KeptRecord("execution-completed.dlq", *POSITION, FAILED_AT, key, found["value"].encode("latin-1"), headers)


def read(name: str) -> DeadLetter:
    letter = parse_dead_letter(load(name))
    assert isinstance(letter, DeadLetter), letter
    return letter


def test_this_version_writes_version_1() -> None:
    """If this fails, read *What may change* in schemas/README.md."""
    assert {name: to_document(letter) for name, letter in WRITTEN.items()} == RECORDS


@pytest.mark.parametrize("name", sorted(RECORDS.keys() - {"settlement"}))
def test_dead_letter_of_version_1_is_read(name: str) -> None:
    letter = read(name)
    assert letter.failure.error_class == name
    assert (letter.source, letter.source_timestamp) == (SOURCE[1:4], SOURCE.timestamp)
    assert (letter.table, letter.worker_version, letter.failed_at) == (WORKER.table, WORKER.version, FAILED_AT)


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("row_refused", {"m": 1.5}),
        ("store_unavailable", {"m": 1.5}),
        ("invalid_metric", {"quality": UnrepresentableNumber("NaN")}),
    ],
)
def test_metric_of_version_1_is_replayed_as_it_failed(name: str, metrics: dict[str, object]) -> None:
    letter = read(name)
    event = parse_metric_event(letter, to_replayed_record(letter, None))
    assert event.metrics == metrics
    assert event[:5] == failed_metric().event[:5]


def test_event_and_pointer_of_version_1_lead_to_their_source() -> None:
    event = read("invalid_event")
    assert (event.record.value, event.source_headers) == (SOURCE.value, SOURCE.headers)
    assert parse_pointer(read("too_large")).size == len(WRITTEN["row_refused"].value or b"")


def test_settlement_of_version_1_is_read() -> None:
    assert is_settlement(load("settlement"))
    assert parse_settlement(load("settlement")) == SETTLEMENT


def test_what_a_later_version_may_add_is_ignored() -> None:
    """So a worker that was rolled back reads what its successor has written."""
    later = load("row_refused")
    later = later._replace(headers=(*later.headers, ("dlq.later", b"1")), value=add_field(later))
    letter = parse_dead_letter(later)
    assert isinstance(letter, DeadLetter)
    assert parse_metric_event(letter, to_replayed_record(letter, None)).metrics == {"m": 1.5}
    settlement = load("settlement")
    assert parse_settlement(settlement._replace(value=add_field(settlement))) == SETTLEMENT


def add_field(record: KeptRecord) -> bytes:
    changed = (record.value or b"").replace(b"{", b'{"later":1,', 1)
    assert changed != record.value
    return changed
