"""What is skipped is counted exactly by reason, and by name as far as there are not too many."""

from worker.events.skip_counter import SkipCounter


def test_names_beyond_a_thousand_are_counted_by_their_reason_only() -> None:
    counter: SkipCounter[str] = SkipCounter()
    for number in range(3_000):
        counter.add(str(number), "even" if number % 2 == 0 else "odd")
        counter.add("usual", "odd")
    assert counter.by_reason() == {"even": 1_500, "odd": 4_500}
    named = {name: number for (name, _), number in counter.items() if name is not None}
    assert len(named) == 1_000
    assert (named["usual"], named["0"]) == (3_000, 1)


def test_long_names_are_cut() -> None:
    counter: SkipCounter[str] = SkipCounter()
    counter.add("n" * 100_000, "long")
    counter.add("n" * 200_000, "long")
    assert counter == {("n" * 256, "long"): 2}
