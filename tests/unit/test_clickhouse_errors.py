"""What each error of ClickHouse, of its driver and of the network says about the rows."""

import socket
import ssl

import pytest
from clickhouse_driver import errors as driver

from worker.clickhouse.errors import CODES, from_server, translate
from worker.errors import Constraint, RowRefused, StoreError, StoreMisconfigured, StoreUnavailable, UnknownStoreError

ROW_REFUSED = {53, 117, 321, 349, 407, 469} | {6, 25, 26, 27, 38, 41, 72, 376, 441}
ROW_REFUSED_TOO = {70, 131, 395}
"""Also about values: a conversion, a string that is too long, throwIf in a view."""
UNAVAILABLE = (
    {3, 95, 96, 107, 159, 164, 198, 201, 202, 203, 209, 210, 225, 236, 241, 242, 243, 244, 252, 254, 265, 279}
    | {285, 286, 289, 290, 297, 319, 364, 384, 425, 999, 1000}
)  # fmt: skip
UNAVAILABLE_TOO = {100, 102, 74, 75, 76, 173, 439, 499}
"""Also about the connection: packets that make no sense, which the driver sees when a connection breaks. And about
disks, memory, threads and object storage that fail for now."""
MISCONFIGURED = {16, 47, 60, 80, 81, 115, 62, 192, 193, 194, 195, 497, 516}


class TestTheTable:
    @pytest.mark.parametrize(
        ("error", "codes"),
        [
            (RowRefused, ROW_REFUSED | ROW_REFUSED_TOO),
            (StoreUnavailable, UNAVAILABLE | UNAVAILABLE_TOO),
            (StoreMisconfigured, MISCONFIGURED),
        ],
    )
    def test_has_these_codes_in_each_class(self, error: type[StoreError], codes: set[int]) -> None:
        assert {code for code, verdict in CODES.items() if verdict.error is error} == codes

    def test_has_three_classes(self) -> None:
        assert {verdict.error for verdict in CODES.values()} == {RowRefused, StoreUnavailable, StoreMisconfigured}

    def test_gives_each_code_a_name_of_its_own_and_a_reason(self) -> None:
        assert len({verdict.name for verdict in CODES.values()}) == len(CODES)
        assert all(verdict.name.isupper() for verdict in CODES.values())
        assert all(len(verdict.reason) > 15 for verdict in CODES.values())

    @pytest.mark.parametrize("code", CODES)
    def test_names_codes_as_the_driver_does(self, code: int) -> None:
        names = {value: name for name, value in vars(driver.ErrorCodes).items() if isinstance(value, int)}
        # The driver's list is of 2018; these have been renamed or added since.
        renamed = {
            27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
            201: "QUOTA_EXCEEDED",
            202: "TOO_MANY_SIMULTANEOUS_QUERIES",
            285: "TOO_FEW_LIVE_REPLICAS",
        }
        assert CODES[code].name == renamed.get(code, names.get(code, CODES[code].name))


class TestWhatTheServerSays:
    @pytest.mark.parametrize("code", CODES)
    def test_is_judged_by_its_code(self, code: int) -> None:
        error = translate(driver.ServerException("DB::Exception: words.", code))
        assert type(error) is CODES[code].error
        who = "; see CLICKHOUSE_USER and CLICKHOUSE_PASSWORD" if code in (192, 193, 194, 516) else "."
        assert (error.code, error.name, str(error)) == (code, CODES[code].name, f"words{who}")

    def test_loses_its_stack_trace(self) -> None:
        message = "DB::Exception: Too many parts. (TOO_MANY_PARTS). Stack trace:\n\n0. DB::Exception::Exception @ 0x1\n"
        assert str(translate(driver.ServerException(message, 252))) == "Too many parts. (TOO_MANY_PARTS)."

    def test_names_a_row_from_1_and_the_error_from_0(self) -> None:
        message = (
            "DB::Exception: Constraint `not_negative` for table default.execution_metrics (3f2a) is violated at row 3."
            " Expression: (metric_value >= 0). Column values: metric_value = -1. (VIOLATED_CONSTRAINT)"
        )
        error = translate(driver.ServerException(message, 469))
        assert (error.row, error.code, error.name) == (2, 469, "VIOLATED_CONSTRAINT")

    @pytest.mark.parametrize(
        "expression", ["metric_value >= 0", "((a) > 1) AND (length(concat(b, ')')) < 9)", "position(a, '). b') = 0"]
    )
    @pytest.mark.parametrize(
        "values", ["metric_value = -1", "a = '). Column values: is violated at row 7'", "a = 'while pushing to view'"]
    )
    @pytest.mark.parametrize("name", ["not_negative", "`not_negative`", "`is not \\` negative`"])
    def test_names_the_constraint_whatever_the_row_holds(self, expression: str, values: str, name: str) -> None:
        what = f"Constraint {name} for table default.execution_metrics (3f2a) is violated"
        error = from_server(469, f"{what} at row 3. Expression: ({expression}). Column values: {values}. (VIOLATED)")
        violated = f"{what}. Expression: ({expression})."
        assert error.constraint == Constraint("default.execution_metrics", expression, violated)
        assert error.row == 2

    @pytest.mark.parametrize(
        "message",
        [
            (
                "Constraint `c` for table d.t (3f2a) is violated at row 1. Expression: (HMAC('md5', a, '[HIDDEN]') = b)"
                ". Column values: a = 1, b = 2. (VIOLATED_CONSTRAINT)"
            ),
            (
                "Constraint `c` for table d.t (3f2a) is violated, because it is a constant expression returning 0. "
                "Expression: (0). (VIOLATED_CONSTRAINT)"
            ),
            (
                "Received from other:9000. DB::Exception: Constraint `c` for table d.t (3f2a) is violated at row 1. "
                "Expression: (a > 9). Column values: a = 1. (VIOLATED_CONSTRAINT)"
            ),
        ],
        ids=["with a secret in it", "of no row", "of another server"],
    )
    def test_names_no_constraint_that_can_be_asked_about(self, message: str) -> None:
        assert from_server(469, message).constraint is None

    def test_names_no_row_most_of_the_time(self) -> None:
        assert translate(driver.ServerException("DB::Exception: Value at row 3 is out of range", 321)).row is None

    def test_with_a_code_that_nobody_knows_is_unknown(self) -> None:
        error = from_server(153, "Division by zero: while executing (ILLEGAL_DIVISION) (version 26.9)")
        assert type(error) is UnknownStoreError
        assert (error.code, error.name) == (153, "ILLEGAL_DIVISION")

    def test_without_a_name_is_named_by_its_code(self) -> None:
        assert from_server(4_711, "something").name == "CODE_4711"

    def test_of_a_view_is_about_the_rows_where_the_code_says_nothing_else(self) -> None:
        words = "Division by zero: while pushing to view default.per_minute (3f2a). (ILLEGAL_DIVISION)"
        assert type(from_server(153, words)) is RowRefused

    @pytest.mark.parametrize(
        ("code", "expected"), [(241, StoreUnavailable), (60, StoreMisconfigured), (469, RowRefused)]
    )
    def test_of_a_view_is_judged_by_its_code_first(self, code: int, expected: type[StoreError]) -> None:
        assert type(from_server(code, "words: while pushing to view default.per_minute")) is expected


