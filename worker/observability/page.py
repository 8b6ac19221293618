"""The status page: HTML without scripts, in which all foreign text is escaped."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from worker.core.escaping import escape_control_characters
from worker.core.times import format_time
from worker.observability.status import GROUP, Status, WorkerState

_VISIBLE_PARTITIONS = 12
"""The partitions with the most lag that are visible at first; the others can be unfolded."""
_LATE_SECONDS = 60.0
"""A record that waits this long is shown in red."""
_FOLDER = files("worker.observability")
_STYLE = _FOLDER.joinpath("status.css").read_text("utf-8")
_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


def _format_duration(seconds: float) -> str:
    """A duration in its one or two largest units."""
    if seconds < 1:
        return "under 1 s" if seconds > 0 else "0 s"
    for unit, length, smaller, part in _UNITS:
        if seconds >= length:
            rest = int(seconds % length // part)
            return f"{int(seconds // length)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.0f} s"


def _format_number(value: float) -> str:
    """Digits in groups of three, with one decimal below 10."""
    return f"{value:.1f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}".replace(",", "\u202f")


_ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
_ENVIRONMENT.filters |= {
    "duration": _format_duration,
    "number": _format_number,
    "escape_control_characters": escape_control_characters,
    "instant": format_time,
}
_TEMPLATE = _ENVIRONMENT.from_string(_FOLDER.joinpath("status.html").read_text("utf-8"))
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
"""HTTP headers of the page: a browser runs and loads nothing, even if some text were not escaped."""


def render_page(status: Status) -> str:
    """The HTML of the page."""
    lags = sorted(status.lags, key=lambda lag: (-lag.seconds, -lag.records, lag.topic, lag.partition))
    return _TEMPLATE.render(
        status=status,
        state=status.state,
        WorkerState=WorkerState,
        GROUP=GROUP,
        LATE_SECONDS=_LATE_SECONDS,
        style=_STYLE,
        furthest=lags[:_VISIBLE_PARTITIONS],
        others=lags[_VISIBLE_PARTITIONS:],
        waiting=sum(lag.records for lag in lags),
        oldest=max((lag.seconds for lag in lags), default=0.0),
    )
