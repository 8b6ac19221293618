"""The length of a column of each type in bytes: the protocol has no length of a block, so it must be computed.

The layouts are those of `serializeBinaryBulk*` in ClickHouse's src/DataTypes/Serializations/. A column is a state
prefix, then its data, and both are absent when the block has no rows (src/Formats/NativeReader.cpp).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from deploy.local.engine.errors import NOT_IMPLEMENTED, ProtocolError, ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.engine.wire import WireReader


class Column(Protocol):
    """The layout of one type."""

    def skip_prefix(self, reader: WireReader) -> None:
        """Skip the state before the data of all rows."""

    def skip_data(self, reader: WireReader, rows: int) -> None:
        """Skip the values of `rows` rows."""


@dataclass(frozen=True)
class FixedWidth:
    """Values of `width` bytes each."""

    width: int

    def skip_prefix(self, reader: WireReader) -> None:
        """Skip nothing: there is no prefix."""

    def skip_data(self, reader: WireReader, rows: int) -> None:
        """Skip `rows` values of one width."""
        reader.skip(rows * self.width)


@dataclass(frozen=True)
class Strings:
    """String: a length and bytes for every value."""

    def skip_prefix(self, reader: WireReader) -> None:
        """Skip nothing: there is no prefix."""

    def skip_data(self, reader: WireReader, rows: int) -> None:
        """Skip `rows` strings."""
        reader.skip_strings(rows)


@dataclass(frozen=True)
class Nullable:
    """A map of one byte per row, then the nested values with a default in place of every NULL."""

    nested: Column

    def skip_prefix(self, reader: WireReader) -> None:
        """Skip the prefix of the nested type."""
        self.nested.skip_prefix(reader)

    def skip_data(self, reader: WireReader, rows: int) -> None:
        """Skip the map, then the values."""
        reader.skip(rows)
        self.nested.skip_data(reader, rows)


@dataclass(frozen=True)
class Array:
    """The end offset of every row's array (UInt64), then all elements in one column."""

    nested: Column

    def skip_prefix(self, reader: WireReader) -> None:
        """Skip the prefix of the elements."""
        self.nested.skip_prefix(reader)

    def skip_data(self, reader: WireReader, rows: int) -> None:
        """Skip the offsets, then the elements."""
        if not rows:
            return
        reader.skip((rows - 1) * 8)
        self.nested.skip_data(reader, reader.uint64())


@dataclass(frozen=True)
class Tuple:
    """The elements, one column after the other."""

    elements: tuple[Column, ...]

    def skip_prefix(self, reader: WireReader) -> None:
        """Skip the prefixes of all elements, which come before all data."""
        for element in self.elements:
            element.skip_prefix(reader)

    def skip_data(self, reader: WireReader, rows: int) -> None:
        """Skip one element after the other."""
        for element in self.elements:
            element.skip_data(reader, rows)


@dataclass(frozen=True)
class LowCardinality:
    """A dictionary of keys, then an index into it for every row (SerializationLowCardinality.cpp).

    A NULL is an entry of the dictionary, so keys of LowCardinality(Nullable(T)) are written as plain T.
    """

    keys: Column

    VERSION = 1  # SharedDictionariesWithAdditionalKeys
    NEED_GLOBAL_DICTIONARY = 1 << 8
    HAS_ADDITIONAL_KEYS = 1 << 9

    def skip_prefix(self, reader: WireReader) -> None:
        """Skip the version of the serialization."""
        version = reader.uint64()
        if version != self.VERSION:
            raise ProtocolError(NOT_IMPLEMENTED, f"LowCardinality serialization {version} is not supported here")

    def skip_data(self, reader: WireReader, rows: int) -> None:
        """Skip dictionaries and indexes, repeated until every row has an index."""
        while rows > 0:
            flags = reader.uint64()
            if flags & self.NEED_GLOBAL_DICTIONARY:
                raise ProtocolError(NOT_IMPLEMENTED, "LowCardinality with a global dictionary is not supported here")
            if flags & self.HAS_ADDITIONAL_KEYS:
                self.keys.skip_data(reader, reader.uint64())
            indexes = reader.uint64()
            reader.skip(indexes << (flags & 0x3))  # UInt8, 16, 32 or 64
            rows -= indexes


WIDTHS = {
    **dict.fromkeys(("Int8", "UInt8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("Int16", "UInt16", "Enum16", "Date", "BFloat16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32", "Date32", "DateTime", "Decimal32", "IPv4", "Time"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64", "DateTime64", "Decimal64", "Time64"), 8),
    **dict.fromkeys(("Int128", "UInt128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("Int256", "UInt256", "Decimal256"), 32),
}

_TYPE = re.compile(r"(\w+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_ELEMENT_NAME = re.compile(r"(?:\w+|`(?:[^`\\]|\\.)*`)\s+(?=[A-Z])")
_SEPARATOR = re.compile(r"""'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|[(),]""", re.DOTALL)


@lru_cache(maxsize=1024)
def column_of(type_name: str) -> Column:
    """Return the layout of a type by its ClickHouse name.

    Raises:
        ServerError: NOT_IMPLEMENTED for a type that is not supported.
    """
    match = _TYPE.fullmatch(type_name)
    if match is None:
        raise _unsupported(type_name)
    family, arguments = match[1], tuple(_split(match[2] or ""))
    if family in WIDTHS:
        return FixedWidth(WIDTHS[family])
    if family.startswith("Interval"):
        return FixedWidth(8)
    return _compound(type_name, family, arguments)


def _compound(type_name: str, family: str, arguments: tuple[str, ...]) -> Column:
    match family, arguments:
        case "String", ():
            return Strings()
        case "FixedString", (size,):
            return FixedWidth(int(size))
        case "Decimal", (precision, *_) if int(precision) <= 76:
            return FixedWidth(_decimal_width(int(precision)))
        case "Nullable", (nested,):
            return Nullable(column_of(nested))
        case "LowCardinality", (keys,):
            column = column_of(keys)
            return LowCardinality(column.nested if isinstance(column, Nullable) else column)
        case "Array", (nested,):
            return Array(column_of(nested))
        case "Map", (key, value):
            return Array(Tuple((column_of(key), column_of(value))))
        case "Tuple", (_, *_):
            return Tuple(tuple(column_of(_without_name(element)) for element in arguments))
        case "SimpleAggregateFunction", (_, nested):
            return column_of(nested)
    raise _unsupported(type_name)


def _without_name(element: str) -> str:
    """The type of an element of a tuple, which can be written `name Type`."""
    name = _ELEMENT_NAME.match(element)
    return element[name.end() :] if name else element


def _decimal_width(precision: int) -> int:
    return next(width for limit, width in ((9, 4), (18, 8), (38, 16), (76, 32)) if precision <= limit)


def _split(arguments: str) -> Iterator[str]:
    """Split at the commas that are inside no parentheses and no quotes."""
    depth = start = 0
    for match in _SEPARATOR.finditer(arguments):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if match[0] == "," and not depth:
            yield arguments[start : match.start()].strip()
            start = match.end()
    if arguments[start:].strip():
        yield arguments[start:].strip()


def _unsupported(type_name: str) -> ServerError:
    return ServerError(NOT_IMPLEMENTED, f"The local engine server does not support the type {type_name}")
