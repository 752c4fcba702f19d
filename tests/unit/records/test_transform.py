"""Records hold what the API sent, in the structure of their schema, and nothing is thrown away."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tap_wootric.records.sanitize import sanitize_nested
from tap_wootric.records.transform import RecordTransformer
from tap_wootric.streams import STREAMS

TEXT = st.text(st.sampled_from('aé高🙂 7\0\\"\u2028'))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FEW_EXAMPLES = settings(max_examples=20, deadline=None)


def schema_of(stream: str) -> dict[str, Any]:
    return STREAMS[stream].schema


@cache
def validator_of(stream: str) -> Draft7Validator:
    return Draft7Validator(schema_of(stream))


@cache
def transformer_of(stream: str) -> RecordTransformer:
    return RecordTransformer(schema_of(stream), schema_of(stream), lambda *_: None)


def transform(stream: str, row: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a row, which is checked against the stream's schema."""
    record = transformer_of(stream)(row)
    validator_of(stream).validate(json.loads(json.dumps(record, default=float)))
    return record


@FEW_EXAMPLES
@given(properties=st.dictionaries(TEXT, JSON))
def test_the_customers_properties_are_unchanged(properties: dict[str, Any]) -> None:
    assert transform("end_users", {"id": 1, "properties": properties})["properties"] == properties
    record = transform("responses", {"id": 1, "end_user": {"properties": properties}})
    assert record["end_user"]["properties"] == properties


@FEW_EXAMPLES
@given(row=st.dictionaries(st.sampled_from(sorted(schema_of("responses")["properties"])) | TEXT, JSON))
def test_any_row_becomes_a_valid_record_that_keeps_every_field(row: dict[str, Any]) -> None:
    record = transform("responses", {**row, "id": 1})
    extra = record["extra_fields"] or {}
    for name, value in row.items():
        if record.get(name) is None and value is not None:
            assert extra[name] == sanitize_nested(value)


def test_the_documented_row_keeps_its_values_and_gets_a_null_for_each_field_that_it_lacks() -> None:
    row = {
        "id": 1,
        "end_user_id": 1,
        "score": 0,
        "completed": False,
        "updated_at": "2016-12-16 09:05:13 -0800",
        "tags": ["PERFORMANCE"],
        "end_user": {"id": 1, "external_created_at": 1473177881, "created_at": "2016-12-01 09:05:00 -0800"},
    }
    record = transform("responses", row)
    values = {name: value for name, value in record.items() if value is not None}
    values["end_user"] = {name: value for name, value in record["end_user"].items() if value is not None}
    assert values == {
        **row,
        "updated_at": "2016-12-16T17:05:13Z",
        "end_user": {**row["end_user"], "created_at": "2016-12-01T17:05:00Z"},  # type: ignore[dict-item]
    }
    properties = schema_of("responses")["properties"]
    assert record.keys() == properties.keys()
    assert record["end_user"].keys() == properties["end_user"]["properties"].keys()


EXAMPLE: dict[str, Any] = {
    "properties": {
        "id": {"type": "integer"},
        "survey": {
            "type": ["object", "null"],
            "properties": {
                "channel": {"type": ["string", "null"]},
                "template": {
                    "type": ["object", "null"],
                    "properties": {"name": {"type": ["string", "null"]}},
                },
            },
        },
        "extra_fields": {"type": ["object", "null"]},
    }
}


@pytest.mark.parametrize(
    ("row", "levels", "expected"),
    [
        ({}, 0, None),
        ({}, 1, {"channel": None, "template": None}),
        ({"survey": None}, 2, {"channel": None, "template": {"name": None}}),
        ({"survey": "a text"}, 1, {"channel": None, "template": None}),
        ({"survey": {}}, 0, {"channel": None, "template": None}),
        ({"survey": {"channel": "web", "template": None}}, 2, {"channel": "web", "template": {"name": None}}),
        ({"survey": {"template": {}}}, 0, {"channel": None, "template": {"name": None}}),
    ],
)
def test_an_object_has_all_its_fields_and_where_it_is_flattened_a_null_has_them_too(
    row: dict[str, Any], levels: int, expected: object
) -> None:
    transformer = RecordTransformer(EXAMPLE, EXAMPLE, lambda *_: None, levels)
    for _ in range(2):
        survey = transformer({"id": 1, **row})["survey"]
        assert survey == expected
        if survey:
            survey.clear()  # As a stream map may do.


@pytest.mark.parametrize(
    ("field", "sent", "expected"),
    [
        ("id", "490635419", 490635419),
        ("external_created_at", "2016-12-16 09:05:13 -0800", 1481907913),
        ("user_id", Decimal("7.0"), 7),
        ("email", 5, "5"),
        ("properties", "a text", {"_raw": "a text"}),
    ],
)
def test_a_value_of_another_type_is_converted(field: str, sent: object, expected: object) -> None:
    record = transform("end_users", {"id": 1, field: sent})
    assert record[field] == expected
    assert record["extra_fields"] is None


