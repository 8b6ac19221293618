"""JSON that orjson refuses is read as orjson would read it, except for the numbers that no Float64 can hold."""

import tracemalloc
from collections.abc import Callable, Iterator
from time import perf_counter

import orjson
import pytest

from tests.support.events import encoded, event, event_without, read
from tests.unit.events.refusal import refusal_of
from worker.core.model import UnrepresentableNumber
from worker.events.parsing_cost import MAX_BYTES, MAX_VALUES
from worker.events.tolerant_json import MAX_LEVELS, abbreviate, parse_number, parse_tolerantly


@pytest.mark.parametrize(
    "literal",
    ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1E+309", "1.8e308", "9" * 400, "-" + "9" * 400, "9" * 5_000],
)
def test_number_beyond_float64_keeps_its_literal_and_its_neighbours(literal: str) -> None:
    text = encoded(event(metrics={"bad": "?", "good": 1.5, "whole": 2**53 + 1})).replace(b'"?"', literal.encode())
    assert read(text).metrics == {"bad": UnrepresentableNumber(literal), "good": 1.5, "whole": 2**53 + 1}


@pytest.mark.parametrize(
    "literal", ["1.7976931348623157e308", "-1.7976931348623157e308", "5e-324", "1e-400", "9" * 300, "-0.0", "1E5"]
)
@pytest.mark.parametrize("neighbour", [b"0", b"NaN"], ids=["orjson", "tolerant"])
def test_number_that_rounds_to_a_float64_is_read(literal: str, neighbour: bytes) -> None:
    text = b'{"metrics":{"n":%s,"x":%s},%s' % (literal.encode(), neighbour, encoded(event_without("metrics"))[1:])
    value = read(text).metrics["n"]
    assert isinstance(value, float)
    assert repr(value) == repr(float(literal))


@pytest.mark.parametrize(
    "number", [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, -(2**63) - 1, 10**30, 1.5, 1e16, -0.0]
)
def test_both_parsers_read_the_same_number(number: float) -> None:
    fast = read(event(metrics={"n": number})).metrics["n"]
    tolerant = read(event(metrics={"n": number, "x": float("nan")})).metrics["n"]
    assert (type(tolerant), repr(tolerant)) == (type(fast), repr(fast))


def test_lone_surrogates_in_names_and_unread_text_pass() -> None:
    assert read(event(metrics={"\ud800": 1, "good": 2}, status="\udfff")).metrics == {"\ud800": 1, "good": 2}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("-0.5", -0.5),
        ("true", True),
        ("NaN", UnrepresentableNumber("NaN")),
        ("1e400", UnrepresentableNumber("1e400")),
    ],
)
def test_parse_number_reads_what_a_metric_may_be(text: str, number: object) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["", "x", '"1"', "[1]", "null", "[" * 100_000, "\ud800"])
def test_parse_number_refuses_anything_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_number(text)


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        pytest.param(b"", b"[", id="arrays"),
        pytest.param(b"", b'{"a":', id="objects"),
        pytest.param(b'{"metrics":{"a":', b"[", id="in a metric"),
        pytest.param(b"[NaN,", b"[", id="tolerant parse"),
        pytest.param(b'{"a":', b"1", id="one long number"),
        pytest.param(b'{"a":1e', b"1", id="one long exponent"),
        pytest.param(b'{"a":"', b"\\ud800", id="lone surrogates"),
    ],
)
def test_largest_hostile_value_is_refused_quickly(start: bytes, repeated: bytes) -> None:
    opens = repeated[:1] in (b"[", b"{")
    value = (start + repeated * (MAX_VALUES - 10 if opens else MAX_BYTES // len(repeated)))[:MAX_BYTES]
    started = perf_counter()
    assert refusal_of(value).reason == "InvalidJSON"
    assert perf_counter() - started < 5, "ordinarily a fifth of a second"


@pytest.mark.parametrize("neighbour", [b"1", b"NaN"], ids=["orjson", "tolerant"])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_both_parsers_accept_1024_levels_and_no_more(neighbour: bytes, opening: bytes, closing: bytes) -> None:
    def nested(levels: int) -> bytes:
        inner = opening * (levels - 1) + b'"]]"' + closing * (levels - 1)
        return encoded(event(x="@")).replace(b'"@"', inner + b',"y":' + neighbour)

    assert read(nested(MAX_LEVELS)).user_id == "u-1"
    assert refusal_of(nested(MAX_LEVELS + 1)).reason == "InvalidJSON"


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert read(encoded(event(x=[[]] * 2_000, y=float("nan")))).user_id == "u-1"


@pytest.fixture
def peak_bytes() -> Iterator[Callable[[], int]]:
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_text_of_wide_characters_is_decoded_once(peak_bytes: Callable[[], int]) -> None:
    """Python needs four bytes for each character of such a text: 64 MiB for the largest one."""
    value = b'{"x":NaN,"y":"%s%s"}' % ("\U0001f980".encode(), b"y" * 1_000_000)
    with pytest.raises(orjson.JSONDecodeError) as refused:
        orjson.loads(value)
    tracemalloc.reset_peak()
    before = peak_bytes()
    parse_tolerantly(value, refused.value)
    assert peak_bytes() - before < 1.1 * 4 * 1_000_000, "the parsed string"


def test_long_text_is_quoted_in_little_memory(peak_bytes: Callable[[], int]) -> None:
    text = "\U0001f980" * 1_000_000
    tracemalloc.reset_peak()
    before = peak_bytes()
    assert abbreviate(text) == "'" + r"\U0001f980" * 5 + r"\U0001f98…"
    assert peak_bytes() - before < 10_000
