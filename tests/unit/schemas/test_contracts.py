"""Schemas stay compatible with their released versions; examples and the AsyncAPI document match schemas and worker."""

import copy
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from tests.support.compatibility import find_incompatibilities
from tests.support.events import Record, encoded
from worker.events.fan_out import FanOut
from worker.settings.fields import Settings

REPOSITORY = Path(__file__).parents[3]
SCHEMAS = REPOSITORY / "schemas"
PARSER = REPOSITORY / "tests" / "asyncapi"
Schema = dict[str, Any]
Validate = Callable[[Path], subprocess.CompletedProcess[str]]


def load(name: str) -> Any:
    return json.loads(files("schemas").joinpath(name).read_text("utf-8"))


DOCUMENT: Schema = yaml.safe_load(files("schemas").joinpath("asyncapi.yaml").read_text("utf-8"))
EVENT = load("released/event.1.json")
DEAD_LETTER, SETTLEMENT = load("released/dead_letter.1.json"), load("released/settlement.1.json")


def what_to_do(name: str) -> str:
    """Return what to change after a change of a schema."""
    return (
        f"schemas/{name}.schema.json differs from schemas/released/{name}.1.json: it is a new version, "
        "see schemas/README.md, What may change"
    )


def test_event_schema_accepts_all_that_the_released_one_accepts() -> None:
    assert list(find_incompatibilities(load("event.schema.json"), EVENT)) == [], what_to_do("event")


def test_dead_letter_schema_rejects_all_that_the_released_one_rejects() -> None:
    assert list(find_incompatibilities(DEAD_LETTER, load("dead_letter.schema.json"))) == [], what_to_do("dead_letter")


def test_settlement_schema_rejects_all_that_the_released_one_rejects() -> None:
    assert list(find_incompatibilities(SETTLEMENT, load("settlement.schema.json"))) == [], what_to_do("settlement")


def test_released_schemas_and_migrations_never_change() -> None:
    lines = (SCHEMAS / "released" / "SHA256SUMS").read_text("utf-8").splitlines()
    released = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert {"released/event.1.json", "clickhouse/0001_execution_metrics.sql"} <= released.keys()
    found = {name: hashlib.sha256((SCHEMAS / name).read_bytes()).hexdigest() for name in released}
    assert found == released, "a file that was released differs: put it back, and add a new one"


def changed(schema: Schema, change: Callable[[Schema], object]) -> Schema:
    """Return a changed copy of a schema."""
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
        lambda event: event["properties"].update(new={"type": "string"}),
        lambda event: event["properties"].pop("user_id"),
        lambda event: event.update(additionalProperties=False),
        lambda event: event["$defs"].pop("metric_name"),
    ],
)
def test_a_change_that_rejects_events_of_released_producers_is_found(change: Callable[[Schema], object]) -> None:
    assert list(find_incompatibilities(changed(EVENT, change), EVENT)) != []


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
def test_a_change_that_only_accepts_more_events_is_allowed(change: Callable[[Schema], object]) -> None:
    assert list(find_incompatibilities(changed(EVENT, change), EVENT)) == []


def test_a_new_error_class_breaks_readers_of_dead_letters() -> None:
    dead_letter = copy.deepcopy(DEAD_LETTER)
    dead_letter["$defs"]["headers"]["properties"]["dlq.error.class"]["enum"].append("new_class")
    assert list(find_incompatibilities(DEAD_LETTER, dead_letter)) != []


@pytest.mark.parametrize("name", ["event", "cloudevent_binary", "cloudevent_structured"])
def test_example_becomes_rows(name: str) -> None:
    example = load(f"examples/{name}.json")
    value = example.get("value", example)
    headers = tuple((key, text.encode()) for key, text in example.get("headers", {}).items())
    fan_out = FanOut()
    fan_out.add_record(Record(encoded(value), headers=headers, timestamp=-1))
    assert (fan_out.rows, fan_out.skipped, fan_out.failed) == (3, {"string": 1}, [])
    assert Draft202012Validator(EVENT).is_valid(value.get("data", value))


def test_asyncapi_has_the_worker_s_default_topics_and_group() -> None:
    topics = {Settings.model_fields[name].default for name in ("kafka_topic", "kafka_dlq_topic")}
    channels = DOCUMENT["channels"].values()
    assert {channel["address"] for channel in channels} == topics
    assert {channel["bindings"]["kafka"]["topic"] for channel in channels} == topics
    group = DOCUMENT["operations"]["receiveExecutionCompleted"]["bindings"]["kafka"]["groupId"]
    assert group["default"] == Settings.model_fields["kafka_group_id"].default


def test_asyncapi_references_exist() -> None:
    found = list(references(DOCUMENT))
    assert {"event.schema.json", "dead_letter.schema.json", "settlement.schema.json"} <= set(found)
    for reference in found:
        name, _, pointer = reference.partition("#")
        target = load(name) if name else DOCUMENT
        for step in filter(None, pointer.split("/")):
            target = target[step]


def references(part: Any) -> Iterator[str]:
    """Yield every `$ref` in a document."""
    if isinstance(part, dict):
        yield from [part["$ref"]] if "$ref" in part else []
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from references(item)


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_asyncapi_describes_the_examples_of_cloudevents(mode: str) -> None:
    message = DOCUMENT["components"]["messages"][f"cloudEvent{mode.title()}"]
    example = load(f"examples/cloudevent_{mode}.json")
    Draft202012Validator(message["headers"]).validate(example["headers"])
    assert example["headers"]["content-type"].startswith(message["contentType"])
    if mode == "structured":
        event = Resource.from_contents(load("event.schema.json"))
        registry: Registry[Any] = Registry().with_resource("event.schema.json", event)
        Draft202012Validator(message["payload"], registry=registry).validate(example["value"])


@pytest.fixture(scope="module")
def validate() -> Validate:
    """Run AsyncAPI's own parser on a document."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js and npm are not installed: schemas/asyncapi.yaml was NOT validated")
    if not (PARSER / "node_modules").is_dir():
        installed = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        # A package that differs from package-lock.json is a failure, not a reason to skip.
        assert "EINTEGRITY" not in installed.stderr, installed.stderr
        if installed.returncode:
            reason = installed.stderr[-300:]
            pytest.skip(f"npm cannot install the parser: schemas/asyncapi.yaml was NOT validated: {reason}")
    return lambda document: run("node", "check.mjs", str(document))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=PARSER, capture_output=True, text=True, timeout=480, check=False)  # noqa: S603


@pytest.mark.timeout(600)
def test_asyncapi_is_valid(validate: Validate) -> None:
    done = validate(REPOSITORY / "schemas" / "asyncapi.yaml")
    assert (done.returncode, done.stdout) == (0, "3 operations, 5 messages\n")


@pytest.mark.timeout(600)
def test_asyncapi_parser_finds_errors(validate: Validate, tmp_path: Path) -> None:
    for name in ("event.schema.json", "dead_letter.schema.json", "settlement.schema.json"):
        (tmp_path / name).write_text(json.dumps(load(name)))
    document = copy.deepcopy(DOCUMENT)
    document["channels"]["deadLetters"]["bindings"]["kafka"]["partitions"] = "many"
    (tmp_path / "invalid.yaml").write_text(yaml.safe_dump(document))
    done = validate(tmp_path / "invalid.yaml")
    assert done.returncode == 1
    assert "partitions" in done.stdout
