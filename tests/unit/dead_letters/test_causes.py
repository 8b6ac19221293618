"""The cause of a dead letter: the same for every value, another for every constraint, view, metric and rule."""

from functools import partial
from itertools import combinations

import pytest

from tests.unit.dead_letters.builders import SOURCE, WORKER, failed_metric, parse
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, Failure
from worker.dead_letters.causes import find_cause, find_cause_id
from worker.dead_letters.dead_letter import DeadLetter
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer

UUID, OTHER_UUID = "b60e671e-9848-4513-847e-de877c0bcdbe", "1a0e671e-9848-4513-847e-de877c0bcdbf"
CONSTRAINT = "Constraint `{}` for table d.t ({}) is violated at row {}. Expression: (a >= 0). Column values: a = {}."
THROW_IF = "{}: while executing 'FUNCTION throwIf(less(a, 0_UInt8) :: 0) -> throwIf() UInt8 : 1'"
VIEW = "{}: while pushing to view d.per_minute_{} ({})"
UINT8 = "Cannot parse string '{}' as UInt8: syntax error at begin of string: while executing 'FUNCTION toUInt8(a :: 1)'"
MEMORY = "Memory limit (total) exceeded: would use {} (attempt to allocate chunk of {} bytes), maximum: 2.50 GiB"


def letter_of(
    error_class: ErrorClass, error_type: str, message: str, code: int | None = None, metric: str = "cost_usd"
) -> DeadLetter:
    failure = Failure(error_class, error_type, message, code)
    failed: Failed = failed_metric(metric=metric, failure=failure)
    if error_class is ErrorClass.INVALID_EVENT:
        failed = FailedEvent(SOURCE, failure)
    return parse(encode_dead_letter(failed, WORKER, 0))


def refused(message: str, code: int, metric: str = "cost_usd") -> DeadLetter:
    return letter_of(ErrorClass.ROW_REFUSED, "E", message, code, metric)


unavailable = partial(letter_of, ErrorClass.STORE_UNAVAILABLE)
invalid = partial(letter_of, ErrorClass.INVALID_EVENT)
invalid_metric = partial(letter_of, ErrorClass.INVALID_METRIC)


def pointer(message: str) -> DeadLetter:
    failed = FailedEvent(SOURCE, Failure(ErrorClass.INVALID_EVENT, "InvalidField", message))
    return parse(encode_pointer(failed, WORKER, 0))


