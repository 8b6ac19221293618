"""The outcome that each error of ClickHouse, of its driver and of the network has."""

import socket
import ssl

import pytest
from clickhouse_driver import errors as driver

from worker.clickhouse.error_codes import CODES
from worker.clickhouse.errors import classify, classify_server_error
from worker.core.outcome import Constraint, OutcomeKind

REFUSED = OutcomeKind.REFUSED
TOO_LARGE = OutcomeKind.TOO_LARGE
UNAVAILABLE = OutcomeKind.UNAVAILABLE
MISCONFIGURED = OutcomeKind.MISCONFIGURED
UNCLASSIFIED = OutcomeKind.UNCLASSIFIED
CUTTING_CODES = {
    REFUSED: {6, 25, 26, 27, 38, 41, 69, 70, 72, 117, 128, 130, 131, 153, 190, 321, 346, 349, 366, 376, 395, 407, 427}
    | {441, 467, 469, 490, 563, 621, 632, 645, 675, 676, 691},
    TOO_LARGE: {158, 160, 241, 307, 396},
}  # fmt: skip


@pytest.mark.parametrize("kind", CUTTING_CODES)
def test_no_other_codes_cut_a_block_at_once(kind: OutcomeKind) -> None:
    assert {code for code, classified in CODES.items() if classified.kind is kind} == CUTTING_CODES[kind]


class TestServerErrors:
    @pytest.mark.parametrize("code", CODES)
    def test_kind_name_and_message_follow_from_the_code(self, code: int) -> None:
        outcome = classify(driver.ServerException("DB::Exception: words.", code))
        advice = "; see CLICKHOUSE_USER and CLICKHOUSE_PASSWORD" if code in (192, 193, 194, 516) else "."
        assert outcome == (CODES[code].kind, CODES[code].name, f"words{advice}", code, None, None)

    def test_stack_trace_is_removed(self) -> None:
        message = "DB::Exception: Too many parts. (TOO_MANY_PARTS). Stack trace:\n\n0. DB::Exception::Exception @ 0x1\n"
        assert classify(driver.ServerException(message, 252)).message == "Too many parts. (TOO_MANY_PARTS)."

    def test_code_without_a_class_is_unclassified_and_named_by_the_message(self) -> None:
        outcome = classify_server_error(4_711, "Something new: while executing (QUITE_NEW) (version 26.9)")
        assert (outcome.kind, outcome.code, outcome.name) == (UNCLASSIFIED, 4_711, "QUITE_NEW")

    def test_code_without_a_class_and_without_a_name_is_named_by_its_number(self) -> None:
        assert classify_server_error(4_711, "something").name == "CODE_4711"

    @pytest.mark.parametrize(
        ("code", "message", "kind"),
        [
            (252, "Too many partitions for single INSERT block (more than 100)", MISCONFIGURED),
            (454, "decrypt failed: while executing 'FUNCTION decrypt'", UNCLASSIFIED),
            (454, "SSL connection unexpectedly closed", UNAVAILABLE),
            (1001, "std::exception. filesystem error: cannot rename: No space left on device", UNAVAILABLE),
            (1001, "std::exception. Should start with 'POINT'", UNCLASSIFIED),
            (252, "Too many parts (3000 with average size of 1 KiB) in table", UNAVAILABLE),
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

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (241, TOO_LARGE),
            (60, MISCONFIGURED),
            (252, UNAVAILABLE),
            (395, REFUSED),
            (49, UNCLASSIFIED),
            (4_711, UNCLASSIFIED),
        ],
    )
    def test_error_in_a_view_is_classified_by_its_code_only(self, code: int, kind: OutcomeKind) -> None:
        assert classify_server_error(code, "words: while pushing to view default.per_minute (3f2a)").kind is kind


