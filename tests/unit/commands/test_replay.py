"""The options of `replay`."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from worker.commands.replay import replay


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_rate_must_be_positive_and_finite(rate: str) -> None:
    result = CliRunner().invoke(replay, ["--yes", "--rate", rate])
    assert result.exit_code == 2
    assert "Invalid value for '--rate'" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--edit", ".a = 1"], "--edit needs a --reason"),
        (["--edit", ".a = 1", "--reason", " "], "--edit needs a --reason"),
        (["--edit", ".a = ", "--reason", "x"], "syntax error"),
        (["--edit", "", "--reason", "x"], "1 to 2,000 characters"),
    ],
)
def test_edit_needs_a_reason_and_an_expression(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "CLICKHOUSE_HOST": "127.0.0.1"}
    result = CliRunner().invoke(replay, ["--yes", *arguments], env=environment)
    assert result.exit_code == 2
    assert message in result.output