SAME_CAUSES = {
    "constraint": [
        refused(CONSTRAINT.format("x", UUID, 1, "-1"), 469),
        refused(CONSTRAINT.format("x", OTHER_UUID, 7, "'it\\'s: while pushing to view d.v'"), 469),
        refused("Constraint `x` for table d.t is violated. Expression: (a >= 0).", 469),
        refused("Received from ch-2:9001. DB::Exception: " + CONSTRAINT.format("x", UUID, 1, "-1"), 469),
    ],
    "another constraint": [refused(CONSTRAINT.format("y 2", UUID, 1, "-1"), 469)],
    "a third constraint": [refused(CONSTRAINT.format("y 3", UUID, 1, "-1"), 469)],
    "another metric": [refused(CONSTRAINT.format("x", UUID, 1, "-1"), 469, metric="ms")],
    "view": [
        refused(VIEW.format(UINT8.format("it\\'s -1"), 1, UUID), 6),
        refused(VIEW.format(UINT8.format('b"x'), 1, OTHER_UUID), 6),
        refused(VIEW.format(UINT8.format(": while pushing to view d.other (1)"), 1, OTHER_UUID), 6),
    ],
    "another view": [refused(VIEW.format(UINT8.format("x"), 2, UUID), 6)],
    "throwIf": [
        refused(VIEW.format(THROW_IF.format("Value passed to 'throwIf' function is non-zero"), 1, UUID), 395),
        refused(VIEW.format(THROW_IF.format("Value passed to 'throwIf' function is non-zero"), 1, OTHER_UUID), 395),
    ],
    "throwIf with a message": [refused(VIEW.format(THROW_IF.format("no negative cost"), 1, UUID), 395)],
    "memory": [
        unavailable("MEMORY_LIMIT_EXCEEDED", MEMORY.format("3.05 GiB", 4_219_136), 241),
        unavailable("MEMORY_LIMIT_EXCEEDED", MEMORY.format("970.50 MiB", 1), 241, metric="any"),
    ],
    "disk": [
        unavailable("CANNOT_WRITE_TO_FILE_DESCRIPTOR", f"Cannot write to /var/store/{path}: errno: 28", 75)
        for path in (f"b60/{UUID}/part_1/data.bin", f"a1e/{OTHER_UUID}/part_2/data.bin")
    ],
    "no answer": [unavailable("SocketTimeoutError", f"no answer in {seconds} s", 209) for seconds in ("10", "10.3")],
    "refused": [
        unavailable("NetworkError", f"Code: 210. Connection refused ({host}:9000)", 210) for host in ("ch-1", "ch-2")
    ],
    "not JSON": [
        invalid("InvalidJSON", f"the value is not JSON: unexpected character: line {line} column 7 (char 6)")
        for line in (1, 20)
    ],
    "not UTF-8": [invalid("InvalidUTF8", f"the value is not UTF-8: invalid start byte at byte {at}") for at in (0, 9)],
    "version": [
        invalid("UnknownVersion", f"schema_version must be 1 or 1.x; got {version}")
        for version in ("2", "'2.0'", "null")
    ],
    "field": [
        invalid("InvalidField", f"completed_at must be RFC 3339, as 2026-01-31T23:59:59.5Z; got {got}")
        for got in ("'yesterday'", '"it\'s"', "array")
    ],
    "another field": [invalid("InvalidField", "user_id must be a string, an integer of 64 bits or null; got true")],
    "number": [
        invalid_metric("UnrepresentableNumber", f"{literal} does not fit a Float64")
        for literal in ("NaN", "-Infinity", "1e400", "-1" + "0" * 38 + "…")
    ],
    "number of another metric": [invalid_metric("UnrepresentableNumber", "NaN does not fit a Float64", metric="ms")],
    "name": [invalid_metric("InvalidName", "a name has 1 to 256 characters", metric=name) for name in ("", "x" * 257)],
    "pointer": [pointer("agent_name is missing"), pointer("agent_name is missing")],
    "another pointer": [pointer("user_id is missing")],
}


@pytest.mark.parametrize("letters", SAME_CAUSES.values(), ids=SAME_CAUSES)
def test_values_do_not_change_the_cause(letters: list[DeadLetter]) -> None:
    assert len({find_cause(letter) for letter in letters}) == 1


def test_what_an_operator_would_settle_apart_has_different_causes() -> None:
    for (name, one), (other_name, other) in combinations(SAME_CAUSES.items(), 2):
        assert find_cause_id(one[0]) != find_cause_id(other[0]), (name, other_name)


def test_id_stays_the_same_in_every_version() -> None:
    examples = {
        "constraint": ("a5779542", "Constraint `x` for table d.t"),
        "view": ("9d4737a9", "while pushing to view d.per_minute_1"),
        "throwIf": ("e343a424", "Value passed to: while pushing to view d.per_minute_1"),
        "no answer": ("58ce60e9", "no answer in ? s"),
        "version": ("c4729943", "schema_version must be ? or ?"),
        "number": ("c1810294", "? does not fit a Float64"),
        "name": ("d7f14482", "a name has ? to ? characters"),
    }
    assert {name: find_cause(SAME_CAUSES[name][0])[::5] for name in examples} == examples


@pytest.mark.parametrize("text", ["Constraint `" * 90_000, "0" * 1_000_000, "a" * 1_000_000, "/" * 1_000_000])
@pytest.mark.parametrize("code", [469, 395])
def test_part_of_a_cause_is_short_whatever_the_headers_have(text: str, code: int) -> None:
    letter = refused("x", code)
    letter = letter._replace(metric=text, failure=letter.failure._replace(message=text, error_type=text))
    cause = find_cause(letter)
    assert all(len(part) <= 256 for part in (cause.error_type, cause.message, cause.metric or ""))
