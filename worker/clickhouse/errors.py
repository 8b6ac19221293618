"""What an error of ClickHouse, of its driver or of the network says about the rows of an INSERT."""

import re
import ssl

from clickhouse_driver import errors as driver

from worker.clickhouse.error_codes import CODES
from worker.clickhouse.tls import classify_tls
from worker.core.outcome import Constraint, Outcome, OutcomeKind

_VIOLATED_CONSTRAINT = 469
_AUTHENTICATION = frozenset({192, 193, 194, 516})
_OUTCOME_BY_TEXT = (
    (252, "Too many partitions for single INSERT block", OutcomeKind.MISCONFIGURED),
    (32, "while executing", OutcomeKind.UNCLASSIFIED),
    (33, "while executing", OutcomeKind.UNCLASSIFIED),
    (243, "while executing", OutcomeKind.UNCLASSIFIED),
    (454, "while executing", OutcomeKind.UNCLASSIFIED),
    (1001, "No space left on device", OutcomeKind.UNAVAILABLE),
    (1001, "filesystem error", OutcomeKind.UNAVAILABLE),
    (1001, "bad_alloc", OutcomeKind.UNAVAILABLE),
)
"""Codes with a second meaning, the text of the message that shows it, and the outcome: the target of a view has too
many partitions; a function of a view, a default or a constraint does not accept a value; a library reports a failure of
the disk or of the memory of the server."""
_VALUE_ERRORS = (
    driver.TypeMismatchError,
    driver.TooLargeStringSize,
    driver.CannotParseUuidError,
    driver.CannotParseDomainError,
)
"""What the driver raises for a value while it encodes a block. The server raises 53 for a type, not for a value."""
_ADDRESS_ERRORS = (driver.NetworkError, driver.UnexpectedPacketFromServerError)
"""Nothing listens at the address, its host does not exist, or it speaks another protocol, such as HTTP."""
_SEE_ADDRESS = "; see CLICKHOUSE_HOST and CLICKHOUSE_PORT"
_CONNECTION_CLOSED = re.compile(r"reset by peer|Broken pipe|EOF occurred in violation of protocol")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{2,})\)")
# CheckConstraintsTransform::onConsume in ClickHouse's source; of another shard after "Received from HOST:PORT. ". Rows
# are counted from 1. The values of the row, which may be any text, come after everything that is parsed here.
_VIOLATED = re.compile(
    r"(?:^|DB::Exception: )(?P<name>Constraint (?:`(?:[^`\\]|\\.)*`|\S+) for table (?P<table>\S+)) .*?is violated "
    r"at row (?P<row>\d+)\. "
    r"Expression: \((?P<expression>.*?)\)\. Column values: ",
    re.DOTALL,
)
_HIDDEN = "[HIDDEN]"
"""What ClickHouse prints in place of a secret, such as a key: the expression is then not the one of the table."""


def classify(error: Exception, seconds: float) -> Outcome:
    """The outcome of a statement that failed, after so many seconds, with an error of the driver or of a socket."""
    if isinstance(error, driver.ServerException):
        return classify_server_error(error.code, _without_stack_trace(error.message))
    if isinstance(error, driver.NetworkError | ssl.SSLError) and (misconfigured := classify_tls(str(error))):
        # While it connects, the driver turns every error of a socket into a NetworkError, and keeps only the text.
        return misconfigured
    name = type(error).__name__
    if isinstance(error, driver.SocketTimeoutError | TimeoutError):
        message = f"no answer in {round(seconds, 1):g} s"
        if isinstance(error, driver.Error):  # which the driver raises only where it cannot connect in time
            return Outcome(OutcomeKind.UNAVAILABLE, name, f"{message}{_SEE_ADDRESS}", error.code)
        return Outcome(OutcomeKind.UNAVAILABLE, name, message)
    if isinstance(error, driver.NetworkError) and _CONNECTION_CLOSED.search(str(error)):
        # With TLS 1.3 a server that misses the certificate of its client may close the connection without an alert.
        advice = "; see CLICKHOUSE_SECURE, and CLICKHOUSE_CERT_FILE if it requires a certificate"
        return Outcome(OutcomeKind.UNAVAILABLE, "NetworkError", f"{error}{advice}", error.code)
    if isinstance(error, driver.Error):
        kind = OutcomeKind.REFUSED if isinstance(error, _VALUE_ERRORS) else _kind(error.code, "")
        advice = _SEE_ADDRESS if isinstance(error, _ADDRESS_ERRORS) else ""
        return Outcome(kind, name, f"{error}{advice}", error.code)
    if isinstance(error, OSError | EOFError | UnicodeDecodeError):
        # UnicodeDecodeError: the answer is not ClickHouse's. A value that cannot be encoded is a UnicodeEncodeError.
        return Outcome(OutcomeKind.UNAVAILABLE, name, str(error) or "connection closed")
    # Everything else was raised by encoding the columns, before a row was sent.
    return Outcome(OutcomeKind.REFUSED, name, f"cannot be encoded: {error}")


def classify_server_error(code: int, message: str) -> Outcome:
    """The outcome of an exception of the server; `message` is without the server's stack trace."""
    classified = CODES.get(code)
    names = _NAME.findall(message)
    name = classified.name if classified else names[-1] if names else f"CODE_{code}"
    if code in _AUTHENTICATION:
        message = f"{message.removesuffix('.')}; see CLICKHOUSE_USER and CLICKHOUSE_PASSWORD"
    constraint, row = _parse_constraint(message) if code == _VIOLATED_CONSTRAINT else (None, None)
    return Outcome(_kind(code, message), name, message, code, constraint, row)


def _kind(code: int, message: str) -> OutcomeKind:
    for other_code, text, kind in _OUTCOME_BY_TEXT:
        if code == other_code and text in message:
            return kind
    return CODES[code].kind if code in CODES else OutcomeKind.UNCLASSIFIED


def _parse_constraint(message: str) -> tuple[Constraint | None, int | None]:
    """The constraint that the message names, and the position of a row that violates it; None where there is none."""
    violated = _VIOLATED.search(message)
    if violated is None or _HIDDEN in violated["expression"]:
        return None, None
    expression = violated["expression"]
    message_of_any_row = f"{violated['name']} is violated. Expression: ({expression})."
    return Constraint(violated["table"], expression, message_of_any_row), int(violated["row"]) - 1


def _without_stack_trace(message: str) -> str:
    """The message without the server's stack trace and without the driver's own first line."""
    return message.partition("Stack trace:")[0].removeprefix("DB::Exception: ").strip()
