"""`metrics-worker dlq causes`: dead letters by cause, and what to do about each."""

from collections.abc import Iterable

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from worker.core.escaping import escape_control_characters
from worker.core.times import format_time
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.causes import FOREIGN
from worker.dead_letters.statistics import CauseGroup, CauseStatistics

_MAX_NAME_CHARACTERS = 40


def print_causes(statistics: CauseStatistics, top: int) -> None:
    """Print a paragraph for each cause, the most frequent first."""
    console = Console(highlight=False)
    groups = statistics.most_common(top)
    console.print(f"{statistics.total:,} dead letters" if groups else "no dead letters")
    for group in groups:
        console.print()
        console.print(Text.assemble((group.cause.id, "bold"), f"  {group.count:,}  {_summarize(group)}"))
        for line in _explain(group):
            console.print(Padding(Text(line), (0, 0, 0, 4), expand=False))
    if rest := statistics.count_others(top):
        console.print(f"\n{rest:,} of other causes: raise --top, or settle these first")
    if statistics.foreign:
        console.print(f"\n{FOREIGN}  {statistics.foreign:,} records on the topic that are no dead letters")
    if groups or statistics.foreign:
        console.print("\nTo settle one: metrics-worker replay --cause ID")
        console.print("           or: metrics-worker dlq discard --cause ID --reason WHY")


def _summarize(group: CauseGroup) -> str:
    cause = group.cause
    error = _format_name(cause.error_type) + ("" if cause.code is None else f" ({cause.code})")
    return f"{cause.error_class.value}  {error}" + (
        "" if cause.metric is None else f"  metric {_format_name(cause.metric)}"
    )


def _explain(group: CauseGroup) -> Iterable[str]:
    yield escape_control_characters(group.cause.message)
    agents = ", ".join(map(_format_name, group.agents)) + ", …" * group.has_more_agents
    yield f"{format_time(group.oldest)} to {format_time(group.newest)} UTC, for example {group.example}"
    if agents:
        yield f"agents: {agents}"
    yield ADVICE[group.cause.error_class].instructions


def _format_name(text: str) -> str:
    return escape_control_characters(text, _MAX_NAME_CHARACTERS) or "(empty)"
