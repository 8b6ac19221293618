"""The status page: HTML without scripts, in which all foreign text is escaped."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from worker.core.escaping import escape_control_characters
from worker.core.times import format_time
from worker.observability.formatting import format_duration, format_number
from worker.observability.status import Status, WorkerState

if TYPE_CHECKING:
    from jinja2 import Template

_VISIBLE_PARTITIONS = 12
"""The partitions with the most lag that are visible at first; the others can be unfolded."""
_LATE_SECONDS = 60.0
"""A record that waits this long is shown in red."""
_FOLDER = files("worker.observability")
THEME = _FOLDER.joinpath("theme.css").read_text("utf-8")
"""Colours and fonts of all pages."""
_STYLE = THEME + _FOLDER.joinpath("status.css").read_text("utf-8")
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
    return _load_template().render(
        status=status,
        state=status.state,
        WorkerState=WorkerState,
        LATE_SECONDS=_LATE_SECONDS,
        style=_STYLE,
        furthest=lags[:_VISIBLE_PARTITIONS],
        others=lags[_VISIBLE_PARTITIONS:],
        waiting=sum(lag.records for lag in lags),
        oldest=max((lag.seconds for lag in lags), default=0.0),
    )


@cache
def _load_template() -> "Template":
    # Only when the page is asked for: probes and /metrics do without Jinja2, and so does the start of the worker.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("worker.observability", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "duration": format_duration,
        "number": format_number,
        "escape_control_characters": escape_control_characters,
        "instant": format_time,
    }
    return environment.get_template("status.html")
