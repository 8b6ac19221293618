"""Who uses the console: each wrong value and each half combination is refused by name."""

import pytest

from tests.unit.settings.variables import REQUIRED, load_errors
from worker.settings.loading import load

ROLES = {"CONSOLE_VIEWERS": "*", "CONSOLE_EDITORS": "sre,user:ana"}
PUBLIC = {"CONSOLE_PUBLIC_URL": "https://console.example"}
SECRET = "do not tell"  # noqa: S105
ISSUER = {
    "CONSOLE_OIDC_ISSUER": "https://issuer.example/realms/ops",
    "CONSOLE_OIDC_CLIENT_ID": "console",
    "CONSOLE_OIDC_CLIENT_SECRET": SECRET,
}
PROXY = {"CONSOLE_PROXY_USER_HEADER": "X-Auth-Request-User", "CONSOLE_TRUSTED_PROXIES": "127.0.0.1, 10.1.0.0/16"}
SIGN_IN, BY_PROXY = ISSUER | PUBLIC | ROLES, PROXY | PUBLIC | ROLES

NO_URLS_OF_WORKERS = (
    "metrics-worker:8080", "https://metrics-worker:8080", "http://", "http://metrics-worker/readyz", "http://w:99999",
    "http://ana:x@metrics-worker", "http://metrics-worker:0", "http://metrics-worker?x=1",
)  # fmt: skip


def without(variables: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in variables.items() if key != name}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        SIGN_IN,
        BY_PROXY,
        SIGN_IN | {"CONSOLE_SESSION_SECONDS": "600", "CONSOLE_OIDC_SCOPES": "openid groups"},
        BY_PROXY | {"CONSOLE_PROXY_GROUPS_HEADER": "X-Auth-Request-Groups"},
        SIGN_IN | {"CONSOLE_PUBLIC_URL": "http://localhost:8090", "CONSOLE_OIDC_ISSUER": "http://127.0.0.1:5556"},
        {"CONSOLE_MASK": "user_id, labels.*, header:x-email"},
        {"CONSOLE_WORKERS_URL": "http://metrics-worker:8080"},
        {"CONSOLE_WORKERS_URL": "http://[::1]"},
    ],
)
def test_whole_combinations_are_valid(variables: dict[str, str]) -> None:
    load(REQUIRED | variables)


