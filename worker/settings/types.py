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
    _ = url.port  # which raises ValueError
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
