"""Each stream has a JSON schema that says all a target needs: types, keys, and what each property means."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tap_wootric.streams import STREAMS

SCHEMAS: dict[str, dict[str, Any]] = {
    file.name.removesuffix(".json"): json.loads(file.read_text())
    for file in files("tap_wootric.schemas").iterdir()
    if file.name.endswith(".json")
}


def properties(schema: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """Return the properties of a schema at every depth, and the items of its lists, by their paths."""
    fields = {f"{path}.{name}".strip("."): field for name, field in schema.get("properties", {}).items()}
    if "items" in schema:
        fields[f"{path}[]"] = schema["items"]
    inner = [properties(field, name) for name, field in fields.items()]
    return {name: field for found in [fields, *inner] for name, field in found.items()}


def types(field: dict[str, Any]) -> list[str]:
    return field["type"] if isinstance(field["type"], list) else [field["type"]]


def test_every_stream_has_a_valid_json_schema_of_an_object() -> None:
    assert {name: stream.schema for name, stream in STREAMS.items()} == SCHEMAS
    for schema in SCHEMAS.values():
        Draft7Validator.check_schema(schema)
        assert schema["type"] == "object"


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_and_its_properties_are_described_at_every_depth(name: str) -> None:
    described = {"": SCHEMAS[name], **properties(SCHEMAS[name])}
    assert [path for path, field in described.items() if not field.get("description", "").endswith(".")] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_key_is_never_null_and_every_other_property_may_be(name: str) -> None:
    never_null = [field for field, schema in SCHEMAS[name]["properties"].items() if "null" not in types(schema)]
    assert never_null == [*STREAMS[name].primary_keys]


@pytest.mark.parametrize("name", [name for name, stream in STREAMS.items() if stream.replication_key])
def test_the_replication_key_is_a_property_with_a_date_or_time(name: str) -> None:
    assert SCHEMAS[name]["properties"][STREAMS[name].replication_key]["format"] in {"date", "date-time"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_property_has_a_mixed_type_because_databases_refuse_them(name: str) -> None:
    mixed = [path for path, field in properties(SCHEMAS[name]).items() if len(set(types(field)) - {"null"}) != 1]
    assert mixed == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_unexpected_fields_have_the_same_place_in_every_stream(name: str) -> None:
    assert SCHEMAS[name]["properties"]["extra_fields"] == SCHEMAS["responses"]["properties"]["extra_fields"]