def test_values_are_normalised() -> None:
    settings = load(REQUIRED | BY_PROXY | {"CONSOLE_PUBLIC_URL": "https://console.example:8443/"})
    assert settings.console_trusted_proxies == "127.0.0.1/32,10.1.0.0/16"
    assert settings.console_public_url == "https://console.example:8443"
    assert load(REQUIRED | {"CONSOLE_WORKERS_URL": "http://w:8080/"}).console_workers_url == "http://w:8080"


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            without(SIGN_IN, "CONSOLE_OIDC_CLIENT_ID"),
            "CONSOLE_OIDC_CLIENT_ID is not set, and CONSOLE_OIDC_ISSUER needs",
        ),
        (without(SIGN_IN, "CONSOLE_OIDC_CLIENT_SECRET"), "CONSOLE_OIDC_CLIENT_SECRET is not set, and CONSOLE_OIDC_ISS"),
        (without(SIGN_IN, "CONSOLE_PUBLIC_URL"), "CONSOLE_PUBLIC_URL is not set, and CONSOLE_OIDC_ISSUER needs it"),
        (ISSUER | PUBLIC, "CONSOLE_VIEWERS is not set, nor CONSOLE_OPERATORS or CONSOLE_EDITORS: nobody could"),
        (PROXY | PUBLIC, "CONSOLE_VIEWERS is not set, nor CONSOLE_OPERATORS or CONSOLE_EDITORS: nobody could"),
        (without(BY_PROXY, "CONSOLE_TRUSTED_PROXIES"), "CONSOLE_TRUSTED_PROXIES is not set, and CONSOLE_PROXY_USER_H"),
        (without(BY_PROXY, "CONSOLE_PUBLIC_URL"), "CONSOLE_PUBLIC_URL is not set, and CONSOLE_PROXY_USER_HEADER needs"),
        (SIGN_IN | PROXY, "CONSOLE_OIDC_ISSUER and CONSOLE_PROXY_USER_HEADER are both set; set only one"),
        (
            BY_PROXY | {"CONSOLE_PROXY_GROUPS_HEADER": "x-auth-request-user"},
            "CONSOLE_PROXY_USER_HEADER and CONSOLE_PROXY_GROUPS_HEADER must differ",
        ),
        (
            SIGN_IN | {"CONSOLE_ALLOW_ANONYMOUS_ACTIONS": "true"},
            "CONSOLE_ALLOW_ANONYMOUS_ACTIONS=true contradicts CONSOLE_OIDC_ISSUER",
        ),
        *[
            ({name: value}, f"{name} is set, but has no effect without CONSOLE_OIDC_ISSUER")
            for name, value in {
                "CONSOLE_PUBLIC_URL": "https://console.example",
                "CONSOLE_OPERATORS": "sre",
                "CONSOLE_OIDC_CLIENT_SECRET": SECRET,
                "CONSOLE_OIDC_GROUPS_CLAIM": "roles",
                "CONSOLE_SESSION_SECONDS": "600",
            }.items()
        ],
        ({"CONSOLE_TRUSTED_PROXIES": "10.1.0.0/16"}, "CONSOLE_TRUSTED_PROXIES is set, but has no effect without"),
    ],
)
def test_half_of_a_combination_is_named(variables: dict[str, str], problem: str) -> None:
    lines = load_errors(**variables)
    assert any(line.startswith(problem) for line in lines), lines
    assert SECRET not in str(lines)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CONSOLE_PUBLIC_URL", "console.example", "https://HOST"),
        ("CONSOLE_PUBLIC_URL", "http://console.example", "http:// only for loopback"),
        ("CONSOLE_PUBLIC_URL", "https://console.example/dlq", "the console has no path of its own there"),
        ("CONSOLE_PUBLIC_URL", "https://ana:x@console.example", "https://HOST"),
        ("CONSOLE_PUBLIC_URL", "https://console.example:99999", "https://HOST"),
        ("CONSOLE_PUBLIC_URL", "https://", "https://HOST"),
        ("CONSOLE_PUBLIC_URL", "https://a b", "https://HOST"),
        *[
            ("CONSOLE_WORKERS_URL", value, "http://HOST or http://HOST:PORT, without a path")
            for value in NO_URLS_OF_WORKERS
        ],
        ("CONSOLE_OIDC_ISSUER", "http://issuer.example", "http:// only for loopback"),
        ("CONSOLE_OIDC_ISSUER", "https://issuer.example?x=1", "without user, query and fragment"),
        ("CONSOLE_OIDC_SCOPES", "profile", "with openid"),
        ("CONSOLE_SESSION_SECONDS", "5", "a whole number from 60 to 604800"),
        ("CONSOLE_PROXY_USER_HEADER", "X_User", "ASCII letters, digits and '-'"),
        ("CONSOLE_PROXY_USER_HEADER", "X-Forwarded-For", "browsers and other proxies send it too"),
        ("CONSOLE_PROXY_GROUPS_HEADER", "cookie", "browsers and other proxies send it too"),
        ("CONSOLE_TRUSTED_PROXIES", "0.0.0.0/0", "everybody could send the headers"),
        ("CONSOLE_TRUSTED_PROXIES", "10.0.0.1,::/0", "everybody could send the headers"),
        ("CONSOLE_TRUSTED_PROXIES", "10.1.2.3/16", "host bits set"),
        ("CONSOLE_TRUSTED_PROXIES", "proxy.example", "does not appear to be an IPv4 or IPv6 network"),
        ("CONSOLE_VIEWERS", "a,,b", "names of groups, user:NAME or *"),
        ("CONSOLE_VIEWERS", "user:", "names of groups, user:NAME or *"),
        ("CONSOLE_MASK", "a,,b", "fields (user_id, labels.*), headers (header:x-email) or *"),
        ("CONSOLE_MASK", "$.user_id", "a path begins with the name of a field"),
        ("CONSOLE_MASK", "header:", "fields (user_id, labels.*), headers"),
        ("CONSOLE_MASK", "labels..x", "fields (user_id, labels.*), headers"),
    ],
)
def test_invalid_value_is_named_with_what_would_be_right(name: str, value: str, expected: str) -> None:
    lines = load_errors(
        **(SIGN_IN | {name: value}) if "PROXY" not in name and "PROXIES" not in name else BY_PROXY | {name: value}
    )
    (line,) = [line for line in lines if line.startswith(f"{name}=")]
    assert expected in line
