"""Pages of lists, and where the dead letters on them are."""

import pytest

from worker.console.letter_index import LetterIndex
from worker.console.page import Page
from worker.core.model import DeadLetterPosition


def test_positions_are_found_by_page() -> None:
    index = LetterIndex()
    positions = [DeadLetterPosition(number % 3, 2**40 + number) for number in range(7)]
    for position in positions:
        index.add("a", position)
    index.add("b", DeadLetterPosition(0, 0))
    found = [index.find("a", Page(number, index.count("a"), 3)) for number in (1, 2, 3, 4)]
    assert found == [positions[:3], positions[3:6], positions[6:], []]
    assert (index.count("b"), index.count("c"), index.find("c", Page(1, 0, 3))) == (1, 0, [])


def test_number_of_positions_is_bounded() -> None:
    index = LetterIndex(max_letters=2)
    for number in range(5):
        index.add(str(number % 2), DeadLetterPosition(0, number))
    assert [index.count(cause) for cause in ("0", "1")] == [1, 1]


@pytest.mark.parametrize(
    ("number", "total", "pages", "first", "last"),
    [(1, 0, 1, 0, 0), (1, 3, 1, 1, 3), (1, 10, 1, 1, 10), (1, 11, 2, 1, 10), (2, 11, 2, 11, 11)],
)
def test_bounds_of_a_page(number: int, total: int, pages: int, first: int, last: int) -> None:
    page = Page(number, total, 10)
    assert (page.pages, page.first, page.last) == (pages, first, last)
