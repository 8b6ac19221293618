"""Labels: at most 16 short texts; what is none is skipped, and never costs the event."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.process import REPOSITORY
from tests.support import strategies
from tests.support.events import encoded, event, event_without, read
from tests.unit.events.refusal import refusal_of
from worker.events import labels
from worker.events.labels import MAX_LABELS, SKIP_REASONS, read_labels

SIXTEEN = {f"{number:02}": str(number) for number in range(MAX_LABELS)}


def test_labels_of_an_event_are_sorted_by_name() -> None:
    found = read(event(labels={"release": "2026.11", "model": "m-1", "größe": ""}))
    assert found.labels == (("größe", ""), ("model", "m-1"), ("release", "2026.11"))
    assert found.skipped_labels == ()


@pytest.mark.parametrize("document", [event(), event(labels=None), event(labels={}), event(status=None)])
def test_event_without_labels_has_none(document: dict[str, object]) -> None:
    assert (read(document).labels, read(document).skipped_labels) == ((), ())


NO_STRINGS: list[object] = [1, 1.5, True, None, [], {}, ["v"], float("nan")]
BAD_LABELS: list[tuple[str, object, str]] = [
    *(("", "v", "invalid_name"), ("n" * 65, "v", "invalid_name"), ("\ud800", "v", "invalid_name")),
    *(("n", value, "not_a_string") for value in NO_STRINGS),
    *(("n", "v" * 257, "too_long"), ("n", "v\ud800", "lone_surrogate")),
]


@pytest.mark.parametrize(("name", "value", "reason"), BAD_LABELS)
def test_bad_label_is_skipped_alone(name: str, value: object, reason: str) -> None:
    for _ in range(2):  # the second time from the cache
        found = read(event(labels={"a": "kept", name: value, "z": "kept"}))
        assert found.labels == (("a", "kept"), ("z", "kept"))
        assert found.skipped_labels == ((name[:64], reason),)


@pytest.mark.parametrize(
    ("name", "value"), [("n" * 64, "v" * 256), ("ä" * 64, "\U0001f980" * 256), (" ", ""), ("\0", "\0\n")]
)
def test_longest_and_oddest_texts_are_labels(name: str, value: str) -> None:
    assert read(event(labels={name: value})).labels == ((name, value),)


@pytest.mark.parametrize("given", [[], ["model"], "model", 5, True, [["a", "b"]]])
def test_labels_that_are_no_object_are_skipped(given: object) -> None:
    found = read(event(labels=given, status="ok"))
    assert (found.labels, found.skipped_labels) == ((("status", "ok"),), (("labels", "not_an_object"),))


def test_first_16_labels_stay_of_more() -> None:
    many = {"zz": "first", "bad": 1, **SIXTEEN}
    found = read(event(labels=many))
    assert found.labels == (*list(SIXTEEN.items())[:15], ("zz", "first"))
    assert found.skipped_labels == (("bad", "not_a_string"), ("15", "too_many"))


def test_last_of_two_labels_of_one_name_counts() -> None:
    text = encoded(event(labels={"a": "x"})).replace(b'{"a": "x"}', b'{"a": "x", "b": "y", "a": "z"}')
    assert read(text).labels == (("a", "z"), ("b", "y"))


def test_every_reason_is_documented() -> None:
    text = (REPOSITORY / "schemas" / "README.md").read_text("utf-8")
    assert all(f"`{reason}`" in text for reason in SKIP_REASONS)


class TestStatus:
    def test_becomes_a_label(self) -> None:
        assert read(event(status="failed")).labels == (("status", "failed"),)
        assert read(event(status="failed", labels={"a": "b"})).labels == (("a", "b"), ("status", "failed"))

    def test_label_of_its_name_wins(self) -> None:
        assert read(event(status="failed", labels={"status": "timeout"})).labels == (("status", "timeout"),)

    def test_replaces_a_bad_label_of_its_name(self) -> None:
        found = read(event(status="failed", labels={"status": 7}))
        assert (found.labels, found.skipped_labels) == ((("status", "failed"),), (("status", "not_a_string"),))

    def test_comes_after_16_labels_too_late(self) -> None:
        found = read(event(status="failed", labels=SIXTEEN))
        assert (len(found.labels), found.skipped_labels) == (16, (("status", "too_many"),))

    @pytest.mark.parametrize(("status", "reason"), [(7, "not_a_string"), ({}, "not_a_string"), ("s" * 257, "too_long")])
    def test_bad_one_is_skipped(self, status: object, reason: str) -> None:
        found = read(event(status=status))
        assert (found.labels, found.skipped_labels) == ((), (("status", reason),))


@given(st.one_of(strategies.label_sets, strategies.json_values), strategies.json_values)
def test_no_labels_cost_the_event(given_labels: object, status: object) -> None:
    found = read(event(labels=given_labels, status=status))
    assert len(found.labels) <= MAX_LABELS
    assert found.labels == tuple(sorted(dict(found.labels).items()))
    given_names = list(given_labels) if isinstance(given_labels, dict) else []
    own_status = status is not None and "status" not in given_names
    if isinstance(given_labels, dict):
        assert len(found.labels) + len(found.skipped_labels) == len(given_names) + own_status


def test_event_is_refused_for_its_other_fields_only() -> None:
    assert refusal_of(event_without("metrics") | {"labels": {"a": 1}}).reason == "InvalidField"


class TestCache:
    def test_equal_labels_are_one_object(self) -> None:
        assert read_labels({"a": "b"}, "ok")[0] is read_labels({"a": "b"}, "ok")[0]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (({"a": "b"},), ({"b": "a"},)),
            (({"a": "b"},), ({}, "a")),
            (({"a": 1},), ({"a": "1"},)),
            (({"a": None},), ({},)),
            ((None,), ([],)),
            (({"N": "V"}, "s", [("N1", "N2")]), ({"N1": "N", "N2": "V"}, "s")),
            (({"n": "v"}, "x"), ({"n": "v"}, "y")),
        ],
    )
    def test_different_labels_are_not_confused(self, one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
        for _ in range(2):
            assert read_labels(*one) != read_labels(*other)

    def test_is_bounded_in_sets_and_in_their_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(labels, "_MAX_READ", 3)
        long = "x" * 300
        for number in [*range(10), *range(10)]:
            text = str(number)
            assert read_labels({"n": text})[0] == (("n", text),)
            assert read_labels({"long": "x" * 256, "longer": "y" * 256, "n": text})[0][2] == ("n", text)
            assert read_labels({"n": text}, 2 * long) == ((("n", text),), (("status", "too_long"),))
            assert read_labels({"n": text, 2 * long: "v"}) == ((("n", text),), ((64 * "x", "invalid_name"),))
        assert len(labels._READ) <= 3
        assert all(len(str(key)) <= 600 for key in labels._READ)
