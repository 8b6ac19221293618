"""The outcome that each error of ClickHouse, of its driver and of the network has."""

import socket
import ssl

import pytest
from clickhouse_driver import errors as driver

from worker.clickhouse.error_codes import CODES
from worker.clickhouse.errors import classify, classify_server_error
from worker.core.outcome import Constraint, Outcome, OutcomeKind

REFUSED = OutcomeKind.REFUSED
UNAVAILABLE = OutcomeKind.UNAVAILABLE
MISCONFIGURED = OutcomeKind.MISCONFIGURED
UNCLASSIFIED = OutcomeKind.UNCLASSIFIED


def outcome_of(error: Exception) -> Outcome:
    return classify(error, seconds=3.04)


class TestServerErrors:
    @pytest.mark.parametrize("code", [0, 6, 60, 192, 193, 194, 241, 252, 469, 516])
    def test_kind_name_and_message_follow_from_the_code(self, code: int) -> None:
        outcome = outcome_of(driver.ServerException("DB::Exception: words.", code))
        advice = "; see CLICKHOUSE_USER and CLICKHOUSE_PASSWORD" if code in (192, 193, 194, 516) else "."
        assert outcome == Outcome(CODES[code].kind, CODES[code].name, f"words{advice}", code)

    def test_stack_trace_is_removed(self) -> None:
        message = "DB::Exception: Too many parts. (TOO_MANY_PARTS). Stack trace:\n\n0. DB::Exception::Exception @ 0x1\n"
        assert outcome_of(driver.ServerException(message, 252)).message == "Too many parts. (TOO_MANY_PARTS)."

    @pytest.mark.parametrize(
        ("message", "name"),
        [("Something new: while executing (QUITE_NEW) (version 26.9)", "QUITE_NEW"), ("something", "CODE_4711")],
    )
    def test_unknown_code_is_unclassified_and_named_by_the_message_or_its_number(self, message: str, name: str) -> None:
        outcome = classify_server_error(4_711, message)
        assert (outcome.kind, outcome.code, outcome.name) == (UNCLASSIFIED, 4_711, name)

    @pytest.mark.parametrize(
        ("code", "message", "kind"),
        [
            (252, "Too many partitions for single INSERT block (more than 100)", MISCONFIGURED),
            (252, "Too many parts (3000 with average size of 1 KiB) in table", UNAVAILABLE),
            (454, "decrypt failed: while executing 'FUNCTION decrypt'", UNCLASSIFIED),
            (454, "SSL connection unexpectedly closed", UNAVAILABLE),
            (1001, "std::exception. filesystem error: cannot rename: No space left on device", UNAVAILABLE),
            (1001, "std::exception. Should start with 'POINT'", UNCLASSIFIED),
            (32, "Attempt to read after eof: while executing 'FUNCTION toUInt8OrZero(a)'", UNCLASSIFIED),
            (32, "Attempt to read after eof", UNAVAILABLE),
            (243, "Cannot reserve memory: while executing 'FUNCTION rightPad(a, b)'", UNCLASSIFIED),
            (243, "Cannot reserve 1.00 MiB, not enough space", UNAVAILABLE),
        ],
    )
    def test_code_with_two_meanings_is_classified_by_its_message(
        self, code: int, message: str, kind: OutcomeKind
    ) -> None:
        outcome = classify_server_error(code, message)
        assert (outcome.kind, outcome.name, outcome.code) == (kind, CODES[code].name, code)

    @pytest.mark.parametrize("code", [241, 60, 252, 395, 49])
    def test_error_in_a_view_is_classified_by_its_code_only(self, code: int) -> None:
        outcome = classify_server_error(code, "words: while pushing to view default.per_minute (3f2a)")
        assert outcome.kind is CODES[code].kind


class TestConstraints:
    @pytest.mark.parametrize("prefix", ["", "Received from 127.0.0.1:9001. DB::Exception: "], ids=["own", "shard"])
    @pytest.mark.parametrize(
        "expression", ["metric_value >= 0", "((a) > 1) AND (length(concat(b, ')')) < 9)", "position(a, '). b') = 0"]
    )
    @pytest.mark.parametrize(
        "values",
        [
            "metric_value = -1",
            "a = '). Column values: is violated at row 7'",
            "a = 'while pushing to view'",
            "DB::Exception: Constraint d for table d.u (1) is violated at row 9. Expression: (1). Column values: ",
        ],
    )
    @pytest.mark.parametrize("name", ["not_negative", "`not_negative`", "`is not \\` negative`"])
    def test_constraint_and_row_are_parsed_whatever_the_values_of_the_row(
        self, prefix: str, expression: str, values: str, name: str
    ) -> None:
        what = f"Constraint {name} for table default.execution_metrics"
        outcome = classify_server_error(
            469,
            f"{prefix}{what} (3f2a) is violated at row 3. "
            f"Expression: ({expression}). Column values: {values}. (VIOLATED)",
        )
        message_of_any_row = f"{what} is violated. Expression: ({expression})."
        assert outcome.constraint == Constraint("default.execution_metrics", expression, message_of_any_row)
        assert outcome.row == 2, "the server counts from 1"

    @pytest.mark.parametrize(
        ("code", "rest"),
        [
            (469, " at row 1. Expression: (HMAC('md5', a, '[HIDDEN]') = b). Column values: a = 1, b = 2."),
            (469, ", because it is a constant expression returning 0. Expression: (0)."),
            *((code, " at row 1. Expression: (a > 9). Column values: a = 1.") for code in (395, 321, 4_711)),
        ],
    )
    def test_constraint_with_a_secret_or_of_no_row_or_of_another_code_is_not_named(self, code: int, rest: str) -> None:
        outcome = classify_server_error(code, f"Constraint `c` for table d.t (3f2a) is violated{rest}")
        assert (outcome.constraint, outcome.row) == (None, None)