@pytest.mark.parametrize(
    "sent", ["9.7", "2016-12-16", True, Decimal("9.5"), 2**63, Decimal("1e999999999"), [], "nine", Decimal("NaN")]
)
def test_a_value_that_is_not_an_integer_is_set_aside_unchanged(sent: object) -> None:
    record = transformer_of("responses")({"id": 1, "score": sent})
    assert record["score"] is None
    assert repr(record["extra_fields"]["score"]) == repr(sent)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("PRICE", ["PRICE"]),
        (["PRICE", None, 7], ["PRICE", "7"]),
        ([{"id": 1, "name": "PRICE"}], ['{"id":1,"name":"PRICE"}']),
        ({"name": "PRICE"}, ['{"name":"PRICE"}']),
        (None, None),
    ],
)
def test_tags_become_a_list_of_text(sent: object, expected: object) -> None:
    assert transform("responses", {"id": 1, "tags": sent})["tags"] == expected


def test_unexpected_fields_and_values_go_into_extra_fields_and_are_reported_once() -> None:
    reported: list[tuple[str, bool]] = []
    schema = schema_of("end_users")
    transformer = RecordTransformer(schema, schema, lambda path, is_known: reported.append((path, is_known)))
    row = {
        "id": 1,
        "mood": {"a": [1]},
        "settings": {"sms_nps": True, "email_nps": "perhaps", "web_nps": "true"},
        "last_seen_at": "soon",
        "last_response": "none yet",
        "extra_fields": 1,
    }
    for _ in range(2):
        record = transformer(row)
        assert record["extra_fields"] == {
            "mood": {"a": [1]},
            "settings": {"sms_nps": True, "email_nps": "perhaps"},
            "last_seen_at": "soon",
            "last_response": "none yet",
            "extra_fields": 1,
        }
        assert (record["settings"]["email_nps"], record["settings"]["web_nps"]) == (None, True)
        assert record["last_seen_at"] is record["last_response"] is None
        assert record.keys() == schema["properties"].keys()
    assert reported == [
        ("mood", False),
        ("settings.sms_nps", False),
        ("settings.email_nps", True),
        ("last_seen_at", True),
        ("last_response", True),
        ("extra_fields", False),
    ]


NOT_NUMBERS: list[Any] = [True, "", "1_000", " 5 ", "٣", "NaN", 2**64, Decimal("1e30"), [1], {}]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (55, 55),
        (-100, -100),
        (Decimal("12.50"), Decimal("12.50")),
        ("12.5", Decimal("12.5")),
        ("-7", -7),
        *[(value, None) for value in NOT_NUMBERS],
    ],
)
def test_a_number_in_any_form_becomes_a_number_or_goes_into_extra_fields(value: Any, number: Any) -> None:
    record = transform("nps_summary", {"date": "2025-12-31", "nps": value})
    assert record["nps"] == number
    assert record["extra_fields"] == (None if number is not None else {"nps": value})


def test_a_field_that_is_not_selected_is_left_out_at_any_depth_and_is_not_unexpected() -> None:
    selected = copy.deepcopy(EXAMPLE)
    del selected["properties"]["extra_fields"]
    del selected["properties"]["survey"]["properties"]["channel"]
    reported: list[str] = []
    transformer = RecordTransformer(EXAMPLE, selected, lambda path, _: reported.append(path))
    row = {"id": 1, "survey": {"channel": "web", "template": {"name": "a"}}, "color": "red"}
    assert transformer(row) == {"id": 1, "survey": {"template": {"name": "a"}}}
    assert reported == ["color"]
    selected["properties"]["extra_fields"] = EXAMPLE["properties"]["extra_fields"]
    transformer = RecordTransformer(EXAMPLE, selected, lambda *_: None)
    assert transformer({"id": 1, "survey": [{"channel": "web"}]})["extra_fields"] is None


def test_an_object_in_another_form_may_hold_a_field_that_is_not_selected_however_deep() -> None:
    selected = copy.deepcopy(EXAMPLE)
    del selected["properties"]["survey"]["properties"]["template"]["properties"]["name"]
    transformer = RecordTransformer(EXAMPLE, selected, lambda *_: None)
    assert transformer({"id": 1, "survey": [{"template": {"name": "a"}}]})["extra_fields"] is None


def test_a_row_is_not_changed_by_its_transformation() -> None:
    row = {"id": "1", "end_user": {"id": "2", "color": "a\0b"}, "tags": "PRICE"}
    before = copy.deepcopy(row)
    transform("responses", row)
    assert row == before


@FEW_EXAMPLES
@given(value=JSON.filter(lambda value: value is not None and not isinstance(value, str)))
def test_a_value_in_place_of_text_becomes_its_json(value: Any) -> None:
    text = transform("end_users", {"id": 1, "external_id": value})["external_id"]
    assert json.loads(text, parse_float=Decimal) == value
