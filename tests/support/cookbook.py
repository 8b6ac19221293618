"""The queries of schemas/QUERIES.md, read from the document."""

import re
from importlib.resources import files
from typing import NamedTuple

_SECTION = re.compile(
    r"```sql\n-- name: (?P<name>\w+)\n(?P<text>.*?)```\n"
    r"(?:\nReads at most (?P<rows>[\d,]+) rows and (?P<megabytes>[\d.]+) MB)?",
    re.DOTALL,
)


class Recipe(NamedTuple):
    """One query, and the most it may read of 10 million rows; None where the document has no limit."""

    text: str
    most_rows: int | None
    most_bytes: int | None


def recipes() -> dict[str, Recipe]:
    """Every query by its name, in the order of the document."""
    document = (files("schemas") / "QUERIES.md").read_text()
    found = {match["name"]: _recipe(match) for match in _SECTION.finditer(document)}
    assert len(found) == document.count("```sql"), "a query without a name, or two of one name"
    return found


def _recipe(match: re.Match[str]) -> Recipe:
    if not match["rows"]:
        return Recipe(match["text"], None, None)
    return Recipe(match["text"], int(match["rows"].replace(",", "")), round(float(match["megabytes"]) * 1e6))
