"""What the client does that the driver does not."""

from io import BytesIO
from typing import Any

from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_int32, write_binary_uint8

from worker.clickhouse.client import BlockClient
from worker.clickhouse.errors import classify
from worker.clickhouse.failover import FailoverConnection
from worker.clickhouse.servers import RecentFailures, Server
from worker.core.outcome import OutcomeKind


def string(stream: Any, value: bytes) -> None:
    write_varint(len(value), stream)
    stream.write(value)


class Stream(BytesIO):
    """As the driver's own buffers: it reads single bytes as numbers."""

    def read_one(self) -> int:
        return self.read(1)[0]


def exception_packet(message: bytes) -> Stream:
    stream = Stream()
    write_binary_int32(6, stream)
    string(stream, b"DB::Exception")
    string(stream, b"DB::Exception: " + message)
    string(stream, b"0. somewhere")
    write_binary_uint8(0, stream)
    stream.seek(0)
    return stream


def test_exception_whose_text_is_cut_within_a_character_keeps_its_code() -> None:
    connection = BlockClient([Server("localhost", 9000)], RecentFailures()).connection
    assert isinstance(connection, FailoverConnection)
    connection.fin = exception_packet("Cannot parse text: größe".encode()[:-2])
    outcome = classify(connection.receive_exception(), 0.1)
    assert (outcome.kind, outcome.code, outcome.name) == (OutcomeKind.REFUSED, 6, "CANNOT_PARSE_TEXT")
    assert outcome.message == "Cannot parse text: grö\ufffd."
