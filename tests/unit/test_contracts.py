"""What was released stays readable: the schemas against their released selves, the examples against the decoder."""

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.compatibility import narrowed
from tests.support.events import Record, encoded
from worker.fanout import FanOut

REPOSITORY = Path(__file__).parents[2]
PARSER = REPOSITORY / "tests" / "asyncapi"
Schema = dict[str, Any]


def load(name: str) -> Any:
    return json.loads(files("schemas").joinpath(name).read_text("utf-8"))


EVENT, LETTER = load("released/event.1.json"), load("released/dead_letter.1.json")


def test_the_event_schema_still_passes_all_that_the_released_one_passes() -> None:
    assert list(narrowed(load("event.schema.json"), EVENT)) == []


def test_the_dead_letter_schema_still_refuses_all_that_the_released_one_refuses() -> None:
    assert list(narrowed(LETTER, load("dead_letter.schema.json"))) == []


def changed(schema: Schema, change: Callable[[Schema], object]) -> Schema:
    copied = copy.deepcopy(schema)
    change(copied)
    return copied


@pytest.mark.parametrize(
    "change",
    [
        lambda event: event["required"].append("user_id"),
        lambda event: event["properties"]["agent_name"].update(maxLength=255),
        lambda event: event["properties"]["agent_name"].update(minLength=2),
        lambda event: event["properties"]["agent_name"].update(pattern="^[a-z]+$"),
        lambda event: event["properties"]["user_id"].update(type="string"),
        lambda event: event["properties"]["completed_at"].update(pattern="^.*$"),
        lambda event: event["properties"].update(status={"enum": ["succeeded"]}),
        lambda event: event["properties"].update(new={"type": "string"}),
        lambda event: event["properties"].pop("user_id"),
        lambda event: event.update(additionalProperties=False),
        lambda event: event["$defs"].pop("metric_name"),
        lambda event: event.update({"$id": "urn:execution-metrics:event:2"}),
        lambda event: event.update(propertyNames={"maxLength": 9}),
    ],
)
def test_a_change_that_would_refuse_todays_producers_is_refused(change: Callable[[Schema], object]) -> None:
    assert list(narrowed(changed(EVENT, change), EVENT)) != []


@pytest.mark.parametrize(
    "change",
    [
        lambda event: event["required"].remove("metrics"),
        lambda event: event["properties"]["agent_name"].update(maxLength=300, description="Longer."),
        lambda event: event["properties"]["execution_id"].update(type=["string", "null"]),
        lambda event: event["properties"].update(new={"description": "For other readers."}),
        lambda event: event["properties"]["metrics"].pop("maxProperties"),
    ],
)
def test_a_change_that_only_allows_more_passes(change: Callable[[Schema], object]) -> None:
    assert list(narrowed(changed(EVENT, change), EVENT)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda letter: letter["$defs"]["metric"]["required"].remove("user_id"),
        lambda letter: letter["$defs"]["metric"]["properties"]["metric_value"].update(type=["string", "number"]),
        lambda letter: letter["$defs"]["headers"]["properties"]["dlq.error.class"]["enum"].append("new_class"),
        lambda letter: letter["$defs"]["pointer"].update(additionalProperties=True),
    ],
)
def test_a_dead_letter_that_todays_readers_do_not_know_is_refused(change: Callable[[Schema], object]) -> None:
    assert list(narrowed(LETTER, changed(LETTER, change))) != []


@pytest.mark.parametrize("name", ["event", "cloudevent_binary", "cloudevent_structured"])
def test_an_example_is_read_as_rows(name: str) -> None:
    example = load(f"examples/{name}.json")
    value = example.get("value", example)
    headers = tuple((key, text.encode()) for key, text in example.get("headers", {}).items())
    fanned = FanOut()
    fanned.add(Record(encoded(value), headers=headers))
    assert (fanned.rows, fanned.skipped, fanned.failed) == (3, {"string": 1}, [])
    assert Draft202012Validator(EVENT).is_valid(value.get("data", value))


@pytest.mark.timeout(600)
def test_the_asyncapi_document_is_valid_to_its_own_parser() -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js and npm are not on this machine: schemas/asyncapi.yaml was NOT validated")
    if not (PARSER / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PARSER, check=True)  # noqa: S607
    assert (done := asyncapi(REPOSITORY / "schemas" / "asyncapi.yaml")).returncode == 0, done.stdout
    assert done.stdout.startswith("2 operations")


def asyncapi(document: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        ["node", "check.mjs", str(document)],  # noqa: S607
        cwd=PARSER,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
