"""True rows: what the API said, in one form, and nothing thrown away."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from tap_wootric.records.sanitize import sanitize_nested
from tap_wootric.records.timestamps import normalize_timestamp, unix_seconds
from tap_wootric.records.transform import RecordTransformer
from tap_wootric.streams import STREAMS
from tests.sandbox import Account

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OFFSETS = st.integers(-14 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=OFFSETS).map(  # noqa: DTZ001 - With one.
    lambda instant: instant.replace(microsecond=0)
)
FORMS = {
    "as nearly always": "%Y-%m-%d %H:%M:%S %z",
    "with a T": "%Y-%m-%dT%H:%M:%S%z",
    "with no blank": "%Y-%m-%d %H:%M:%S%z",
}


def schema_of(stream: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(files("tap_wootric.schemas").joinpath(f"{stream}.json").read_text())
    return schema


def shape(stream: str, row: dict[str, Any]) -> dict[str, Any]:
    """Shape a row, and check the record against the stream's schema."""
    record = RecordTransformer(schema_of(stream), schema_of(stream), lambda *_: None)(row)
    Draft7Validator(schema_of(stream)).validate(json.loads(json.dumps(record, default=float)))
    return record


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@given(instant=INSTANTS)
def test_a_time_is_the_same_instant_in_utc(form: str, instant: datetime) -> None:
    assert datetime.fromisoformat(normalize_timestamp(instant.strftime(form))) == instant


@given(instant=INSTANTS)
def test_a_time_with_a_colon_in_its_offset_or_as_unix_seconds_is_the_same_instant(instant: datetime) -> None:
    expected = instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert normalize_timestamp(str(instant)) == expected
    assert normalize_timestamp(int(instant.timestamp())) == expected
    assert normalize_timestamp(str(int(instant.timestamp()))) == expected
    assert unix_seconds(expected) == instant.timestamp()


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2016-12-16 09:05:13 -0800", "2016-12-16T17:05:13Z"),
        ("2015-02-12T06:29:27.000-08:00", "2015-02-12T14:29:27.000Z"),
        ("2015-02-12T06:29:27.1234567-08:00", "2015-02-12T14:29:27.1234567Z"),
        ("2015-04-20 04:46:51-08:00", "2015-04-20T12:46:51Z"),
        ("2014-12-01 18:36:59", "2014-12-01T18:36:59Z"),
        ("2014-12-01 18:36:59 UTC", "2014-12-01T18:36:59Z"),
        ("2016-12-16T17:05:13Z", "2016-12-16T17:05:13Z"),
        (1661002761, "2022-08-20T13:39:21Z"),
        (Decimal("1661002761.5"), "2022-08-20T13:39:21.5Z"),
        ("2015-04-20", "2015-04-20T00:00:00Z"),
    ],
)
def test_each_form_of_a_time_that_was_seen_is_understood(sent: object, expected: str) -> None:
    assert normalize_timestamp(sent) == expected


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "soon",
        "12:00",
        "2015-W01",
        "2015-13-01 00:00:00",
        "0001-01-01 00:00:00 +0800",
        10**12,
        True,
        [],
        {},
        None,
    ],
)
def test_what_is_no_time_is_not_read_as_one(sent: object) -> None:
    with pytest.raises(ValueError, match=r".+"):
        normalize_timestamp(sent)


@given(properties=st.dictionaries(st.text(), JSON))
def test_properties_are_untouched(properties: dict[str, Any]) -> None:
    assert shape("end_users", {"id": 1, "properties": properties})["properties"] == properties
    record = shape("responses", {"id": 1, "end_user": {"properties": properties}})
    assert record["end_user"]["properties"] == properties


@given(row=st.dictionaries(st.sampled_from(sorted(schema_of("responses")["properties"])) | st.text(), JSON))
def test_any_row_becomes_a_valid_record_that_keeps_every_field(row: dict[str, Any]) -> None:
    record = shape("responses", {**row, "id": 1})
    extra = record["extra_fields"] or {}
    for name, value in row.items():
        if record.get(name) is None and value is not None:
            assert extra[name] == sanitize_nested(value)


