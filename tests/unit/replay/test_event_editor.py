"""What an expression makes of a document, in the real process, and what ends it."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.core.errors import SettingsError
from worker.replay.event_editor import EditFailed, EventEditor, InvalidExpression

Open = Callable[[str], EventEditor]


@pytest.fixture
def open_editor() -> Iterator[Open]:
    editors: list[EventEditor] = []

    def start(expression: str) -> EventEditor:
        editors.append(EventEditor(expression, "operator@host"))
        return editors[-1]

    yield start
    for editor in editors:
        editor.close()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (".b = 2", b'{"a":1,"b":2}'),
        (".b = 2 # a comment", b'{"a":1,"b":2}'),
        ("def twice: . * 2; .a |= twice", b'{"a":2}'),
        ('.a = ($ENV | has("PATH"))', b'{"a":false}'),
        (".a = (try error(1) catch .) | .b = 2", b'{"a":1,"b":2}'),
    ],
)
async def test_expression_makes_another_object(open_editor: Open, expression: str, expected: bytes) -> None:
    assert await open_editor(expression).edit(b'{"a":1}') == expected


async def test_numbers_that_the_expression_does_not_change_keep_all_digits(open_editor: Open) -> None:
    numbers = b'"a":9007199254740993,"b":-0.0,"c":18446744073709551615,"d":0.1,"e":1.10'
    editor = open_editor(".x = 1")
    assert await editor.edit(b"{" + numbers + b"}") == b"{" + numbers + b',"x":1}'


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("empty", "the expression yields nothing, not one object"),
        ("halt", "the expression yields nothing, not one object"),
        ("., .", "the expression yields several values, not one object"),
        ("while(true; .)", "the expression yields several values, not one object"),
        ('"x"', "the expression yields a string, not an object"),
        ("[.]", "the expression yields an array, not an object"),
        (".a", "the expression yields a number, not an object"),
        (".a == 1", "the expression yields a boolean, not an object"),
        ("null", "the expression yields null, not an object"),
        (".", "the expression changes nothing"),
        (".a = 1.0", "the expression changes nothing"),
        (".a = infinite", "the expression yields infinity or NaN, which JSON does not have"),
        (".a = [-1e308 * 10]", "the expression yields infinity or NaN, which JSON does not have"),
        (".a = {b: nan}", "the expression yields infinity or NaN, which JSON does not have"),
        (".a.b = 1", "Cannot index number with string (…)"),
        (".a + {}", "number (…) and object (…) cannot be added"),
        ('error("wrong unit")', "wrong unit"),
        ("input", "break"),
    ],
)
async def test_other_results_are_errors(open_editor: Open, expression: str, reason: str) -> None:
    editor = open_editor(expression)
    for _ in range(2):
        with pytest.raises(EditFailed) as caught:
            await editor.edit(b'{"a":1}')
        assert str(caught.value) == reason


@pytest.mark.parametrize(
    "expression", [".a +", "", ".) | (.", 'include "x"; .', "x" * 2_001, "\0", "\udcff", "no_such_name", '"x" * 1e9']
)
def test_expression_with_wrong_syntax_is_refused(open_editor: Open, expression: str) -> None:
    with pytest.raises(InvalidExpression):
        open_editor(expression)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("if .a then last(range(1e12)) else .b = 1 end", "the expression takes more than 2 s of CPU"),
        ("if .a then .c = (.a | tostring) * 1e9 else .b = 1 end", "the expression takes more than 256 MiB of memory"),
        ("if .a then .a = ([range(1e9)]) else .b = 1 end", "the expression takes more than"),
    ],
)
async def test_expression_without_an_end_fails_for_its_document_alone(
    open_editor: Open, expression: str, reason: str
) -> None:
    editor = open_editor(expression)
    with pytest.raises(EditFailed, match=reason):
        await editor.edit(b'{"a":1}')
    assert await editor.edit(b"{}") == b'{"b":1}'


async def test_expression_that_ends_the_process_again_and_again_is_not_tried_any_more(open_editor: Open) -> None:
    editor, reasons = open_editor(".a * 1e9"), list[str]()
    for _ in range(12):
        with pytest.raises(EditFailed) as caught:
            await editor.edit(b'{"a":"x"}')
        reasons.append(str(caught.value))
    assert len({*reasons[:10]}) == len({*reasons[10:]}) == 1
    assert reasons[-1].startswith("not tried")


async def test_document_of_another_form_fails_alone(open_editor: Open) -> None:
    editor = open_editor(".b = 1")
    for document in (b"{", b'"\\ud800"', b"[1]"):
        with pytest.raises(EditFailed):
            await editor.edit(document)
    assert await editor.edit(b"{}") == b'{"b":1}'


def test_process_ends_with_the_editor(open_editor: Open) -> None:
    editor = open_editor(".")
    editor.close()
    with pytest.raises(ProcessLookupError):
        os.kill(editor._process.pid, signal.SIGKILL)


def test_missing_jq_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without the packages of the environment
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(SettingsError, match=r"pip install 'execution-metrics-worker\[edit\]'"):
        EventEditor(".", "operator@host")


async def test_process_that_cannot_be_started_again_ends_the_edits_but_not_the_replay(
    open_editor: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = open_editor(".b = 1")
    editor._process.kill()
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    for _ in range(2):
        with pytest.raises(EditFailed):
            await editor.edit(b"{}")
