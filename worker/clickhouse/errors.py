"""What each error of ClickHouse says about the rows of an insert.

`CODES` is the whole judgement, as data. Names are those of `src/Common/ErrorCodes.cpp` in ClickHouse's source. A code
that is not here becomes `UnknownStoreError`, and the writer finds out by splitting.
"""

import re
import ssl
from typing import NamedTuple

from clickhouse_driver import errors as driver

from worker.clickhouse.tls import refused
from worker.errors import Constraint, RowRefused, StoreError, StoreMisconfigured, StoreUnavailable, UnknownStoreError


class Verdict(NamedTuple):
    """What one code means for an insert, and why."""

    name: str
    error: type[StoreError]
    reason: str


_VALUE = "a value does not fit its column or a rule of the table"
_PARSE = "a value cannot be read as the type of its column"
_NETWORK = "the connection broke or was too slow; the outcome of the insert may be unknown"
_LOAD = "the server has more work than it takes; it will take the rows later"
_REPLICAS = "replicas or Keeper are not there; the outcome of the insert may be unknown"
_STORAGE = "the server's disk or files fail for now"
_SCHEMA = "the table is not what the worker was told; a migration or a setting is missing"
_ACCESS = "the user, its password, its host or its grants are wrong"
_QUERY = "the server does not understand the statement or a setting; versions do not match"

