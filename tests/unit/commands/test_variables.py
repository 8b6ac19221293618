"""`metrics-worker variables`: the table of the environment variables."""

import json

import pytest
from click.testing import CliRunner

from tests.support.terminal import Terminal
from worker.cli import cli
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable


def test_every_variable_is_one_json_line_where_there_is_no_terminal() -> None:
    lines = [json.loads(line) for line in CliRunner().invoke(cli, ["variables"]).output.splitlines()]
    assert [line["variable"] for line in lines] == [name.upper() for name in Settings.model_fields]
    assert {line["variable"] for line in lines if line["required"]} == set(RequiredVariable)
    by_name = {line["variable"]: line for line in lines}
    assert by_name["CLICKHOUSE_PASSWORD"]["file"] == "CLICKHOUSE_PASSWORD_FILE"
    assert by_name["RETRY_ATTEMPTS"]["default"] == str(Settings.model_fields["retry_attempts"].default)
    assert by_name["LOG_FORMAT"]["allowed"] == "json or console"


def test_wrong_variable_does_not_prevent_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_PORT", "none")
    assert CliRunner().invoke(cli, ["variables"]).exit_code == 0


@pytest.mark.parametrize("columns", [60, 120])
def test_table_fits_the_terminal_and_keeps_names_whole(columns: int) -> None:
    with Terminal({}, "variables", columns=columns) as terminal:
        assert terminal.end() == 0
    assert max(map(len, terminal.lines)) <= columns
    text = "\n".join(terminal.lines)
    for name in Settings.model_fields:
        assert f" {name.upper()} " in text
