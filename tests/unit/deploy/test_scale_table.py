"""The table of scale in the documentation."""

from pathlib import Path

import pytest

from deploy.scale_table import BEGIN, COSTS, END, render_table, replace_table

PAGE = Path(__file__).parents[3] / "deploy" / "SCALE.md"


def test_page_has_the_table_that_the_arithmetic_gives() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert replace_table(page) == page, "run: python -m deploy.scale_table deploy/SCALE.md"


def test_table_states_the_event_and_what_it_needs() -> None:
    event, _, head, _, *rows = render_table().splitlines()
    assert event.startswith(f"The event: {COSTS.cpu_microseconds:g} µs of CPU, 10 rows, 500 bytes")
    assert all(line.count("|") == 5 for line in (head, *rows))
    cells = {row.split(" | ")[0].removeprefix("| "): row.removesuffix(" |").split(" | ")[1:] for row in rows}
    # 2 * 100,000 events of 14 µs on 0.65 of a core each are 4.3 workers.
    workers = next(values for name, values in cells.items() if name.startswith("workers for"))
    assert workers == ["1", "5", "50; 5 in each"]
    assert cells["rows per second"] == ["100,000", "1,000,000", "10,000,000"]


def test_page_without_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="scale:begin"):
        replace_table(f"{END}{BEGIN}")
