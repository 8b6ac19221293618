"""The console as a process whose users sign in at an issuer, over real connections."""

from pathlib import Path

import httpx
import pytest

from deploy.local.process import LOOPBACK, free_port
from deploy.local.worker_process import WorkerProcess
from tests.support.commands import Commands
from tests.support.console import parse_page, texts
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, run_issuer
from tests.support.local import wait_until


def settings(issuer: str, secret: Path, port: int) -> dict[str, str]:
    """Kafka is away: nothing of a sign-in needs it."""
    secret.write_text(f"{CLIENT_SECRET}\n")
    return {
        "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{free_port()}",
        "CONSOLE_HOST": "0.0.0.0",  # noqa: S104 - as in a container
        "CONSOLE_PORT": str(port),
        "CONSOLE_PUBLIC_URL": f"http://localhost:{port}",
        "CONSOLE_OIDC_ISSUER": issuer,
        "CONSOLE_OIDC_CLIENT_ID": CLIENT_ID,
        "CONSOLE_OIDC_CLIENT_SECRET_FILE": str(secret),
        "CONSOLE_OPERATORS": "ops",
    }


def test_users_sign_in_and_out_and_the_log_has_who_but_no_secret(tmp_path: Path) -> None:
    port = free_port()
    with run_issuer(preferred_username="ana", groups=["ops"]) as issuer, httpx.Client(follow_redirects=True) as browser:
        environment = settings(issuer.url, tmp_path / "secret", port)
        with WorkerProcess(tmp_path, environment, "console", ("console",)) as console:
            url = f"http://localhost:{port}"
            page = browser.get(url, timeout=20)
            assert page.url.path == "/"
            assert "The console waits" in page.text
            assert "ana, operator" in texts(parse_page(page.text))
            assert httpx.get(f"http://{LOOPBACK}:{port}/livez").status_code == 200
            assert httpx.get(f"http://{LOOPBACK}:{port}/readyz").status_code == 503
            assert httpx.get(f"http://{LOOPBACK}:{port}/").status_code == 400, "that is not its public name"
            form = {"do": "discard"}
            assert httpx.post(f"{url}/actions", data=form).status_code == 401
            assert browser.post(f"{url}/actions", data=form, headers={"Origin": url}).status_code == 403, "no token"
            session = browser.cookies["console-session"]
            assert "Signed out" in browser.post(f"{url}/sign-out", headers={"Origin": url}).text
            assert httpx.get(url, cookies={"console-session": session}).status_code == 303
            wait_until(lambda: "a user has signed out" in console.process.output(), "the log", 10)
            log = console.process.output()
    assert '"user": "ana"' in log
    assert "a user has signed in" in log
    assert "action in the console" in log
    assert CLIENT_SECRET not in log
    assert session not in log


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"CONSOLE_OIDC_ISSUER": "https://issuer.example"}, "CONSOLE_OIDC_CLIENT_ID is not set"),
        ({"CONSOLE_TRUSTED_PROXIES": "0.0.0.0/0"}, "CONSOLE_TRUSTED_PROXIES='0.0.0.0/0' must be"),
    ],
)
def test_half_configured_users_end_the_console_at_the_start(variables: dict[str, str], problem: str) -> None:
    done = Commands({"KAFKA_BOOTSTRAP_SERVERS": "localhost:1"}).run("console", **variables)
    assert done.returncode == 2
    assert problem in done.stderr


def test_anonymous_actions_contradict_configured_users(tmp_path: Path) -> None:
    environment = settings("https://issuer.example", tmp_path / "secret", 1)
    done = Commands(environment).run("console", "--allow-anonymous-actions")
    assert done.returncode == 2
    assert "--allow-anonymous-actions contradicts the configured users" in done.stderr
