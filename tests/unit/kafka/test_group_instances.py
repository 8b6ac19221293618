"""The instance that the name of a static member carries."""

import pytest

from worker.kafka.group_instances import instance_of


@pytest.mark.parametrize(
    ("member", "instance"),
    [
        ("production_metrics-worker-0", "production_metrics-worker"),
        ("metrics-cells_metrics-worker-cell-1-12", "metrics-cells_metrics-worker-cell-1"),
        ("metrics-worker-0", None),
        ("worker-1.example.internal", None),
        ("production_metrics-worker", None),
        ("_-0", None),
        ("", None),
    ],
)
def test_instance_is_the_name_without_the_number(member: str, instance: str | None) -> None:
    assert instance_of(member) == instance