class TestDriverErrors:
    @pytest.mark.parametrize(
        ("error", "kind", "code"),
        [
            (driver.NetworkError("Connection refused (localhost:9000)"), UNAVAILABLE, 210),
            (driver.SocketTimeoutError("(localhost:9000)"), UNAVAILABLE, 209),
            (driver.UnexpectedPacketFromServerError("expected Hello, got Pong"), UNAVAILABLE, 102),
            (driver.UnknownPacketFromServerError("Unknown packet 72"), UNAVAILABLE, 100),
            (driver.ChecksumDoesntMatchError("checksum"), UNAVAILABLE, 40),
            (driver.TypeMismatchError("Column metric_value: required argument is not a float"), REFUSED, 53),
            (driver.TooLargeStringSize("too large"), REFUSED, 131),
            (driver.CannotParseUuidError("Cannot parse uuid 'x'"), REFUSED, 376),
            (driver.CannotParseDomainError("Cannot parse IPv4 'x'"), REFUSED, 441),
            (driver.UnknownTypeError("Unknown type Variant"), MISCONFIGURED, 50),
            (driver.UnknownCompressionMethod("method"), MISCONFIGURED, 89),
            (driver.LogicalError("logic"), UNCLASSIFIED, 49),
            (driver.PartiallyConsumedQueryError(), UNCLASSIFIED, -1),
        ],
    )
    def test_kind_follows_from_the_code_of_the_exception(
        self, error: driver.Error, kind: OutcomeKind, code: int
    ) -> None:
        outcome = outcome_of(error)
        assert (outcome.kind, outcome.code, outcome.name) == (kind, code, type(error).__name__)
        assert outcome.message

    def test_every_exception_of_the_driver_is_tested(self) -> None:
        kinds = {kind for kind in vars(driver).values() if isinstance(kind, type) and issubclass(kind, driver.Error)}
        assert len(kinds) == 15, "13 above, the base class, and the server's"

    @pytest.mark.parametrize(
        "words", ["Connection reset by peer", "Broken pipe", "EOF occurred in violation of protocol"]
    )
    def test_closed_connection_is_unavailable_and_points_to_the_tls_settings(self, words: str) -> None:
        outcome = outcome_of(driver.NetworkError(f"{words} (localhost:9440)"))
        assert (outcome.kind, outcome.name, outcome.code) == (UNAVAILABLE, "NetworkError", 210)
        for part in (words, "CLICKHOUSE_SECURE", "CLICKHOUSE_CERT_FILE"):
            assert part in outcome.message

    @pytest.mark.parametrize(
        "error",
        [
            driver.NetworkError("Connection refused (localhost:9000)"),
            driver.NetworkError("Name or service not known (clickhous:9000)"),
            driver.UnexpectedPacketFromServerError("Unexpected packet from server localhost:8123"),
        ],
    )
    def test_server_that_is_not_at_the_address_names_the_variables_of_the_address(self, error: driver.Error) -> None:
        assert outcome_of(error).message == f"{error}; see CLICKHOUSE_HOST and CLICKHOUSE_PORT"


class TestNetworkErrors:
    @pytest.mark.parametrize(
        "error",
        [
            BrokenPipeError(32, "Broken pipe"),
            ConnectionResetError(104, "Connection reset by peer"),
            ConnectionRefusedError(111, "Connection refused"),
            socket.gaierror(-2, "Name or service not known"),
            OSError(113, "No route to host"),
            ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
            EOFError("Unexpected EOF while reading bytes"),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),  # an answer that is not ClickHouse's
        ],
    )
    def test_network_error_is_unavailable(self, error: Exception) -> None:
        outcome = outcome_of(error)
        assert (outcome.kind, outcome.name, outcome.code) == (UNAVAILABLE, type(error).__name__, None)
        assert outcome.message

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (TimeoutError("timed out"), "TimeoutError: no answer in 3 s"),
            (
                driver.SocketTimeoutError("(localhost:9000)"),
                "SocketTimeoutError: no answer in 3 s; see CLICKHOUSE_HOST and CLICKHOUSE_PORT",
            ),
            (EOFError(), "EOFError: connection closed"),
        ],
    )
    def test_error_without_a_useful_message_gets_one(self, error: Exception, message: str) -> None:
        assert str(outcome_of(error)) == message

    @pytest.mark.parametrize(
        "error",
        [
            ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate"),
            # The same while the driver connects:
            driver.NetworkError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (localhost:9440)"),
        ],
    )
    def test_untrusted_certificate_is_misconfigured(self, error: Exception) -> None:
        outcome = outcome_of(error)
        assert (outcome.kind, outcome.name) == (MISCONFIGURED, "SSLCertVerificationError")


@pytest.mark.parametrize(
    "error",
    [
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        ValueError("year 0 is out of range"),
        OverflowError("int too large to convert to float"),
    ],
)
def test_value_that_cannot_be_encoded_is_refused(error: Exception) -> None:
    outcome = outcome_of(error)
    assert (outcome.kind, outcome.name, outcome.code) == (REFUSED, type(error).__name__, None)
    assert outcome.message.startswith("cannot be encoded: ")
