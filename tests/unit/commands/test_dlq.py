"""What people and programs see of dead letters: everything, and never a control sequence."""

import json
import re
from base64 import b64decode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.cookbook import recipes
from tests.support.events import Record, event, read
from tests.support.fakes import KeptRecord
from worker.commands import dlq_tables
from worker.commands.command_line import print_json
from worker.core.errors import ErrorClass
from worker.core.escaping import escape_bytes, escape_control_characters, format_time
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure
from worker.dead_letters import document as letter_document
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo, dead_letter
from worker.dead_letters.letter import DeadLetter, ForeignRecord, read_letter
from worker.dead_letters.statistics import DeadLetterStatistics, TopCounter

HEAD = WorkerInfo("1.2.3", "default.execution_metrics")
HOSTILE = "\x1b[31m\x9b2J\x07\u202e[bold]\r\n\x00\x7f\ud800"


def standing(letter: EncodedDeadLetter, offset: int = 0) -> DeadLetter:
    found = read_letter(KeptRecord("dlq", 0, offset, letter.timestamp, letter.key, letter.value, tuple(letter.headers)))
    assert isinstance(found, DeadLetter)
    return found


def hostile() -> DeadLetter:
    failed = FailedMetric(
        read(event(agent_name="[red]\x1b[31m", user_id="\x9b")),
        HOSTILE,
        1.0,
        Failure(ErrorClass.ROW_REFUSED, "E", HOSTILE, 469),
        1,
    )
    source = Record(None, key=b"\x1b]0;title\x07", headers=(("\x1b[2J", b"\xff\x1b"),))
    return standing(dead_letter(failed._replace(event=failed.event._replace(record=source)), HEAD, 0))


def is_plain(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


@given(st.text(st.characters()))
def test_text_is_shown_on_one_line_without_controls_and_nothing_is_lost(text: str) -> None:
    seen = escape_control_characters(text)
    assert seen.isprintable()
    assert seen.encode("latin-1", "backslashreplace").decode("unicode_escape") == text


@given(st.binary())
def test_bytes_are_shown_without_controls(value: bytes) -> None:
    assert escape_bytes(value).isprintable()


def test_what_is_long_is_cut() -> None:
    assert escape_control_characters("abcdef", 4) == "abc…"
    assert escape_bytes(b"\xffabc", 2) == "\\xffa…"


@pytest.mark.parametrize("at", [0, -1, 10**18, -(10**18)])
def test_any_number_is_an_instant_or_itself(at: int) -> None:
    assert format_time(at).isprintable()


class TestTables:
    def test_show_nothing_that_a_terminal_would_obey(self, capsys: pytest.CaptureFixture[str]) -> None:
        letter = hostile()
        tally = DeadLetterStatistics()
        tally.add(letter)
        dlq_tables.print_letter(letter, settled=True)
        dlq_tables.print_list([letter, ForeignRecord(letter.record, HOSTILE)])
        dlq_tables.print_foreign(ForeignRecord(letter.record, HOSTILE))
        dlq_tables.print_statistics(tally, 10)
        dlq_tables.print_statistics(DeadLetterStatistics(), 10)
        out = capsys.readouterr().out
        assert is_plain(out)
        assert "[bold]" in out, "what looks like markup is text"
        assert "\\x1b[31m" in out

    def test_show_has_everything(self, capsys: pytest.CaptureFixture[str]) -> None:
        failure = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "Constraint `x` is violated", 469)
        failed = FailedMetric(read(event()), "cost_usd", 5e-324, failure, 3)
        dlq_tables.print_letter(standing(dead_letter(failed, HEAD, 0), offset=42), settled=False)
        out = " ".join(capsys.readouterr().out.split())
        for said in (
            "0:42",
            "VIOLATED_CONSTRAINT",
            "469",
            "Constraint `x`",
            "cost_usd",
            "triage",
            "5e-324",
            "offset 0",
        ):
            assert said in out
        assert ADVICE[ErrorClass.ROW_REFUSED].to_do.split(".")[0] in out