CODES: dict[int, Verdict] = {
    # The data is at fault.
    53: Verdict("TYPE_MISMATCH", RowRefused, _VALUE),
    70: Verdict("CANNOT_CONVERT_TYPE", RowRefused, _VALUE),
    117: Verdict("INCORRECT_DATA", RowRefused, _VALUE),
    131: Verdict("TOO_LARGE_STRING_SIZE", RowRefused, _VALUE),
    321: Verdict("VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", RowRefused, _VALUE),
    349: Verdict("CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN", RowRefused, _VALUE),
    395: Verdict("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", RowRefused, "a view or a constraint throws on purpose"),
    407: Verdict("DECIMAL_OVERFLOW", RowRefused, _VALUE),
    469: Verdict("VIOLATED_CONSTRAINT", RowRefused, _VALUE),
    6: Verdict("CANNOT_PARSE_TEXT", RowRefused, _PARSE),
    25: Verdict("CANNOT_PARSE_ESCAPE_SEQUENCE", RowRefused, _PARSE),
    26: Verdict("CANNOT_PARSE_QUOTED_STRING", RowRefused, _PARSE),
    27: Verdict("CANNOT_PARSE_INPUT_ASSERTION_FAILED", RowRefused, _PARSE),
    38: Verdict("CANNOT_PARSE_DATE", RowRefused, _PARSE),
    41: Verdict("CANNOT_PARSE_DATETIME", RowRefused, _PARSE),
    72: Verdict("CANNOT_PARSE_NUMBER", RowRefused, _PARSE),
    376: Verdict("CANNOT_PARSE_UUID", RowRefused, _PARSE),
    441: Verdict("CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING", RowRefused, _PARSE),
    # An outage.
    3: Verdict("UNEXPECTED_END_OF_FILE", StoreUnavailable, _NETWORK),
    95: Verdict("CANNOT_READ_FROM_SOCKET", StoreUnavailable, _NETWORK),
    96: Verdict("CANNOT_WRITE_TO_SOCKET", StoreUnavailable, _NETWORK),
    100: Verdict("UNKNOWN_PACKET_FROM_SERVER", StoreUnavailable, _NETWORK),
    102: Verdict("UNEXPECTED_PACKET_FROM_SERVER", StoreUnavailable, _NETWORK),
    74: Verdict("CANNOT_READ_FROM_FILE_DESCRIPTOR", StoreUnavailable, _STORAGE),
    75: Verdict("CANNOT_WRITE_TO_FILE_DESCRIPTOR", StoreUnavailable, _STORAGE),
    76: Verdict("CANNOT_OPEN_FILE", StoreUnavailable, _STORAGE),
    173: Verdict("CANNOT_ALLOCATE_MEMORY", StoreUnavailable, _LOAD),
    439: Verdict("CANNOT_SCHEDULE_TASK", StoreUnavailable, _LOAD),
    499: Verdict("S3_ERROR", StoreUnavailable, _STORAGE),
    107: Verdict("FILE_DOESNT_EXIST", StoreUnavailable, _STORAGE),
    159: Verdict("TIMEOUT_EXCEEDED", StoreUnavailable, _LOAD),
    164: Verdict("READONLY", StoreUnavailable, "the server is read-only for now, as during a fail-over"),
    198: Verdict("DNS_ERROR", StoreUnavailable, _NETWORK),
    201: Verdict("QUOTA_EXCEEDED", StoreUnavailable, _LOAD),
    202: Verdict("TOO_MANY_SIMULTANEOUS_QUERIES", StoreUnavailable, _LOAD),
    203: Verdict("NO_FREE_CONNECTION", StoreUnavailable, _LOAD),
    209: Verdict("SOCKET_TIMEOUT", StoreUnavailable, _NETWORK),
    210: Verdict("NETWORK_ERROR", StoreUnavailable, _NETWORK),
    225: Verdict("NO_ZOOKEEPER", StoreUnavailable, _REPLICAS),
    236: Verdict("ABORTED", StoreUnavailable, "the server is stopping"),
    241: Verdict("MEMORY_LIMIT_EXCEEDED", StoreUnavailable, _LOAD),
    242: Verdict("TABLE_IS_READ_ONLY", StoreUnavailable, _REPLICAS),
    243: Verdict("NOT_ENOUGH_SPACE", StoreUnavailable, _STORAGE),
    244: Verdict("UNEXPECTED_ZOOKEEPER_ERROR", StoreUnavailable, _REPLICAS),
    # Its other meaning, "too many partitions for single INSERT block", cannot occur: a block has one partition.
    252: Verdict("TOO_MANY_PARTS", StoreUnavailable, _LOAD),
    254: Verdict("NO_ACTIVE_REPLICAS", StoreUnavailable, _REPLICAS),
    265: Verdict("NO_AVAILABLE_REPLICA", StoreUnavailable, _REPLICAS),
    279: Verdict("ALL_CONNECTION_TRIES_FAILED", StoreUnavailable, _NETWORK),
    285: Verdict("TOO_FEW_LIVE_REPLICAS", StoreUnavailable, _REPLICAS),
    286: Verdict("UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE", StoreUnavailable, _REPLICAS),
    289: Verdict("REPLICA_IS_NOT_IN_QUORUM", StoreUnavailable, _REPLICAS),
    290: Verdict("LIMIT_EXCEEDED", StoreUnavailable, _LOAD),
    297: Verdict("SHARD_HAS_NO_CONNECTIONS", StoreUnavailable, _NETWORK),
    319: Verdict("UNKNOWN_STATUS_OF_INSERT", StoreUnavailable, _REPLICAS),
    364: Verdict("RECEIVED_ERROR_TOO_MANY_REQUESTS", StoreUnavailable, _LOAD),
    384: Verdict("PART_IS_TEMPORARILY_LOCKED", StoreUnavailable, _STORAGE),
    425: Verdict("SYSTEM_ERROR", StoreUnavailable, _STORAGE),
    999: Verdict("KEEPER_EXCEPTION", StoreUnavailable, _REPLICAS),
    1000: Verdict("POCO_EXCEPTION", StoreUnavailable, _NETWORK),
    # The metric is innocent.
    16: Verdict("NO_SUCH_COLUMN_IN_TABLE", StoreMisconfigured, _SCHEMA),
    47: Verdict("UNKNOWN_IDENTIFIER", StoreMisconfigured, _SCHEMA),
    60: Verdict("UNKNOWN_TABLE", StoreMisconfigured, _SCHEMA),
    81: Verdict("UNKNOWN_DATABASE", StoreMisconfigured, _SCHEMA),
    62: Verdict("SYNTAX_ERROR", StoreMisconfigured, _QUERY),
    80: Verdict("INCORRECT_QUERY", StoreMisconfigured, _QUERY),
    115: Verdict("UNKNOWN_SETTING", StoreMisconfigured, _QUERY),
    192: Verdict("UNKNOWN_USER", StoreMisconfigured, _ACCESS),
    193: Verdict("WRONG_PASSWORD", StoreMisconfigured, _ACCESS),
    194: Verdict("REQUIRED_PASSWORD", StoreMisconfigured, _ACCESS),
    195: Verdict("IP_ADDRESS_NOT_ALLOWED", StoreMisconfigured, _ACCESS),
    497: Verdict("ACCESS_DENIED", StoreMisconfigured, _ACCESS),
    516: Verdict("AUTHENTICATION_FAILED", StoreMisconfigured, _ACCESS),
}