def test_the_documented_row_comes_out_as_documented() -> None:
    row = {
        "id": 1,
        "end_user_id": 1,
        "score": 0,
        "completed": False,
        "updated_at": "2016-12-16 09:05:13 -0800",
        "tags": ["PERFORMANCE"],
        "end_user": {"id": 1, "external_created_at": 1473177881, "created_at": "2016-12-01 09:05:00 -0800"},
    }
    assert shape("responses", row) == {
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
def test_an_odd_value_of_an_end_user_is_brought_to_its_type(field: str, sent: object, expected: object) -> None:
    record = shape("end_users", {"id": 1, field: sent})
    assert record[field] == expected
    assert record["extra_fields"] is None


@pytest.mark.parametrize(
    "sent", ["9.7", "2016-12-16", True, Decimal("9.5"), 2**63, Decimal("1e999999999"), [], "nine", Decimal("NaN")]
)
def test_what_is_no_integer_is_not_read_as_one_but_set_aside(sent: object) -> None:
    record = RecordTransformer(schema_of("responses"), schema_of("responses"), lambda *_: None)(
        {"id": 1, "score": sent}
    )
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
def test_tags_are_a_list_of_text(sent: object, expected: object) -> None:
    assert shape("responses", {"id": 1, "tags": sent})["tags"] == expected


def test_what_the_schema_does_not_name_goes_whole_into_extra_fields_and_is_reported_once() -> None:
    reported: list[tuple[str, bool]] = []
    shaper = RecordTransformer(
        schema_of("end_users"), schema_of("end_users"), lambda field, known: reported.append((field, known))
    )
    row = {
        "id": 1,
        "mood": {"a": [1]},
        "settings": {"sms_nps": True, "email_nps": "perhaps"},
        "last_seen_at": "soon",
        "last_response": "none yet",
        "extra_fields": 1,
    }
    for _ in range(2):
        assert shaper(row) == {
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


@pytest.mark.parametrize("stream", STREAMS)
def test_every_property_is_described_at_every_depth(stream: str) -> None:
    def undescribed(schema: dict[str, Any], path: str) -> list[str]:
        here = [] if schema.get("description") else [path]
        inner = {**schema.get("properties", {}), **({"[]": schema["items"]} if "items" in schema else {})}
        return here + [one for name, field in inner.items() for one in undescribed(field, f"{path}.{name}")]

    assert undescribed(schema_of(stream), stream) == []


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
def test_a_number_in_any_form_is_a_number_or_goes_into_extra_fields(value: Any, number: Any) -> None:
    record = shape("nps_summary", {"date": "2025-12-31", "nps": value})
    assert record["nps"] == number
    assert record["extra_fields"] == (None if number is not None else {"nps": value})


def plain(stream: str) -> list[dict[str, Any]]:
    return [row.rendered() for row in Account(20, 20, declines=20).tables[stream].rows.values()]


def shaper_of(stream: str) -> RecordTransformer:
    return RecordTransformer(schema_of(stream), schema_of(stream), lambda *_: None)


@pytest.mark.parametrize("stream", ["end_users", "responses", "declines"])
def test_a_page_of_plain_rows_is_read_at_once_to_what_its_rows_are(stream: str) -> None:
    rows = [*plain(stream), {**plain(stream)[0], "last_surveyed": None}] if stream == "end_users" else plain(stream)
    rows.append({"id": 5, "updated_at": "2016-12-16T17:05:13.5Z"})
    expected = [shaper_of(stream)(row) for row in json.loads(json.dumps(rows), parse_float=Decimal)]
    assert shaper_of(stream).page(json.dumps(rows).encode()) == expected


@pytest.mark.parametrize(
    "odd",
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
def test_a_page_with_an_odd_row_is_left_to_be_read_row_by_row(odd: dict[str, Any]) -> None:
    rows = [*plain("responses"), {"id": 5, **odd}]
    assert shaper_of("responses").page(json.dumps(rows).encode()) is None


@pytest.mark.parametrize("content", ["", "[", "{}", '{"type": "error_list"}', "[1]", "[null]", "null", '["\\ud800"]'])
def test_what_is_no_page_is_left_to_be_looked_at(content: str) -> None:
    assert shaper_of("responses").page(content.encode()) is None


def test_a_field_that_is_not_wanted_comes_in_no_page() -> None:
    wanted = schema_of("responses")
    del wanted["properties"]["text"]
    shaper = RecordTransformer(schema_of("responses"), wanted, lambda *_: None)
    assert shaper.page(json.dumps(plain("responses")).encode()) is None
    assert "text" not in shaper(plain("responses")[0])
