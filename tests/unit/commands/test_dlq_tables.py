"""Dead letters as tables and as JSON: complete, and without control sequences of a terminal."""

import json
import re
from base64 import b64decode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.cookbook import recipes
from tests.support import strategies
from tests.support.events import Record, event, read
from tests.unit.dead_letters.builders import WORKER, parse
from worker.commands import dlq_causes, dlq_tables
from worker.commands.command_line import print_json
from worker.core.errors import ErrorClass
from worker.core.model import Edit, Failed, FailedMetric, Failure
from worker.dead_letters import documents
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.history import Operation
from worker.dead_letters.record_format import encode_dead_letter
from worker.dead_letters.settlement import Action, Settlement
from worker.dead_letters.statistics import CauseStatistics, DeadLetterStatistics

HOSTILE = "\x1b[31m\x9b2J\x07\u202e[bold]\r\n\x00\x7f\ud800"


def collect(*letters: DeadLetter) -> DeadLetterStatistics:
    statistics = DeadLetterStatistics()
    for letter in letters:
        statistics.visit(letter)
    return statistics


def test_tables_contain_no_control_sequence_or_markup(capsys: pytest.CaptureFixture[str]) -> None:
    source = Record(None, key=b"\x1b]0;title\x07", headers=(("\x1b[2J", b"\xff\x1b"),))
    hostile_event = read(event(agent_name="[red]\x1b[31m", user_id="\x9b"))._replace(record=source)
    failure = Failure(ErrorClass.ROW_REFUSED, "E", HOSTILE, 469)
    letter = parse(encode_dead_letter(FailedMetric(hostile_event, HOSTILE, 1.0, failure, 1), WORKER, 0))
    dlq_tables.print_in_full(letter, settled=True)
    settlement = Settlement(Action.EDITED, "1", HOSTILE, 0, HOSTILE, HOSTILE, edit=HOSTILE)
    edited = letter._replace(edit=Edit(HOSTILE, HOSTILE, letter.position, "0" * 64))
    dlq_tables.print_in_full(edited, settled=False)
    dlq_tables.print_in_full(letter, settlement)
    dlq_tables.print_history([Operation(settlement), Operation(settlement._replace(outcome={HOSTILE: 7}), letters=7)])
    dlq_tables.print_list([letter, ForeignRecord(letter.record, HOSTILE)])
    dlq_tables.print_in_full(ForeignRecord(letter.record, HOSTILE), settled=False)
    dlq_tables.print_statistics(collect(letter), 10)
    dlq_tables.print_statistics(DeadLetterStatistics(), 10)
    causes = CauseStatistics()
    for item in (letter, ForeignRecord(letter.record, HOSTILE)):
        causes.visit(item)
    dlq_causes.print_causes(causes, 10)
    dlq_causes.print_causes(CauseStatistics(), 10)
    out = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "[bold]" in out, "rich has read markup in the text of others"
    assert "\\x1b[31m" in out


def test_letter_is_printed_with_all_facts_and_advice(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "Constraint `x` is violated", 469)
    failed = FailedMetric(read(event()), "cost_usd", 5e-324, failure, 3)
    dlq_tables.print_in_full(parse(encode_dead_letter(failed, WORKER, 0)), settled=False)
    out = " ".join(capsys.readouterr().out.split())
    facts = ("2:17", "VIOLATED_CONSTRAINT (code 469)", "Constraint `x`", "cost_usd", "triage", "5e-324", "offset 0")
    for fact in (*facts, ADVICE[ErrorClass.ROW_REFUSED].to_do.split(".")[0]):
        assert fact in out


def test_record_that_is_no_dead_letter_is_printed_with_what_has_settled_it(capsys: pytest.CaptureFixture[str]) -> None:
    item = ForeignRecord(Record(b"x"), "it has no header dlq.kind")
    discarded = Settlement(Action.DISCARDED, "1", "ada@host", 0, "a test", "dlq discard")
    assert documents.describe_in_full(item, settled=False)["settled"] is False
    document = documents.describe_in_full(item, discarded)
    assert (document["settled"], document["settlement"]["why"]) == (True, "a test")  # type: ignore[index]
    dlq_tables.print_in_full(item, settled=False)
    assert "settled" not in capsys.readouterr().out
    dlq_tables.print_in_full(item, discarded)
    assert "settled: discarded by ada@host at 1970-01-01 00:00:00 UTC: a test" in capsys.readouterr().out


def test_statistics_print_the_rest_and_an_empty_name(capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(ErrorClass.INVALID_METRIC, "InvalidName", "m")
    letters = [
        parse(encode_dead_letter(FailedMetric(read(event()), name, 1, failure, 1), WORKER, 0))._replace(replays=1)
        for name in ("", "", "a", "b")
    ]
    dlq_tables.print_statistics(collect(*letters), 1)
    lines = [" ".join(line.strip("│ ").split()) for line in capsys.readouterr().out.splitlines()]
    assert "(empty) │ 2" in lines
    assert "others │ 2" in lines
    assert "4 of them replayed before, at most 1 times" in lines


@given(st.one_of(strategies.failed_metrics, strategies.failed_events), st.binary(max_size=9))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_is_one_ascii_line_with_every_byte(capsys: pytest.CaptureFixture[str], failed: Failed, key: bytes) -> None:
    letter = parse(encode_dead_letter(failed, WORKER, 0)._replace(key=key))
    print_json(documents.describe_in_full(letter, settled=False))
    line = capsys.readouterr().out
    assert line.isascii()
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    document = json.loads(line)
    assert decode(document["key"]) == key
    assert decode(document["value"]) == letter.record.value
    assert document["error_class"] == failed.failure.error_class


def decode(value: dict[str, str]) -> bytes:
    return value["text"].encode() if "text" in value else b64decode(value["base64"])


@given(st.one_of(strategies.failed_metrics, strategies.failed_events))
def test_json_of_the_list_has_every_column_of_the_documented_table(failed: Failed) -> None:
    columns = re.findall(r"(\w+) (?:Nullable\()?(?:String|UUID)", recipes()["dead_letters_table"].text)
    assert len(columns) == 7
    assert set(columns) <= documents.describe_in_short(parse(encode_dead_letter(failed, WORKER, 0))).keys()
