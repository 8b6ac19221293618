"""Durations and numbers for people, as the pages show them."""

_UNITS = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


def format_duration(seconds: float) -> str:
    """A duration in its one or two largest units."""
    if seconds < 1:
        return "under 1 s" if seconds > 0 else "0 s"
    for unit, length, smaller, part in _UNITS:
        if seconds >= length:
            rest = int(seconds % length // part)
            return f"{int(seconds // length)} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{seconds:.0f} s"


def format_number(value: float) -> str:
    """Digits in groups of three, with one decimal below 10."""
    return f"{value:.1f}" if 0 < value < 10 and value != int(value) else f"{value:,.0f}".replace(",", "\u202f")
