"""The status page: HTML that needs no script, and in which whatever others wrote is text."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from worker.core.escaping import escape_control_characters, format_time
from worker.observability.status import GROUP, Status, WorkerState

_SHOWN_PARTITIONS = 12
"""Partitions that are shown at once, those that are furthest behind; the others can be unfolded."""
_LATE_SECONDS = 60.0
"""From here on a record has waited so long that it is shown in red."""
_FOLDER = files("worker.observability")
_STYLE = _FOLDER.joinpath("status.css").read_text("utf-8")


def _duration(seconds: float) -> str:
    """A time that a person takes in at a glance."""
    if seconds < 1:
        return "under 1 s" if seconds > 0 else "0 s"
    for unit, length, smaller, part in _UNITS:
        if seconds >= length:
            rest = int(seconds % length // part)
            return f"{int(seconds // length)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.0f} s"


_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


def _number(value: float) -> str:
    """With thin groups of three digits, and one decimal where there are few."""
    return f"{value:.1f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}".replace(",", "\u202f")


def _environment() -> Environment:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "duration": _duration,
        "number": _number,
        "escape_control_characters": escape_control_characters,
        "instant": format_time,
    }
    return environment


_TEMPLATE = _environment().from_string(_FOLDER.joinpath("status.html").read_text("utf-8"))
_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)
"""What is sent with it: a browser runs nothing and loads nothing, even if an escape were forgotten."""


def page(status: Status) -> str:
    """The page that shows `status`."""
    lags = sorted(status.lags, key=lambda lag: (-lag.seconds, -lag.records, lag.topic, lag.partition))
    return _TEMPLATE.render(
        status=status,
        state=status.state,
        WorkerState=WorkerState,
        GROUP=GROUP,
        LATE_SECONDS=_LATE_SECONDS,
        style=_STYLE,
        furthest=lags[:_SHOWN_PARTITIONS],
        others=lags[_SHOWN_PARTITIONS:],
        waiting=sum(lag.records for lag in lags),
        oldest=max((lag.seconds for lag in lags), default=0.0),
    )