_WHO = frozenset({192, 193, 194, 516})
"""Codes of a user or a password that is wrong."""
_HUNG_UP = re.compile(r"reset by peer|Broken pipe|EOF occurred in violation of protocol")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{2,})\)")
# CheckConstraintsTransform::onConsume in ClickHouse's source. Rows are counted from 1 over the rows of the insert; what
# the rows hold stands behind everything that is read here.
_VIOLATED = re.compile(
    r"(?P<what>Constraint (?:`(?:[^`\\]|\\.)*`|\S+) for table (?P<table>\S+) .*?is violated) at row (?P<row>\d+)\. "
    r"Expression: \((?P<expression>.*?)\)\. Column values: ",
    re.DOTALL,
)
_ROW = re.compile(r"violated at row (\d+)")
_HIDDEN = "[HIDDEN]"
"""What ClickHouse shows in place of a secret, such as a key: the expression is not what the table evaluates."""
_VIEW = "while pushing to view"


def translate(error: Exception) -> StoreError:
    """Turn what clickhouse-driver raised into the error of the port; the caller raises it `from error`."""
    if isinstance(error, driver.ServerException):
        return from_server(error.code, _first_lines(error.message))
    if isinstance(error, driver.NetworkError | ssl.SSLError) and (misconfigured := refused(str(error))):
        # While it connects, the driver makes a NetworkError of every error of a socket and keeps only the words.
        return misconfigured
    if isinstance(error, driver.NetworkError) and _HUNG_UP.search(str(error)):
        # Perhaps over TLS; with TLS 1.3 a server that misses a certificate may be gone before it is heard to say so.
        advice = "; see CLICKHOUSE_SECURE, and CLICKHOUSE_CERT_FILE if it wants a certificate"
        return StoreUnavailable(f"{error}{advice}", name="NetworkError", code=error.code)
    if isinstance(error, driver.Error):
        verdict = CODES.get(error.code)
        kind = verdict.error if verdict else UnknownStoreError
        return kind(str(error), name=type(error).__name__, code=error.code)
    if isinstance(error, OSError | EOFError | UnicodeDecodeError):
        # The last is an answer that is not ClickHouse's; a value that cannot be sent is an UnicodeEncodeError.
        return StoreUnavailable(str(error) or "connection closed", name=type(error).__name__)
    # What is left was raised while the driver encoded the columns, before the server saw a row.
    return RowRefused(f"cannot be encoded: {error}", name=type(error).__name__)


def from_server(code: int, message: str) -> StoreError:
    """Judge an exception of the server by its code, and where that is unknown by where it came from."""
    verdict = CODES.get(code)
    kind = verdict.error if verdict else RowRefused if _VIEW in message else UnknownStoreError
    names = _NAME.findall(message)
    name = verdict.name if verdict else names[-1] if names else f"CODE_{code}"
    if code in _WHO:
        message = f"{message.removesuffix('.')}; see CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"
    row = _ROW.search(message)
    position = int(row[1]) - 1 if row else None
    return kind(message, name=name, code=code, row=position, constraint=_constraint(message))


def _constraint(message: str) -> Constraint | None:
    violated = _VIOLATED.match(message)
    if violated is None or _HIDDEN in violated["expression"]:
        return None
    expression = violated["expression"]
    return Constraint(violated["table"], expression, f"{violated['what']}. Expression: ({expression}).")


def _first_lines(message: str) -> str:
    """The message without the server's stack trace and without the driver's own first line."""
    return message.partition("Stack trace:")[0].removeprefix("DB::Exception: ").strip()
