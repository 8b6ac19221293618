"""Rewrites the part of a query that a shard runs, so that another server can complete it.

A ClickHouse shard stops a query at a stage (src/Core/QueryProcessingStage.h) and sends the columns that it has then,
with the names of its plan, such as `__table1.agent_name`, and with aggregate functions as states. chDB runs queries to
the end. So the query is rewritten: its columns get the names of the plan; if it aggregates, it returns the keys of the
plan, and each aggregate function with the combinator -State. If the plan of the rewritten query has other keys or
functions, or another order, the query is refused.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.local.engine.errors import NOT_IMPLEMENTED, ServerError
from deploy.local.engine.statement import identifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_KEYWORDS = (
    "FROM", "GROUP BY", "HAVING", "WINDOW", "QUALIFY", "ORDER BY", "LIMIT", "OFFSET", "SETTINGS", "UNION", "INTERSECT",
    "EXCEPT",
)  # fmt: skip
_TOKEN = re.compile(
    rf"""'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|[(),\[\]]|\b(?:{"|".join(_KEYWORDS)})\b|\w+""", re.DOTALL
)
_SEVERAL_GROUPINGS = re.compile(r"\bTOTALS\b|\bROLLUP\b|\bCUBE\b|\bGROUPING SETS\b")
_OPENING, _CLOSING = ("(", "["), (")", "]")


class Aggregation(NamedTuple):
    """The aggregation of a plan: its keys, and the names and whole calls of its functions."""

    keys: tuple[str, ...]
    functions: tuple[str, ...]
    calls: tuple[str, ...]

    def is_state_of(self, other: Aggregation) -> bool:
        """Whether this has the keys of `other`, and its functions as states."""
        states = tuple(
            f"{function}State{call.removeprefix(function)}"
            for function, call in zip(other.functions, other.calls, strict=True)
        )
        return self.keys == other.keys and self.calls == states


class Plan:
    """The plan of a query, from `EXPLAIN PLAN json = 1, optimize = 0, header = 1, actions = 1`."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root

    def _nodes(self) -> Iterator[dict[str, Any]]:
        """The steps from the last to the first, up to one with several inputs."""
        node = self._root
        yield node
        while len(node.get("Plans", ())) == 1:
            (node,) = node["Plans"]
            yield node

    def aggregation(self) -> Aggregation | None:
        """The aggregation of the outermost query; None where there is none."""
        for node in self._nodes():
            if node["Node Type"] == "Aggregating":
                found = node.get("Aggregates", ())
                return Aggregation(
                    tuple(node.get("Keys", ())),
                    tuple(each["Function"]["Name"] for each in found),
                    tuple(each["Name"] for each in found),
                )
        return None

    def renamed(self) -> dict[str, str]:
        """The name in the result of each column of the last step but one, by its name in that step."""
        if self._root.get("Description") != "Project names":
            raise _refusal()
        names: dict[str, str] = {}
        slots: dict[int, str] = {}
        for action in self._root["Expression"]["Actions"]:
            if action["Node Type"] == "ALIAS":
                slots[action["Result"]] = source = slots[action["Arguments"][0]]
                names.setdefault(source, action["Result Name"])
            else:
                slots[action["Result"]] = action["Result Name"]
        return names

    def columns_before_naming(self) -> list[str]:
        """The columns of the last step but one: a server expects these of a shard if the query does not aggregate."""
        return [column["Name"] for column in self._root["Plans"][0]["Header"]]


def with_names_of_plan(text: str, plan: Plan) -> str:
    """Rewrite a query so that its columns have the names of its plan.

    Raises:
        ServerError: NOT_IMPLEMENTED where rows are sorted by a column that is not selected.
    """
    names = plan.renamed()
    expected = plan.columns_before_naming()
    if any(name not in names for name in expected):
        raise _refusal()
    columns = ", ".join(f"{identifier(names[name])} AS {identifier(name)}" for name in expected)
    return f"SELECT {columns} FROM ({text})"  # noqa: S608 - identifiers are quoted


def with_states(text: str, aggregation: Aggregation) -> tuple[str, str]:
    """Rewrite an aggregation to return states: the query of keys and states, and the query around it with the names of
    the plan.
    """
    clauses = _clauses(text)
    grouped_by = clauses.get("GROUP BY", "")
    if _SEVERAL_GROUPINGS.search(grouped_by):
        raise _refusal()
    keys = _keys(grouped_by)
    calls = list(dict.fromkeys(_calls(text, aggregation.functions)))
    if len(keys) != len(aggregation.keys) or len(calls) != len(aggregation.calls) or "FROM" not in clauses:
        raise _refusal()
    columns = [*keys, *(_with_state(call) for call in calls)]
    selected = ", ".join(f"{column} AS c{number}" for number, column in enumerate(columns))
    inner = f"SELECT {selected} FROM {clauses['FROM']}"  # noqa: S608 - parts of the query itself
    if keys:
        inner += f" GROUP BY {grouped_by}"
    names = enumerate(chain(aggregation.keys, aggregation.calls))
    outer = ", ".join(f"c{number} AS {identifier(name)}" for number, name in names)
    return inner, f"SELECT {outer} FROM ({inner})"  # noqa: S608 - identifiers are quoted


def check_states(states_of: Aggregation, rewritten: Aggregation | None) -> None:
    """Raise NOT_IMPLEMENTED if the rewritten query has another aggregation."""
    if rewritten is None or not rewritten.is_state_of(states_of):
        raise _refusal()


def _clauses(text: str) -> dict[str, str]:
    """The text after each keyword of the outermost query, by the keyword."""
    depth, keyword, start = 0, "SELECT", 0
    found: dict[str, str] = {}
    for match in _TOKEN.finditer(text):
        depth += (match[0] in _OPENING) - (match[0] in _CLOSING)
        if depth == 0 and match[0] in _KEYWORDS:
            found[keyword] = text[start : match.start()].strip()
            keyword, start = match[0], match.end()
    found[keyword] = text[start:].strip()
    return found


def _keys(text: str) -> list[str]:
    """The expressions of a GROUP BY."""
    keys: list[str] = []
    depth = start = 0
    for match in _TOKEN.finditer(text):
        depth += (match[0] in _OPENING) - (match[0] in _CLOSING)
        if match[0] == "," and depth == 0:
            keys.append(text[start : match.start()].strip())
            start = match.end()
    return [*keys, text[start:].strip()] if text else []


def _calls(text: str, functions: Sequence[str]) -> Iterator[str]:
    """Each call of one of `functions`, with its parameters and arguments, in the order of the text."""
    for match in _TOKEN.finditer(text):
        if match[0] in functions and text[match.end() : match.end() + 1] == "(":
            end = _end_of_parentheses(text, match.end())
            if text[end : end + 1] == "(":
                end = _end_of_parentheses(text, end)
            yield text[match.start() : end]


def _end_of_parentheses(text: str, start: int) -> int:
    depth = 0
    for match in _TOKEN.finditer(text, start):
        depth += (match[0] == "(") - (match[0] == ")")
        if depth == 0:
            return match.end()
    raise _refusal()


def _with_state(call: str) -> str:
    function, parenthesis, rest = call.partition("(")
    return f"{function}State{parenthesis}{rest}"


def _refusal() -> ServerError:
    return ServerError(
        NOT_IMPLEMENTED,
        "The local engine server cannot compute a shard's part of this query. Read the rows of the Distributed table "
        "in a subquery, as in: SELECT count() FROM (SELECT * FROM table)",
    )
