"""The types of settings, each with a description of a valid value."""

import ipaddress
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from worker.clickhouse.servers import parse_servers
from worker.console.mask_rules import parse_mask_rules
from worker.core.network import is_loopback
from worker.events.cloudevents import LABEL_ATTRIBUTES


@dataclass(frozen=True)
class ExpectedValue:
    """In the annotation of a field: a valid value in words, where type and bounds do not say it."""

    text: str


def _validate_host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", value) and not _is_ipv6(value):
        raise ValueError
    return value


def _is_ipv6(value: str) -> bool:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return True


def _validate_servers(value: str) -> str:
    servers = [server.strip() for server in value.split(",")]
    for server in servers:
        match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[(.+)\]):([0-9]{1,5})", server)
        if not match or not 1 <= int(match[2]) <= 65535 or (match[1] and not _is_ipv6(match[1])):
            raise ValueError
    return ",".join(servers)


def _validate_clickhouse_hosts(value: str) -> str:
    servers = parse_servers(value, 1)
    if len(set(servers)) < len(servers):
        raise ValueError("one is listed twice")
    return ",".join(part.strip() for part in value.split(","))


def _validate_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("no such file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(error.strerror) from error
    return path


def _validate_label_attributes(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if not set(names) <= set(LABEL_ATTRIBUTES):
        raise ValueError
    return ",".join(names)


def _validate_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("http", "https") or not url.hostname or "@" in url.netloc or url.fragment:
        raise ValueError
    _ = url.port, url.hostname.encode("idna")  # which raise ValueError
    return value


def _validate_function(value: str) -> str:
    module, _, function = value.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise ValueError
    try:
        found = find_spec(module)
    except ImportError as error:  # of a package that the module is in
        raise ValueError(str(error)) from error
    if found is None:
        raise ValueError(f"no module named {module}")
    return value


def _validate_public_url(value: str) -> str:
    """Without a slash at its end."""
    value = value.removesuffix("/")
    if urlsplit(value).path:
        raise ValueError("the console has no path of its own there")
    return _validate_secure_url(value)


def _validate_secure_url(value: str) -> str:
    parts = urlsplit(value)
    if (
        not parts.hostname
        or not re.fullmatch(r"[!-~]+", value)
        or parts.username is not None
        or re.search(r"[?#]", value)
    ):
        raise ValueError
    _validate_host(parts.hostname)
    if parts.port == 0:  # raises ValueError itself for one that is none
        raise ValueError
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
        raise ValueError
    return value


def _validate_workers_url(value: str) -> str:
    """Without a slash at its end."""
    value = value.removesuffix("/")
    parts = urlsplit(value)
    if parts.scheme != "http" or value.count("/") != 2 or re.search(r"[@?#]", value) or parts.port == 0:
        raise ValueError
    _validate_host(parts.hostname or "")
    return value


def _validate_header_name(value: str) -> str:
    if value.lower() in _HEADERS_OF_BROWSERS:
        raise ValueError("browsers and other proxies send it too")
    return value


def _validate_networks(value: str) -> str:
    networks = [ipaddress.ip_network(each.strip()) for each in value.split(",")]
    if not all(network.prefixlen for network in networks):
        raise ValueError("everybody could send the headers")
    return ",".join(map(str, networks))


def _validate_names(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if not all(name and name.isprintable() and name != "user:" for name in names):
        raise ValueError
    return ",".join(names)


def _validate_mask(value: str) -> str:
    parse_mask_rules(value)
    return value


def _validate_scopes(value: str) -> str:
    scopes = value.split()
    if "openid" not in scopes or not re.fullmatch(r"[!#-\[\]-~]+( [!#-\[\]-~]+)*", " ".join(scopes)):
        raise ValueError
    return " ".join(scopes)


_HEADERS_OF_BROWSERS = {"authorization", "cookie", "forwarded", "host", "origin", "x-forwarded-for", "x-forwarded-host"}
_UPPER = BeforeValidator(str.upper)
_LOWER = BeforeValidator(str.lower)

Servers = Annotated[
    str,
    AfterValidator(_validate_servers),
    ExpectedValue("host:port, or several separated by commas, such as kafka-1:9092,kafka-2:9092"),
]
LabelAttributes = Annotated[
    str,
    AfterValidator(_validate_label_attributes),
    ExpectedValue("source, traceparent, or both separated by a comma"),
]
Host = Annotated[
    str,
    AfterValidator(_validate_host),
    ExpectedValue("a host name or an IP address, without scheme, port, user or brackets"),
]
ClickHouseHosts = Annotated[
    str,
    AfterValidator(_validate_clickhouse_hosts),
    ExpectedValue(
        "a host name or an IP address, without scheme and user, or several separated by commas, also with ports, such "
        "as ch-1,ch-2:9440,[::1]"
    ),
]
Port = Annotated[int, Field(ge=1, le=65535)]
KafkaName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9._-]{1,249}$"),  # what Kafka allows in topics and group instance ids
    ExpectedValue("1 to 249 ASCII letters, digits, '.', '_' or '-'"),
]
Url = Annotated[
    str,
    Field(pattern=r"^[!-~]+$"),
    AfterValidator(_validate_url),
    ExpectedValue("a URL with https:// (or http://), without a user"),
]
PythonFunction = Annotated[
    str, AfterValidator(_validate_function), ExpectedValue("module:function, of a Python module that can be imported")
]
Text = Annotated[str, Field(pattern=r"^\S(.*\S)?$"), ExpectedValue("text without white space at its ends")]
Identifier = Annotated[
    str,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"),
    ExpectedValue("1 to 128 ASCII letters, digits or '_', the first no digit"),
]
ReadableFile = Annotated[Path, AfterValidator(_validate_file)]
SecurityProtocol = Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], _UPPER]
SaslMechanism = Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"], _UPPER]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _UPPER]
LogFormat = Annotated[Literal["json", "console"], _LOWER]
PublicUrl = Annotated[
    str,
    AfterValidator(_validate_public_url),
    ExpectedValue("https://HOST or https://HOST:PORT; http:// only for loopback"),
]
WorkersUrl = Annotated[
    str, AfterValidator(_validate_workers_url), ExpectedValue("http://HOST or http://HOST:PORT, without a path")
]
IssuerUrl = Annotated[
    str,
    AfterValidator(_validate_secure_url),
    ExpectedValue("an https:// address without user, query and fragment; http:// only for loopback"),
]
HeaderName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9-]{1,100}$"),  # no `_`: some proxies let a client's X_User pass as X-User
    AfterValidator(_validate_header_name),
    ExpectedValue("the name of a header that only the proxy sets: ASCII letters, digits and '-'"),
]
Networks = Annotated[
    str,
    AfterValidator(_validate_networks),
    ExpectedValue(
        "addresses or networks separated by commas, such as 127.0.0.1,10.1.0.0/16; no network of all addresses"
    ),
]
Names = Annotated[
    str,
    AfterValidator(_validate_names),
    ExpectedValue("names of groups, user:NAME or *, separated by commas"),
]
Scopes = Annotated[str, AfterValidator(_validate_scopes), ExpectedValue("scopes separated by spaces, with openid")]
MaskText = Annotated[
    str,
    AfterValidator(_validate_mask),
    ExpectedValue("fields (user_id, labels.*), headers (header:x-email) or *, separated by commas"),
]
