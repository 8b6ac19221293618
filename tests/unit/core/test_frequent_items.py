"""The items that occur most are found in bounded memory."""

from worker.core.frequent_items import FrequentItems


def test_numbers_are_exact_while_all_items_fit() -> None:
    items: FrequentItems[str] = FrequentItems(max_items=3)
    items.add({"a": 1, "b": 5})
    items.add({"a": 2, "c": 1})
    assert items.most_common(2) == [("b", 5), ("a", 3)]


def test_item_that_becomes_frequent_is_found_among_many_that_occur_once() -> None:
    items: FrequentItems[str] = FrequentItems(max_items=100)
    for number in range(10_000):
        items.add({f"once {number}": 1})
        if number > 5_000:
            items.add({"often": 1})
    ((name, count),) = items.most_common(1)
    assert name == "often"
    assert 4_000 < count < 5_000
    assert len(items._counts) <= 100


def test_many_items_at_once_are_bounded_too() -> None:
    items: FrequentItems[int] = FrequentItems(max_items=10)
    items.add(dict.fromkeys(range(1_000), 1) | {7: 2})
    assert items.most_common(1) == [(7, 2)]
    assert len(items._counts) <= 10