class TestWhatTheDriverSays:
    @pytest.mark.parametrize(
        ("error", "expected", "code"),
        [
            (driver.NetworkError("Connection refused (localhost:9000)"), StoreUnavailable, 210),
            (driver.SocketTimeoutError("timed out (localhost:9000)"), StoreUnavailable, 209),
            (driver.UnexpectedPacketFromServerError("expected Hello, got Pong"), StoreUnavailable, 102),
            (driver.UnknownPacketFromServerError("Unknown packet 72"), StoreUnavailable, 100),
            (driver.TypeMismatchError("Column metric_value: required argument is not a float"), RowRefused, 53),
            (driver.TooLargeStringSize("too large"), RowRefused, 131),
            (driver.CannotParseUuidError("Cannot parse uuid 'x'"), RowRefused, 376),
            (driver.CannotParseDomainError("Cannot parse IPv4 'x'"), RowRefused, 441),
            (driver.UnknownTypeError("Unknown type Variant"), UnknownStoreError, 50),
            (driver.LogicalError("logic"), UnknownStoreError, 49),
            (driver.ChecksumDoesntMatchError("checksum"), UnknownStoreError, 40),
            (driver.UnknownCompressionMethod("method"), UnknownStoreError, 89),
            (driver.PartiallyConsumedQueryError(), UnknownStoreError, -1),
        ],
    )
    def test_is_judged_by_the_code_of_its_exception(
        self, error: driver.Error, expected: type[StoreError], code: int
    ) -> None:
        translated = translate(error)
        assert type(translated) is expected
        assert (translated.code, translated.name, translated.row) == (code, type(error).__name__, None)
        assert str(translated)

    def test_covers_every_exception_that_it_has(self) -> None:
        kinds = {kind for kind in vars(driver).values() if isinstance(kind, type) and issubclass(kind, driver.Error)}
        assert len(kinds) == 15, "13 above, the base class, and the server's"

    def test_of_a_certificate_while_connecting_is_a_configuration(self) -> None:
        # What the driver makes of ssl.SSLCertVerificationError.
        words = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (localhost:9440)"
        error = translate(driver.NetworkError(words))
        assert type(error) is StoreMisconfigured
        assert error.name == "SSLCertVerificationError"


class TestWhatTheNetworkSays:
    @pytest.mark.parametrize(
        "error",
        [
            BrokenPipeError(32, "Broken pipe"),
            ConnectionResetError(104, "Connection reset by peer"),
            ConnectionRefusedError(111, "Connection refused"),
            TimeoutError("timed out"),
            socket.gaierror(-2, "Name or service not known"),
            OSError(113, "No route to host"),
            ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
            EOFError("Unexpected EOF while reading bytes"),
        ],
    )
    def test_is_an_outage(self, error: Exception) -> None:
        translated = translate(error)
        assert type(translated) is StoreUnavailable
        assert (translated.name, translated.code) == (type(error).__name__, None)
        assert str(translated)

    def test_has_words_even_where_the_exception_has_none(self) -> None:
        assert str(translate(EOFError())) == "connection closed"

    def test_of_a_certificate_is_a_configuration(self) -> None:
        error = translate(ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate"))
        assert type(error) is StoreMisconfigured


class TestWhatEncodingSays:
    @pytest.mark.parametrize(
        "error",
        [
            UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
            ValueError("year 0 is out of range"),
            OverflowError("int too large to convert to float"),
        ],
    )
    def test_is_about_the_rows(self, error: Exception) -> None:
        translated = translate(error)
        assert type(translated) is RowRefused
        assert (translated.name, translated.code, translated.row) == (type(error).__name__, None, None)
        assert str(translated).startswith("cannot be encoded: ")
