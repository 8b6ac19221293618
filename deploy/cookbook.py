"""The queries of schemas/QUERIES.md, read from the document, and another range of time for them."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple

_SECTION = re.compile(
    r"```sql\n-- name: (?P<name>\w+)\n(?P<text>.*?)```\n"
    r"(?:\nReads at most (?P<rows>[\d,]+) rows and (?P<megabytes>[\d.]+) MB)?",
    re.DOTALL,
)
_INSTANTS = re.compile(r"(\w*completed_at) >= '[\d-]+'(\s+AND) \1 < '[\d-]+'")
_DAYS = re.compile(r"\b(day) >= '[\d-]+'(\s+AND) \1 < '[\d-]+'")
_DATE = re.compile(r"'\d{4}-\d\d")


class Recipe(NamedTuple):
    """One query, and the most it may read of 10 million rows; None where the document has no limit."""

    text: str
    most_rows: int | None
    most_bytes: int | None


def recipes() -> dict[str, Recipe]:
    """Every query by its name, in the order of the document.

    Raises:
        ValueError: a query has no name, or the name of another.
    """
    document = (files("schemas") / "QUERIES.md").read_text("utf-8")
    found = {match["name"]: _recipe(match) for match in _SECTION.finditer(document)}
    if len(found) != document.count("```sql"):
        raise ValueError("schemas/QUERIES.md has a query without a name, or two of one name")
    return found


def _recipe(match: re.Match[str]) -> Recipe:
    if not match["rows"]:
        return Recipe(match["text"], None, None)
    return Recipe(match["text"], int(match["rows"].replace(",", "")), round(float(match["megabytes"]) * 1e6))


def with_time_range(text: str, since: str, until: str) -> str:
    """The query `text` with `since` and `until`, two expressions of DateTime, in place of the dates in its conditions.

    A range of days includes the day of the last second before `until`.

    Raises:
        ValueError: other dates are left in the query.
    """
    text = _INSTANTS.sub(rf"\1 >= {since}\2 \1 < {until}", text)
    text = _DAYS.sub(rf"\1 >= toDate32({since}, 'UTC')\2 \1 <= toDate32({until} - 1, 'UTC')", text)
    if _DATE.search(text):
        raise ValueError(f"the query has dates that are no range of time:\n{text}")
    return text
