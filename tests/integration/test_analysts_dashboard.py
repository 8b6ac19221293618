"""Each query of the analysts' dashboard, with Grafana's macros and variables expanded, answers as the cookbook does."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from clickhouse_driver import Client

from deploy.cookbook import recipes
from deploy.grafana.cookbook_panels import VARIABLES, cookbook_query
from deploy.local.engine_process import EngineProcess
from deploy.local.process import REPOSITORY
from tests.support.cookbook_rows import ROWS, TODAY, asked_at, insert
from tests.support.rows import METRICS
from tests.support.tables import migrated_database, refresh_roll_up

DASHBOARD = json.loads((REPOSITORY / "deploy/grafana/execution-metrics.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RECIPES = recipes()
NOT_SHOWN = {
    "p99_per_agent_rolled_up", "one_metric_one_agent_one_day", "per_minute", "failures_around_a_release",
    "one_execution", "dead_letters_table", "dead_lettered_against_written",
}  # fmt: skip
"""Of one day, one release or one execution; of the dead letters, whose table Grafana cannot create; and an estimate."""
NAMES = {cookbook_query(name): name for name in RECIPES.keys() - NOT_SHOWN}
panels = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])


@pytest.fixture(scope="module")
def client(engine: EngineProcess) -> Iterator[Client]:
    with migrated_database(engine, "dashboard") as client:
        insert(client, ROWS)
        refresh_roll_up(client)
        yield client


def expand(query: str, since: datetime, until: datetime) -> str:
    """What the data source sends for the range, with the examples of the cookbook chosen as variables."""
    for macro, instant in (("$__fromTime", since), ("$__toTime", until)):
        query = query.replace(macro, f"toDateTime({int(instant.timestamp())})")
    for variable, example in VARIABLES.items():
        query = query.replace(f"${{{variable}:singlequote}}", example)
    assert "$" not in query
    return asked_at(TODAY, query)


def range_of(text: str) -> tuple[datetime, datetime]:
    """The first two dates of a query, or any if it has none."""
    dates = [datetime.fromisoformat(date).replace(tzinfo=UTC) for date in re.findall(r"'(\d{4}-\d\d-\d\d)'", text)]
    return (dates[0], dates[1]) if dates else (TODAY, TODAY)


@panels
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_panel_answers_as_the_query_of_the_cookbook(client: Client, panel: dict[str, Any], zone: str) -> None:
    (target,) = panel["targets"]
    text = RECIPES[NAMES[target["rawSql"]]].text
    expected = client.execute(asked_at(TODAY, text))
    assert expected, "an empty answer proves nothing"
    query = expand(target["rawSql"], *range_of(text))
    assert client.execute(query, settings={"session_timezone": zone}) == expected


@panels
def test_columns_named_by_a_panel_exist(client: Client, panel: dict[str, Any]) -> None:
    _, columns = client.execute(expand(panel["targets"][0]["rawSql"], TODAY, TODAY), with_column_types=True)
    types = dict(columns)
    named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    for transformation in panel.get("transformations", ()):
        named |= set(transformation["options"]["include"]["names"])
    assert named <= types.keys()
    assert panel["type"] == "table" or types["day"] == "Date32"


def test_dashboard_shows_the_cookbook() -> None:
    assert {target["rawSql"] for panel in PANELS for target in panel["targets"]} == NAMES.keys()


def test_variables_offer_agents_and_metrics(client: Client) -> None:
    queries = {entry["name"]: entry["query"] for entry in DASHBOARD["templating"]["list"] if entry["type"] == "query"}
    offered = {name: client.execute(expand(query, TODAY, TODAY)) for name, query in queries.items()}
    assert offered == {
        "agent": [(f"agent-{number:02}",) for number in range(20)],
        "metric": [(name,) for name in sorted([*METRICS, "only_before"])],
    }