class TestDocuments:
    @given(st.one_of(strategies.failed_metrics, strategies.failed_events), st.binary(max_size=9))
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_are_one_line_of_ascii_and_give_every_byte_back(
        self, capsys: pytest.CaptureFixture[str], failed: Failed, key: bytes
    ) -> None:
        letter = standing(dead_letter(failed, HEAD, 0)._replace(key=key))
        print_json(letter_document.whole(letter, settled=False))
        line = capsys.readouterr().out
        assert line.isascii()
        assert line.count("\n") == 1
        assert line.rstrip("\n").isprintable()
        document = json.loads(line)
        assert _bytes(document["key"]) == key
        assert _bytes(document["value"]) == letter.record.value
        assert document["error_class"] == failed.failure.error_class

    @given(st.one_of(strategies.failed_metrics, strategies.failed_events))
    def test_a_list_has_every_column_of_the_cookbook_s_table(self, failed: Failed) -> None:
        columns = re.findall(r"(\w+) (?:Nullable\()?(?:String|UUID)", recipes()["dead_letters_table"].text)
        assert len(columns) == 7
        assert set(columns) <= letter_document.summary(standing(dead_letter(failed, HEAD, 0))).keys()

    def test_of_statistics_have_the_top_and_the_rest(self) -> None:
        tally = DeadLetterStatistics()
        for number in range(30):
            failure = Failure(ErrorClass.ROW_REFUSED, "E", "m", 469 if number else None)
            failed = FailedMetric(read(event()), f"m{number % 7}", 1, failure, 1)
            tally.add(standing(dead_letter(failed, HEAD, number * 3_600_000)))
        tally.add(
            standing(dead_letter(FailedEvent(Record(b"{"), Failure(ErrorClass.INVALID_EVENT, "E", "m")), HEAD, 0))
        )
        document = letter_document.statistics(tally, 2)
        assert (document["total"], document["oldest"]) == (31, "1970-01-01T00:00:00.000Z")
        assert document["by_class"] == {
            "top": [{"value": "row_refused", "count": 30}, {"value": "invalid_event", "count": 1}],
            "rest": 0,
        }
        assert document["by_code"] == {"top": [{"value": 469, "count": 29}, {"value": None, "count": 2}], "rest": 0}
        by_metric = document["by_metric"]
        assert isinstance(by_metric, dict)
        assert by_metric["rest"] == 31 - sum(entry["count"] for entry in by_metric["top"])


def _bytes(value: dict[str, str]) -> bytes:
    return value["text"].encode() if "text" in value else b64decode(value["base64"])


def test_counting_is_bounded_whatever_the_names() -> None:
    counted = TopCounter(distinct=3)
    for number in range(1_000):
        counted.add(str(number % 500))
    assert counted.most(10) == [("0", 2), ("1", 2), ("2", 2)]
    assert (counted.rest(10), counted.rest(1)) == (994, 998)


def test_every_class_has_advice() -> None:
    assert set(ADVICE) == set(ErrorClass)


def test_an_empty_name_is_another_thing_than_none(capsys: pytest.CaptureFixture[str]) -> None:
    tally = DeadLetterStatistics()
    failure = Failure(ErrorClass.INVALID_METRIC, "InvalidName", "m")
    tally.add(standing(dead_letter(FailedMetric(read(event()), "", 1, failure, 1), HEAD, 0)))
    tally.add(standing(dead_letter(FailedEvent(Record(b"{"), Failure(ErrorClass.INVALID_EVENT, "E", "m")), HEAD, 0)))
    document = letter_document.statistics(tally, 2)
    assert document["by_metric"] == {"top": [{"value": "", "count": 1}, {"value": None, "count": 1}], "rest": 0}
    dlq_tables.print_statistics(tally, 10)
    assert "(empty)" in capsys.readouterr().out
