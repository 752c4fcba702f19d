"""Each stream has a JSON schema that says all a target needs, in a form that every target loads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tap_wootric.streams import STREAMS

Field = Mapping[str, Any]

SCHEMAS: dict[str, dict[str, Any]] = {name: stream.schema for name, stream in STREAMS.items()}
KEYWORDS = {"type", "format", "description", "properties", "items", "additionalProperties"}


def properties(schema: Field, path: str = "") -> dict[str, Field]:
    """Return the properties of a schema at every depth, and the items of its lists, by their paths."""
    fields = {f"{path}.{name}".strip("."): field for name, field in schema.get("properties", {}).items()}
    if "items" in schema:
        fields[f"{path}[]"] = schema["items"]
    inner = [properties(field, name) for name, field in fields.items()]
    return {name: field for found in [fields, *inner] for name, field in found.items()}


def types(field: Field) -> list[str]:
    return field["type"] if isinstance(field["type"], list) else [field["type"]]


def is_item(path: str) -> bool:
    return path.endswith("[]")


def is_object(field: Field) -> bool:
    return "object" in types(field)


RULES: dict[str, Callable[[str, Field], bool]] = {
    "the documentation: it is described": lambda _, field: field.get("description", "").endswith("."),
    "target-postgres: a column has one type": lambda _, field: len({*types(field)} - {"null"}) == 1,
    "target-bigquery: no alternatives, as in anyOf": lambda _, field: field.keys() <= KEYWORDS,
    "target-bigquery: no list holds nulls": lambda path, field: not is_item(path) or "null" not in types(field),
    "target-bigquery: no list holds lists": lambda path, field: not is_item(path) or "array" not in types(field),
    "target-bigquery: a list says what it holds": lambda _, field: ("array" in types(field)) == ("items" in field),
    "target-bigquery: descriptions have at most 1,024 characters": lambda _, field: len(field["description"]) <= 1_024,
    "target-snowflake: objects in lists have properties": (
        lambda path, field: "properties" in field or not (is_item(path) and is_object(field))
    ),
    "target-snowflake, which folds case, and flattening: names are lower-case words with one _ between": (
        lambda path, _: bool(re.fullmatch(r"(\w+\.)*[a-z][a-z0-9]*(_[a-z0-9]+)*(\[\])?", path))
    ),
    "the tap's flattening: an object outside of lists has no empty properties, or its column is dropped": (
        lambda path, field: field.get("properties") != {} or is_item(path)
    ),
    "target-postgres: names have at most 63 bytes, flattened, too": lambda path, _: len(path.replace(".", "__")) <= 63,
    "targets that validate records: an object without named properties may hold any": (
        lambda _, field: field.get("additionalProperties", False) == (is_object(field) and not field.get("properties"))
    ),
    "target-clickhouse: text is a date, a time or without a format": (
        lambda _, field: field.get("format") in {None, "date", "date-time"}
    ),
    "target-mssql: comments are ASCII": lambda _, field: field["description"].isascii(),
}
"""What must hold for each property and for the items of lists, by the program that needs it; see docs/targets.md."""


@pytest.mark.parametrize("rule", RULES)
def test_every_property_loads_into(rule: str) -> None:
    fields = [(name, *field) for name, schema in SCHEMAS.items() for field in properties(schema).items()]
    assert len(fields) > 100
    assert [f"{name}: {path}" for name, path, field in fields if not RULES[rule](path, field)] == []


def test_every_stream_has_a_valid_json_schema_of_an_object() -> None:
    assert {f"{name}.json" for name in (*SCHEMAS, "respondent")} == {
        file.name for file in files("tap_wootric.schemas").iterdir() if file.name.endswith(".json")
    }
    for schema in SCHEMAS.values():
        Draft7Validator.check_schema(schema)
        assert schema["type"] == "object"
        assert schema["description"].endswith(".")


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_key_is_never_null_and_of_a_type_that_databases_index_and_other_properties_may_be_null(name: str) -> None:
    assert {SCHEMAS[name]["properties"][key]["type"] for key in STREAMS[name].primary_keys} <= {"integer", "string"}
    never_null = [field for field, schema in SCHEMAS[name]["properties"].items() if "null" not in types(schema)]
    assert never_null == [*STREAMS[name].primary_keys]


@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if stream.replication_key])
def test_the_replication_key_is_a_property_with_a_date_or_time(name: str) -> None:
    assert SCHEMAS[name]["properties"][STREAMS[name].replication_key]["format"] in {"date", "date-time"}
