"""Select and group the rows of the cookbook, without ClickHouse."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from tests.support.cookbook_rows import FIRST, ROWS, CookbookRow

Answer = list[tuple[Any, ...]]

MONTH = (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))


def select(metric: str, since: datetime = FIRST, until: datetime | None = None) -> list[CookbookRow]:
    end = until or datetime.max.replace(tzinfo=UTC)
    return [row for row in ROWS if row.metric_type == metric and since <= row.completed_at < end]


def group(rows: Iterable[CookbookRow], key: Callable[[CookbookRow], Any]) -> list[tuple[Any, list[CookbookRow]]]:
    groups: defaultdict[Any, list[CookbookRow]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return sorted(groups.items(), key=lambda item: str(item[0]))


def values(rows: Iterable[CookbookRow]) -> list[float]:
    return sorted(row.metric_value for row in rows)


def quantile(rows: list[CookbookRow], level: float) -> float:
    found = values(rows)
    return found[min(int(level * len(found)), len(found) - 1)]
