"""Medians of figures over several runs."""

from collections.abc import Iterable, Sequence
from statistics import median

from tests.benchmarks.environment import Figures


def median_of(samples: Iterable[Figures], name: str) -> float:
    """The median of one figure; a whole number if all are and their number is odd."""
    return median(value for sample in samples if not isinstance(value := sample[name], str))


def median_ratio(samples: Sequence[Figures], others: Sequence[Figures], name: str) -> float:
    """The median of the ratios of one figure, each within a run; both have one sample for each run."""
    pairs = zip(samples, others, strict=True)
    return round(median(float(one[name]) / float(other[name]) for one, other in pairs), 2)
