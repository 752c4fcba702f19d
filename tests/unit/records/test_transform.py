"""Records hold what the API sent, in the structure of their schema, and nothing is thrown away."""

from __future__ import annotations

import copy
import itertools
import json
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tap_wootric.records.sanitize import sanitize_nested
from tap_wootric.records.transform import RecordTransformer
from tools.sandbox import Account

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@cache
def schema_text(stream: str) -> str:
    return files("tap_wootric.schemas").joinpath(f"{stream}.json").read_text()


def schema_of(stream: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(schema_text(stream))
    return schema


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


@given(properties=st.dictionaries(st.text(), JSON))
def test_the_customers_properties_are_unchanged(properties: dict[str, Any]) -> None:
    assert transform("end_users", {"id": 1, "properties": properties})["properties"] == properties
    record = transform("responses", {"id": 1, "end_user": {"properties": properties}})
    assert record["end_user"]["properties"] == properties


@given(row=st.dictionaries(st.sampled_from(sorted(schema_of("responses")["properties"])) | st.text(), JSON))
def test_any_row_becomes_a_valid_record_that_keeps_every_field(row: dict[str, Any]) -> None:
    record = transform("responses", {**row, "id": 1})
    extra = record["extra_fields"] or {}
    for name, value in row.items():
        if record.get(name) is None and value is not None:
            assert extra[name] == sanitize_nested(value)


def test_the_documented_row_keeps_its_documented_values() -> None:
    row = {
        "id": 1,
        "end_user_id": 1,
        "score": 0,
        "completed": False,
        "updated_at": "2016-12-16 09:05:13 -0800",
        "tags": ["PERFORMANCE"],
        "end_user": {"id": 1, "external_created_at": 1473177881, "created_at": "2016-12-01 09:05:00 -0800"},
    }
    assert transform("responses", row) == {
        **row,
        "updated_at": "2016-12-16T17:05:13Z",
        "end_user": {**row["end_user"], "created_at": "2016-12-01T17:05:00Z"},  # type: ignore[dict-item]
        "extra_fields": None,
    }


@pytest.mark.parametrize(
    ("field", "sent", "expected"),
    [
        ("id", "490635419", 490635419),
        ("external_created_at", "2016-12-16 09:05:13 -0800", 1481907913),
        ("user_id", Decimal("7.0"), 7),
        ("email", 5, "5"),
        ("external_id", {"a": Decimal("1.50")}, '{"a":1.50}'),
        ("properties", "a text", {"_raw": "a text"}),
        ("properties", None, None),
        ("last_response", {"id": "7", "survey": None}, {"id": 7, "survey": None}),
        ("settings", {"email_nps": "true", "web_nps": 0}, {"email_nps": True, "web_nps": False}),
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
        (["PRICE", None, 7], ["PRICE", None, "7"]),
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
        "settings": {"sms_nps": True, "email_nps": "perhaps"},
        "last_seen_at": "soon",
        "last_response": "none yet",
        "extra_fields": 1,
    }
    for _ in range(2):
        assert transformer(row) == {
            "id": 1,
            "settings": {"email_nps": None},
            "last_seen_at": None,
            "last_response": None,
            "extra_fields": {
                "mood": {"a": [1]},
                "settings": {"sms_nps": True, "email_nps": "perhaps"},
                "last_seen_at": "soon",
                "last_response": "none yet",
                "extra_fields": 1,
            },
        }
    assert reported == [
        ("mood", False),
        ("settings.sms_nps", False),
        ("settings.email_nps", True),
        ("last_seen_at", True),
        ("last_response", True),
        ("extra_fields", False),
    ]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (55, 55),
        (-100, -100),
        (Decimal("12.50"), Decimal("12.50")),
        ("12.5", Decimal("12.5")),
        ("-7", -7),
        *itertools.product([True, "", "1_000", " 5 ", "٣", "NaN", 2**64, Decimal("1e30"), [1], {}], [None]),
    ],
)
def test_a_number_in_any_form_becomes_a_number_or_goes_into_extra_fields(value: Any, number: Any) -> None:
    record = transform("nps_summary", {"date": "2025-12-31", "nps": value})
    assert record["nps"] == number
    assert record["extra_fields"] == (None if number is not None else {"nps": value})


def rows_of(stream: str) -> list[dict[str, Any]]:
    return [row.rendered() for row in Account(20, 20, declines=20).tables[stream].rows.values()]


@pytest.mark.parametrize("stream", ["end_users", "responses", "declines"])
def test_a_whole_page_gives_the_same_records_as_its_rows_one_by_one(stream: str) -> None:
    rows = (
        [*rows_of(stream), {**rows_of(stream)[0], "last_surveyed": None}] if stream == "end_users" else rows_of(stream)
    )
    rows.append({"id": 5, "updated_at": "2016-12-16T17:05:13.5Z"})
    expected = [transformer_of(stream)(row) for row in json.loads(json.dumps(rows), parse_float=Decimal)]
    assert transformer_of(stream).page(json.dumps(rows).encode()) == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"color": "red"},
        {"end_user_id": "7"},
        {"score": 2**64},
        {"score": True},
        {"text": "a\0b"},
        {"text": 5},
        {"tags": "PRICE"},
        {"tags": [1]},
        {"updated_at": ""},
        {"updated_at": 1_481_907_913},
        {"updated_at": "soon"},
        {"end_user": {"color": "red"}},
        {"end_user": {"external_created_at": "2016-12-16 09:05:13 -0800"}},
        {"end_user": {"properties": "a text"}},
        {"end_user": []},
    ],
)
def test_a_page_with_a_row_that_needs_conversion_is_declined(fields: dict[str, Any]) -> None:
    rows = [*rows_of("responses"), {"id": 5, **fields}]
    assert transformer_of("responses").page(json.dumps(rows).encode()) is None


@pytest.mark.parametrize("content", ["", "[", "{}", '{"type": "error_list"}', "[1]", "[null]", "null", '["\\ud800"]'])
def test_a_body_that_is_not_a_page_is_declined(content: str) -> None:
    assert transformer_of("responses").page(content.encode()) is None


def test_a_field_that_is_not_selected_is_in_no_record() -> None:
    effective_schema = schema_of("responses")
    del effective_schema["properties"]["text"]
    transformer = RecordTransformer(schema_of("responses"), effective_schema, lambda *_: None)
    assert transformer.page(json.dumps(rows_of("responses")).encode()) is None
    assert "text" not in transformer(rows_of("responses")[0])


def test_a_field_that_is_not_selected_is_not_reported_as_unexpected() -> None:
    effective_schema = schema_of("responses")
    del effective_schema["properties"]["text"]
    del effective_schema["properties"]["extra_fields"]
    reported: list[str] = []
    transformer = RecordTransformer(schema_of("responses"), effective_schema, lambda path, _: reported.append(path))
    assert transformer({"id": 1, "text": "secret", "color": "red"}) == {"id": 1}
    assert reported == ["color"]
    assert transformer.page(b'[{"id": 1}]') == [{"id": 1}]


def test_a_row_is_not_changed_by_its_transformation() -> None:
    row = {"id": "1", "end_user": {"id": "2", "color": "a\0b"}, "tags": "PRICE"}
    before = copy.deepcopy(row)
    transform("responses", row)
    assert row == before


@given(value=JSON.filter(lambda value: value is not None and not isinstance(value, str)))
def test_text_of_another_value_is_its_json(value: Any) -> None:
    text = transform("end_users", {"id": 1, "external_id": value})["external_id"]
    assert json.loads(text, parse_float=Decimal) == value
