"""Secrets in files are read each time; the last value stays while the file cannot be read; none is shown."""

from pathlib import Path

from structlog.testing import capture_logs

from tests.unit.settings.variables import REQUIRED
from worker.core.secrets import Secret
from worker.settings.loading import load


def test_secret_has_the_current_content_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    settings = load(REQUIRED | {"CLICKHOUSE_PASSWORD_FILE": str(file)})
    secret = settings.secret("clickhouse_password")
    assert secret is not None
    assert secret.reveal() == "first"
    file.write_text("second \n")
    assert secret.reveal() == "second"


def test_last_value_stays_while_the_file_is_missing_or_empty_and_is_not_logged(tmp_path: Path) -> None:
    file = tmp_path / "password"
    secret = Secret("first-5up3r", file)
    with capture_logs() as logs:
        assert secret.reveal() == "first-5up3r"
    file.write_text("")
    assert secret.reveal() == "first-5up3r"
    assert logs[0]["file"] == str(file)
    assert "5up3r" not in str(logs) + repr(secret)


def test_secret_of_the_environment_is_constant() -> None:
    settings = load(REQUIRED | {"CLICKHOUSE_PASSWORD": "given"})
    secret = settings.secret("clickhouse_password")
    assert secret is not None
    assert (secret.reveal(), repr(secret)) == ("given", "Secret()")
    assert settings.secret("kafka_sasl_password") is None