class TestConstraints:
    def test_row_is_numbered_from_1_by_the_server_and_from_0_in_the_outcome(self) -> None:
        message = (
            "DB::Exception: Constraint `not_negative` for table default.execution_metrics (3f2a) is violated at row 3."
            " Expression: (metric_value >= 0). Column values: metric_value = -1. (VIOLATED_CONSTRAINT)"
        )
        outcome = classify(driver.ServerException(message, 469))
        assert (outcome.row, outcome.code, outcome.name) == (2, 469, "VIOLATED_CONSTRAINT")

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
    def test_constraint_is_recognized_whatever_the_row_holds(
        self, prefix: str, expression: str, values: str, name: str
    ) -> None:
        what = f"Constraint {name} for table default.execution_metrics"
        outcome = classify_server_error(
            469,
            f"{prefix}{what} (3f2a) is violated at row 3. "
            f"Expression: ({expression}). Column values: {values}. (VIOLATED)",
        )
        violated = f"{what} is violated. Expression: ({expression})."
        assert outcome.constraint == Constraint("default.execution_metrics", expression, violated)
        assert outcome.row == 2

    def test_constraint_is_the_same_on_every_shard(self) -> None:
        first, second = (
            classify_server_error(
                469,
                f"Received from 127.0.0.1:{port}. DB::Exception: Constraint `c` for table d.t_local ({uuid}) "
                "is violated at row 1. Expression: (a > 9). Column values: a = 1. (VIOLATED_CONSTRAINT)",
            ).constraint
            for port, uuid in ((9001, "3f2a"), (9002, "77b0"))
        )
        assert first == second
        assert first is not None
        assert (first.table, first.expression) == ("d.t_local", "a > 9")
        assert "127.0.0.1" not in first.violated

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
        ],
        ids=["with a secret in it", "of no row"],
    )
    def test_constraint_that_cannot_be_evaluated_is_not_named(self, message: str) -> None:
        outcome = classify_server_error(469, message)
        assert (outcome.kind, outcome.constraint, outcome.row) == (REFUSED, None, None)

    @pytest.mark.parametrize("code", [395, 321, 4_711])
    def test_other_codes_name_no_constraint(self, code: int) -> None:
        message = "Constraint `c` for table d.t (1) is violated at row 1. Expression: (a > 9). Column values: a = 1."
        outcome = classify_server_error(code, message)
        assert (outcome.constraint, outcome.row) == (None, None)

    def test_row_in_another_error_s_message_is_not_taken(self) -> None:
        assert classify(driver.ServerException("DB::Exception: Value at row 3 is out of range", 321)).row is None


class TestDriverErrors:
    @pytest.mark.parametrize(
        ("error", "kind", "code"),
        [
            (driver.NetworkError("Connection refused (localhost:9000)"), UNAVAILABLE, 210),
            (driver.SocketTimeoutError("timed out (localhost:9000)"), UNAVAILABLE, 209),
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
        outcome = classify(error)
        assert (outcome.kind, outcome.code, outcome.name) == (kind, code, type(error).__name__)
        assert (outcome.constraint, outcome.row) == (None, None)
        assert outcome.message

    def test_every_exception_of_the_driver_is_tested(self) -> None:
        kinds = {kind for kind in vars(driver).values() if isinstance(kind, type) and issubclass(kind, driver.Error)}
        assert len(kinds) == 15, "13 above, the base class, and the server's"

    def test_untrusted_certificate_while_connecting_is_misconfigured(self) -> None:
        # What the driver makes of ssl.SSLCertVerificationError.
        words = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate (localhost:9440)"
        outcome = classify(driver.NetworkError(words))
        assert (outcome.kind, outcome.name) == (MISCONFIGURED, "SSLCertVerificationError")

    @pytest.mark.parametrize(
        "words", ["Connection reset by peer", "Broken pipe", "EOF occurred in violation of protocol"]
    )
    def test_closed_connection_is_unavailable_and_points_to_the_tls_settings(self, words: str) -> None:
        outcome = classify(driver.NetworkError(f"{words} (localhost:9440)"))
        assert (outcome.kind, outcome.name, outcome.code) == (UNAVAILABLE, "NetworkError", 210)
        assert words in outcome.message
        assert "CLICKHOUSE_SECURE" in outcome.message
        assert "CLICKHOUSE_CERT_FILE" in outcome.message


class TestNetworkErrors:
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
    def test_network_error_is_unavailable(self, error: Exception) -> None:
        outcome = classify(error)
        assert (outcome.kind, outcome.name, outcome.code) == (UNAVAILABLE, type(error).__name__, None)
        assert outcome.message

    def test_exception_without_a_message_gets_one(self) -> None:
        assert classify(EOFError()).message == "connection closed"

    def test_untrusted_certificate_is_misconfigured(self) -> None:
        outcome = classify(ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate"))
        assert outcome.kind is MISCONFIGURED

    def test_answer_that_is_not_text_is_unavailable(self) -> None:
        assert classify(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")).kind is UNAVAILABLE


class TestEncodingErrors:
    @pytest.mark.parametrize(
        "error",
        [
            UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
            ValueError("year 0 is out of range"),
            OverflowError("int too large to convert to float"),
        ],
    )
    def test_value_that_cannot_be_encoded_is_refused(self, error: Exception) -> None:
        outcome = classify(error)
        assert (outcome.kind, outcome.name, outcome.code) == (REFUSED, type(error).__name__, None)
        assert (outcome.constraint, outcome.row) == (None, None)
        assert outcome.message.startswith("cannot be encoded: ")
