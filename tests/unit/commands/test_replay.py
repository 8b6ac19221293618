"""The options of `replay`."""

import pytest
from click.testing import CliRunner

from worker.commands.replay import replay


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf"])
def test_rate_must_be_positive_and_finite(rate: str) -> None:
    result = CliRunner().invoke(replay, ["--yes", "--rate", rate])
    assert result.exit_code == 2
    assert "Invalid value for '--rate'" in result.output
