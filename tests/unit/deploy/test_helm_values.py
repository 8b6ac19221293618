"""The values of the Helm chart know the worker's variables."""

import json

import yaml

from deploy.helm_chart.values_schema import SET_BY_THE_CHART, settings_schema, values_schema
from deploy.local.process import REPOSITORY
from worker.settings.variables import describe_variables

CHART = REPOSITORY / "deploy" / "helm" / "metrics-worker"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text("utf-8"))


def test_schema_is_the_one_that_the_generator_writes() -> None:
    assert values_schema() == SCHEMA  # else: python -m deploy.helm_chart


def test_every_variable_is_a_setting_except_secrets_and_what_the_chart_sets() -> None:
    names = {row.file or row.variable for row in describe_variables()}
    assert settings_schema()["properties"].keys() == names - SET_BY_THE_CHART.keys()


def test_values_and_schema_have_the_same_keys() -> None:
    properties = SCHEMA["properties"]
    assert VALUES.keys() == properties.keys() - {"global"}
    parts = properties.keys() - {"global", "settings", "resources"}
    for key in (key for key in parts if "properties" in properties[key]):
        assert VALUES[key].keys() == properties[key]["properties"].keys(), key


def test_every_value_is_used_by_a_template() -> None:
    text = "\n".join(path.read_text("utf-8") for path in CHART.glob("templates/**/*") if path.is_file())
    names = {f".Values.{key}" for key in VALUES} | {
        f".Values.{key}.{name}"
        for key, schema in SCHEMA["properties"].items()
        if key not in {"settings", "resources"}
        for name in schema.get("properties", ())
    }
    assert [name for name in sorted(names) if name not in text] == []
