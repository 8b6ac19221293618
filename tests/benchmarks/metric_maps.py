"""The metrics of an event: names, and values that are drawn at random."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice
from random import Random

from tests.benchmarks.shape import Shape

Draw = Callable[[Random], object]
"""Draws a value."""

PLAIN_NAMES = (
    "execution_time_ms", "memory_usage_mb", "cpu_percent", "result_success", "input_tokens", "output_tokens",
    "cost_usd", "tool_calls", "retries", "queue_time_ms",
)  # fmt: skip
GEN_AI_NAMES = (
    "gen_ai.client.operation.duration", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.invoke_agent.inference_calls", "gen_ai.invoke_agent.tool_calls", "latency", "timeToFirstToken",
    "totalCost",
)  # fmt: skip
"""The first seven of OpenTelemetry's GenAI conventions, the last three as an observation of Langfuse has them."""
_INTEGERS = ("tokens", "calls", "retries")
"""How the names of metrics end whose values are whole numbers."""
MODELS = tuple(f"model-{number}-2026-0{number}-14" for number in range(1, 9))
REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-northeast-1")
_TAGS = ("batch", "interactive", "retry", "canary", "internal")
_STRINGS = (("model", MODELS), ("region", REGIONS))
_BOOLEANS = ("success", "streamed")
_WIDE = tuple(f"detail_{number:03}" for number in range(1_000))
_NUMBERS_BEFORE_OTHERS = 3
"""The metrics of other types come after so many numbers."""


class MetricMaps:
    """Draws the metrics of the events of a shape.

    Attributes:
        numbers: the names of the metrics that are numbers, in the first set of names.
    """

    def __init__(self, shape: Shape, random: Random) -> None:
        self._shape = shape
        self._random = random
        self.numbers = tuple(_number_names(shape))
        self._sets = [self._name_set(names) for names in self._sets_of_numbers()]

    def draw(self, agent: int) -> dict[str, object]:
        """The metrics of one event of an agent."""
        shape, random = self._shape, self._random
        draws = self._choose_draws(agent)
        if shape.missing:
            draws = [one for one in draws if random.random() >= shape.missing]
        if shape.shuffled:
            draws = random.sample(draws, len(draws))
        metrics = {name: draw(random) for name, draw in draws}
        if shape.whole:
            self._round_some(metrics)
        if shape.nulls and random.random() < shape.nulls:
            metrics[random.choice(self.numbers)] = None
        if shape.poison and random.random() < shape.poison:
            metrics[random.choice(self.numbers)] = -1.0
        if shape.refused and random.random() < shape.refused:
            metrics["refused"] = -1.0
        return metrics

    def _round_some(self, metrics: dict[str, object]) -> None:
        for name, value in metrics.items():
            if isinstance(value, float) and self._random.random() < self._shape.whole:
                metrics[name] = int(value)

    def _choose_draws(self, agent: int) -> list[tuple[str, Draw]]:
        shape, random = self._shape, self._random
        if shape.wide and random.random() < shape.wide:
            return [(name, _draw_decimal) for name in _WIDE]
        if shape.random_names and random.random() < shape.random_names:
            return self._name_set([f"request_{random.getrandbits(64):016x}" for _ in self.numbers])
        return self._sets[agent % shape.name_sets]

    def _sets_of_numbers(self) -> Iterator[Sequence[str]]:
        yield self.numbers
        for number in range(1, self._shape.name_sets):
            yield [f"{name}.{number}" for name in self.numbers]

    def _name_set(self, numbers: Sequence[str]) -> list[tuple[str, Draw]]:
        """All metrics of an event whose numbers have these names, in order."""
        shape = self._shape
        draws: list[tuple[str, Draw]] = [(name, _draw_of(name)) for name in numbers]
        draws[_NUMBERS_BEFORE_OTHERS:_NUMBERS_BEFORE_OTHERS] = [
            *((name, _draw_one_of(values)) for name, values in _STRINGS[: shape.strings]),
            *((name, _draw_boolean) for name in _BOOLEANS[: shape.booleans]),
            *((f"tags_{number}", _draw_list) for number in range(shape.lists)),
        ]
        return draws


def count_rows(metrics: dict[str, object]) -> int:
    """How many of `metrics` become rows or, if the table refuses them, dead letters."""
    return sum(isinstance(value, int | float) for value in metrics.values())


def _number_names(shape: Shape) -> Iterator[str]:
    names = GEN_AI_NAMES if shape.gen_ai else PLAIN_NAMES
    more = (f"{names[number % len(names)]}_{number}" for number in count(len(names)))
    for name in islice(chain(names, more), shape.metrics):
        yield f"größe_{name}_間隔" if shape.non_ascii else name


def _draw_of(name: str) -> Draw:
    return _draw_integer if name.endswith(_INTEGERS) else _draw_decimal


def _draw_decimal(random: Random) -> object:
    return round(random.random() * 10_000, 3)


def _draw_integer(random: Random) -> object:
    return int(random.random() * 10_000)


def _draw_boolean(random: Random) -> object:
    return random.random() < 0.9


def _draw_list(random: Random) -> object:
    return random.sample(_TAGS, 2)


def _draw_one_of(values: Sequence[str]) -> Draw:
    return lambda random: random.choice(values)
