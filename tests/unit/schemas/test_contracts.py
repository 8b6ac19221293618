"""What was released stays readable: the schemas against their released selves, the examples against the decoder."""

import copy
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

from tests.support.compatibility import narrowed
from tests.support.events import Record, encoded
from worker.events.fan_out import FanOut
from worker.settings.fields import Settings

REPOSITORY = Path(__file__).parents[3]
PARSER = REPOSITORY / "tests" / "asyncapi"
Schema = dict[str, Any]


def load(name: str) -> Any:
    return json.loads(files("schemas").joinpath(name).read_text("utf-8"))


DOCUMENT: Schema = yaml.safe_load(files("schemas").joinpath("asyncapi.yaml").read_text("utf-8"))
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
    fanned.add_record(Record(encoded(value), headers=headers))
    assert (fanned.rows, fanned.skipped, fanned.failed) == (3, {"string": 1}, [])
    assert Draft202012Validator(EVENT).is_valid(value.get("data", value))


class TestAsyncApi:
    """What holds without its parser."""

    def test_names_the_topics_and_the_group_that_the_worker_has_by_default(self) -> None:
        defaults = {name: Settings.model_fields[name].default for name in ("kafka_topic", "kafka_dlq_topic")}
        channels = DOCUMENT["channels"].values()
        assert {channel["address"] for channel in channels} == set(defaults.values())
        assert {channel["bindings"]["kafka"]["topic"] for channel in channels} == set(defaults.values())
        group = DOCUMENT["operations"]["receiveExecutionCompleted"]["bindings"]["kafka"]["groupId"]
        assert group["default"] == Settings.model_fields["kafka_group_id"].default

    def test_refers_only_to_what_is_there(self) -> None:
        found = list(references(DOCUMENT))
        assert {"event.schema.json", "dead_letter.schema.json"} <= set(found)
        for reference in found:
            name, _, pointer = reference.partition("#")
            target = load(name) if name else DOCUMENT
            for step in filter(None, pointer.split("/")):
                target = target[step]

    @pytest.mark.parametrize("mode", ["binary", "structured"])
    def test_describes_the_examples_of_cloudevents(self, mode: str) -> None:
        message = DOCUMENT["components"]["messages"][f"cloudEvent{mode.title()}"]
        example = load(f"examples/cloudevent_{mode}.json")
        Draft202012Validator(message["headers"]).validate(example["headers"])
        assert example["headers"]["content-type"].startswith(message["contentType"])
        if mode == "structured":
            Draft202012Validator(without_references(message["payload"])).validate(example["value"])


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from [part["$ref"]] if "$ref" in part else []
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from references(item)


def without_references(part: Any) -> Any:
    """With the schema of events in place of what refers to it."""
    if not isinstance(part, dict):
        return part
    if part.get("$ref") == "event.schema.json":
        return load("event.schema.json")
    return {name: without_references(value) for name, value in part.items()}


@pytest.fixture(scope="module")
def parser() -> None:
    """AsyncAPI's own parser, ready to run."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node.js and npm are not on this machine: schemas/asyncapi.yaml was NOT validated")
    if not (PARSER / "node_modules").is_dir():
        fetched = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],  # noqa: S607
            cwd=PARSER,
            capture_output=True,
            text=True,
            check=False,
        )
        # One that is not what package-lock.json pins is no reason to skip anything.
        assert "EINTEGRITY" not in fetched.stderr, fetched.stderr
        if fetched.returncode:
            pytest.skip(f"npm fetches no parser here: schemas/asyncapi.yaml was NOT validated: {fetched.stderr[-300:]}")


@pytest.mark.usefixtures("parser")
@pytest.mark.timeout(600)
class TestAsyncApiToItsOwnParser:
    def test_is_valid(self) -> None:
        done = asyncapi(REPOSITORY / "schemas" / "asyncapi.yaml")
        assert (done.returncode, done.stdout) == (0, "2 operations, 4 messages\n")

    @pytest.mark.parametrize(
        "change",
        [
            lambda document: document.pop("info"),
            lambda document: document["operations"]["sendDeadLetter"].update(action="write"),
            lambda document: document["channels"]["deadLetters"]["messages"]["deadLetter"].update(
                {"$ref": "#/components/messages/absent"}
            ),
            lambda document: document["channels"]["deadLetters"]["bindings"]["kafka"].update(partitions="many"),
        ],
        ids=["without info", "an action that there is none of", "a reference to nothing", "a binding of another type"],
    )
    def test_is_not_when_it_is_spoilt(self, tmp_path: Path, change: Callable[[Schema], object]) -> None:
        for name in ("event.schema.json", "dead_letter.schema.json"):
            (tmp_path / name).write_text(json.dumps(load(name)))
        (tmp_path / "spoilt.yaml").write_text(yaml.safe_dump(changed(DOCUMENT, change)))
        assert asyncapi(tmp_path / "spoilt.yaml").returncode == 1


def asyncapi(document: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        ["node", "check.mjs", str(document)],  # noqa: S607
        cwd=PARSER,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
