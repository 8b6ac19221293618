"""Three values of every type that the local engine server takes."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Any

MOMENT = dt.datetime(2026, 11, 5, 12, 30, 15, 123000, tzinfo=dt.UTC)

VALUES: dict[str, list[Any]] = {
    "UInt8": [0, 255, 7],
    "Int16": [-(2**15), 2**15 - 1, 0],
    "Int32": [-(2**31), 2**31 - 1, 0],
    "UInt64": [0, 2**64 - 1, 1],
    "Int128": [-(2**127), 2**127 - 1, 0],
    "UInt256": [0, 2**256 - 1, 1],
    "Float32": [0.5, -1.25, 0.0],
    "Float64": [1e308, -1e-308, float("inf")],
    "Bool": [True, False, True],
    "Date": [dt.date(1970, 1, 1), dt.date(2026, 11, 5), dt.date(2149, 6, 6)],
    "Date32": [dt.date(1900, 1, 1), dt.date(2026, 11, 5), dt.date(2299, 12, 31)],
    "DateTime('UTC')": [MOMENT.replace(microsecond=0)] * 3,
    "DateTime64(3, 'UTC')": [MOMENT, MOMENT, MOMENT],
    "String": ["", "x" * 300_000, "naïve, \0 and \U0001f600"],
    "FixedString(4)": ["abcd", "efgh", "ijkl"],
    "UUID": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976")],
    "Enum8('a, (b)' = 1, 'c\\'d' = -2)": ["a, (b)", "c'd", "a, (b)"],
    "Enum16('low' = -300, 'high' = 300)": ["low", "high", "low"],
    "Decimal(9, 2)": [Decimal("1.23"), Decimal("-9999999.99"), Decimal(0)],
    "Decimal(18, 4)": [Decimal("1.2345"), Decimal("-1.2345"), Decimal(0)],
    "Decimal(38, 10)": [Decimal("1.0000000001"), Decimal(-1), Decimal(0)],
    "IPv4": [IPv4Address("127.0.0.1"), IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255")],  # noqa: S104
    "IPv6": [IPv6Address("::1"), IPv6Address("2001:db8::1"), IPv6Address("::")],
    "Nullable(String)": [None, "", "long" * 100],
    "Nullable(Float64)": [None, 1.5, None],
    "Nullable(UUID)": [None, uuid.UUID(int=5), None],
    "LowCardinality(String)": ["a", "b", "a"],
    "LowCardinality(Nullable(String))": [None, "b", None],
    "LowCardinality(FixedString(2))": ["ab", "cd", "ab"],
    "Array(UInt32)": [[], [1, 2, 3], [4]],
    "Array(String)": [["", "x" * 200], [], ["y"]],
    "Array(Nullable(String))": [[None, "x"], [], [None]],
    "Array(LowCardinality(String))": [["a", "b", "a"], [], ["b"]],
    "Array(Array(Int64))": [[[1], [2, 3]], [], [[], [4]]],
    "Map(String, UInt8)": [{"a": 1, "b": 2}, {}, {"c": 3}],
    "Tuple(UInt8, String)": [(1, "a"), (2, "b"), (3, "")],
    "Tuple(code UInt8, `a name` LowCardinality(String))": [(1, "a"), (2, "b"), (3, "a")],
}
