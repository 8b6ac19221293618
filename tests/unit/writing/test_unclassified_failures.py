"""What unclassified failures show: an invalid row, or a store that is down."""

from tests.support.events import block_of, many_events
from worker.writing.splitting import Piece, WriteCounter
from worker.writing.unclassified_failures import UnclassifiedFailures


def piece_of(rows: int = 1, *, is_reserved: bool = False) -> Piece:
    return Piece(block_of(many_events(rows), ["cost_usd"]), is_reserved=is_reserved)


def fail(failures: UnclassifiedFailures, *pieces: Piece) -> None:
    for piece in pieces:
        failures.record_failure()
        failures.record_suspect(piece)


def test_failures_without_a_write_in_between_count_once() -> None:
    writes, suspect = WriteCounter(), piece_of()
    failures = UnclassifiedFailures(writes)
    for _ in range(2):
        fail(failures, suspect, suspect)
        writes.record_write()
    assert not failures.should_refuse(suspect)
    fail(failures, suspect)
    assert failures.should_refuse(suspect)
    assert failures.failed_alone == {"cost_usd": 1}


def test_store_is_down_after_twenty_failures_of_new_pieces_until_a_write() -> None:
    writes, suspects = WriteCounter(), [piece_of() for _ in range(3)]
    failures = UnclassifiedFailures(writes)
    fail(failures, *suspects)
    for _ in range(19):
        failures.record_failure()
    states = [failures.is_store_down]  # three of the 22 failures are of suspects
    failures.record_failure()
    states.append(failures.is_store_down)
    writes.record_write()
    states.append(failures.is_store_down)
    assert states == [False, True, False]


def test_reserved_piece_is_next_when_the_store_seems_down() -> None:
    failures = UnclassifiedFailures(WriteCounter())
    ordinary, reserved, suspect = pieces = piece_of(2), piece_of(is_reserved=True), piece_of()
    fail(failures, suspect)
    assert failures.choose_next(pieces) is ordinary
    for _ in range(20):
        failures.record_failure()
    assert failures.choose_next(pieces) is reserved
    assert failures.choose_next([suspect, ordinary]) is ordinary


def test_block_waits_when_only_suspects_are_left_since_the_last_write() -> None:
    writes, suspect = WriteCounter(), piece_of()
    failures = UnclassifiedFailures(writes)
    fail(failures, suspect)
    assert failures.must_wait([suspect])
    assert not failures.must_wait([suspect, piece_of()])
    writes.record_write()
    assert not failures.must_wait([suspect])


def test_failures_before_a_wait_do_not_count_after_the_next_write() -> None:
    failures = UnclassifiedFailures(WriteCounter())
    fail(failures, piece_of())
    failures.record_write()
    assert failures.failed_alone == {"cost_usd": 1}
    failures.record_wait()
    failures.record_write()
    assert not failures.failed_alone
