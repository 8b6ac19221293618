"""Settlements are read as they were written, and from nothing else."""

import tracemalloc
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.fakes import KeptRecord
from tests.unit.dead_letters.builders import FAILED_AT, SOURCE, WORKER, failed_metric, keep
from worker.core.model import UnreadableRecord
from worker.dead_letters.dead_letter import EncodedDeadLetter, ForeignRecord
from worker.dead_letters.record_format import encode_dead_letter, parse_dead_letter
from worker.dead_letters.settlement import (
    UNIDENTIFIED,
    Action,
    InvalidSettlement,
    OffsetRun,
    Settlement,
    encode_settlement,
    identify,
    is_settlement,
    join_runs,
    parse_settlement,
)

SETTLEMENT = Settlement(
    Action.DISCARDED, "1", "operator@host", FAILED_AT, "a typo", "dlq discard", (OffsetRun(2, 5, 7),)
)


@given(strategies.settlements)
def test_settlement_is_read_as_it_was_written(settlement: Settlement) -> None:
    record = keep(encode_settlement(settlement, "1.2.3"))
    assert is_settlement(record)
    parsed = parse_settlement(record)
    by, command = settlement.by[:1_000], settlement.command[:1_000]
    assert parsed == settlement._replace(by=by, command=command, why=parsed.why)
    assert (parsed.why is None) == (settlement.why is None)
    assert len(parsed.why or "") <= 1_000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"discarded"', b'"burnt"'),
        (b"[2,5,7]", b"[5,2,7]"),
        (b"[2,5,7]", b"[2,5]"),
        (b"[2,5,7]", b'[2,5,"7"]'),
        (b"[2,5,7]", b"[-2,5,7]"),
        (b"[2,5,7]", b"2,5,7"),
        (b'"operator@host"', b"1"),
        (b'"outcome"', b'"result"'),
        (b'"outcome":null', b'"outcome":[]'),
        (b"{", b"["),
    ],
)
def test_other_values_are_no_settlements(old: bytes, new: bytes) -> None:
    record = keep(encode_settlement(SETTLEMENT, "1.2.3"))
    changed = record._replace(value=(record.value or b"").replace(old, new))
    assert changed != record
    with pytest.raises(InvalidSettlement):
        parse_settlement(changed)


def test_little_is_kept_of_hostile_settlements() -> None:
    """Anybody can write to the topic, and a scan keeps ten thousand operations."""
    tracemalloc.start()
    kept = [parse_settlement(_hostile_record(number)) for number in range(100)]
    assert len({settlement.operation for settlement in kept}) == 100
    bytes_kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert bytes_kept < 2_000_000


def _hostile_record(number: int) -> KeptRecord:
    long = f"{number}{'x' * 200_000}"
    outcome = dict.fromkeys((f"{name}{'x' * 100}" for name in range(2_000)), 1)
    hostile = SETTLEMENT._replace(operation=long, by=long, why=long, command=long, edit=long, outcome=outcome)
    value = orjson.dumps({**hostile._asdict(), "at": "2026-01-01T00:00:00.000Z", "runs": []})
    return keep(encode_settlement(SETTLEMENT, "1"))._replace(value=value)


def test_dead_letters_are_no_settlements_whatever_headers_their_producer_has_sent() -> None:
    source = SOURCE._replace(key=None, headers=(("dlq.kind", b"settlement"),))
    letter = keep(encode_dead_letter(failed_metric(source=source), WORKER, FAILED_AT))
    assert not is_settlement(letter)
    assert not isinstance(parse_dead_letter(letter), ForeignRecord)
    assert not is_settlement(keep(EncodedDeadLetter(b"k", b"", (("dlq.kind", b"settlement"),), 0)))
    assert not is_settlement(keep(EncodedDeadLetter(None, b"", (), 0)))
    assert not is_settlement(UnreadableRecord("dlq", 0, 0))


def test_record_is_identified_by_value_and_timestamp() -> None:
    record = KeptRecord("t", 0, 3, 1_000, b"k", b"value", (("a", b"b"),))
    assert identify(record) == identify(record._replace(offset=4, partition=1))
    others = (record._replace(value=b"other"), record._replace(timestamp=1_001), record._replace(value=None))
    assert len({identify(item) for item in (record, *others)}) == 4
    assert UNIDENTIFIED not in {identify(item) for item in (record, *others)}
    assert identify(UnreadableRecord("t", 0, 3)) == UNIDENTIFIED


@given(st.sets(st.integers(0, 30)))
def test_runs_hold_exactly_the_offsets_and_have_the_identity_of_the_last(offsets: set[int]) -> None:
    runs = list(join_runs((offset, 100 + offset) for offset in sorted(offsets)))
    assert [offset for run in runs for offset in range(run.first, run.last + 1)] == sorted(offsets)
    assert all(run.identity == 100 + run.last for run in runs)
    assert all(before.last + 1 < after.first for before, after in pairwise(runs))
