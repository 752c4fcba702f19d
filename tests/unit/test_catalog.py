"""A catalog chooses streams, fields and replication methods. It cannot change keys and types."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from singer_sdk.singerlib import CatalogEntry

from tap_wootric import catalog
from tap_wootric.streams.base import WootricStream

TEXT = {"type": ["string", "null"]}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "updated_at": TEXT,
        "email": TEXT,
        "survey": {"type": ["object", "null"], "properties": {"channel": TEXT, "metric": TEXT}},
    },
}


class Example(WootricStream):
    schema: ClassVar[dict[str, Any]] = SCHEMA
    replication_key = "updated_at"


class FullTable(WootricStream):
    schema: ClassVar[dict[str, Any]] = SCHEMA


SURROGATE = {"breadcrumb": [], "metadata": {"inclusion": "\ud800"}}
STREAMS = {"end_users": Example, "segments": FullTable}


def completed(**fields: Any) -> dict[str, Any]:
    """Complete an entry of end_users."""
    (entry,) = catalog.complete({"streams": [{"tap_stream_id": "end_users", **fields}]}, STREAMS)["streams"]
    return dict(entry)


def test_an_entry_with_only_its_id_is_completed() -> None:
    automatic = {"inclusion": "automatic"}
    assert completed() == {
        "tap_stream_id": "end_users",
        "stream": "end_users",
        "key_properties": ["id"],
        "replication_key": "updated_at",
        "replication_method": None,
        "schema": SCHEMA,
        "metadata": [
            {"breadcrumb": [], "metadata": {"selected": True}},
            {"breadcrumb": ["properties", "id"], "metadata": automatic},
            {"breadcrumb": ["properties", "updated_at"], "metadata": automatic},
        ],
    }


def test_keys_and_types_come_from_the_stream_and_missing_fields_stay_out_at_any_depth() -> None:
    given = {"properties": {"email": {"type": "integer"}, "survey": {"properties": {"metric": {}}}, "new": {}}}
    properties = completed(schema=given, key_properties=["email"])["schema"]["properties"]
    assert properties == {
        "id": {"type": "integer"},
        "updated_at": TEXT,
        "email": TEXT,
        "survey": {"type": ["object", "null"], "properties": {"metric": TEXT}},
    }
    assert completed(key_properties=["email"])["key_properties"] == ["id"]


def test_a_text_may_be_given_a_length_for_databases_whose_keys_need_one() -> None:
    schema = completed(schema={"properties": {"email": {"type": ["string"], "maxLength": 255}}})["schema"]
    assert schema["properties"]["email"] == {**TEXT, "maxLength": 255}


def test_keys_cannot_be_deselected() -> None:
    path = ["properties", "id"]
    metadata = completed(metadata=[{"breadcrumb": path, "metadata": {"selected": False}}])["metadata"]
    assert [item["metadata"] for item in metadata if item["breadcrumb"] == path] == [{"inclusion": "automatic"}]


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        ({"replication_method": "FULL_TABLE"}, "FULL_TABLE"),
        ({"metadata": [{"breadcrumb": [], "metadata": {"replication-method": "FULL_TABLE"}}]}, "FULL_TABLE"),
        (
            {
                "replication_method": "FULL_TABLE",
                "metadata": [{"breadcrumb": [], "metadata": {"replication-method": "INCREMENTAL"}}],
            },
            "INCREMENTAL",
        ),
    ],
)
def test_the_replication_method_comes_from_the_metadata_or_else_from_the_entry(
    fields: dict[str, Any], method: str
) -> None:
    assert completed(**fields)["replication_method"] == method


def test_a_stream_without_a_replication_key_is_a_full_table() -> None:
    given = {"streams": [{"tap_stream_id": "segments", "replication_method": "INCREMENTAL"}]}
    assert catalog.complete(given, STREAMS)["streams"][0]["replication_method"] == "FULL_TABLE"


@pytest.mark.parametrize("method", ["LOG_BASED", "full_table"])
def test_another_replication_method_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="the replication method of end_users must be INCREMENTAL or FULL_TABLE"):
        completed(replication_method=method)


@pytest.mark.parametrize(
    ("streams", "error"),
    [
        (None, "Expected `array`, got `null` - at `$.streams`; compare it with what --discover prints"),
        ([{"tap_stream_id": "end_users", "metadata": 7}], "Expected `array | null`, got `int` - at `$.streams"),
        ([{"tap_stream_id": "x", "metadata": [SURROGATE]}], "'utf-8' codec can't encode"),
        ([{"tap_stream_id": "end_users"}] * 2, "the catalog has 2 entries for end_users, and only the last one would"),
    ],
)
def test_anything_without_the_structure_of_a_catalog_is_refused(streams: Any, error: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - The next line checks the message.
        catalog.complete({"streams": streams}, STREAMS)
    assert str(raised.value).startswith(error)


@pytest.mark.parametrize("metadata", [None, [], [{"breadcrumb": ["properties", "email"], "metadata": {}}]])
def test_without_metadata_of_its_own_a_stream_is_read_with_all_fields(metadata: Any) -> None:
    mask = CatalogEntry.from_dict(completed(metadata=metadata)).metadata.resolve_selection()
    assert mask[()]
    assert all(mask["properties", name] for name in SCHEMA["properties"])
    deselected = completed(metadata=[{"breadcrumb": [], "metadata": {"selected": False}}])
    assert not CatalogEntry.from_dict(deselected).metadata.resolve_selection()[()]


def test_entries_of_other_streams_are_dropped_and_named() -> None:
    given = {"streams": [{"tap_stream_id": "other"}, {"tap_stream_id": "end_users"}]}
    assert [entry["tap_stream_id"] for entry in catalog.complete(given, STREAMS)["streams"]] == ["end_users"]
    assert [*catalog.warnings(given, STREAMS)] == ["Ignoring unknown stream in the catalog: other"]


def test_a_missing_catalog_stays_none() -> None:
    assert [catalog.complete(None, STREAMS), *catalog.warnings(None, STREAMS)] == [None]


PHONE = ["properties", "phone"]


@pytest.mark.parametrize(
    ("item", "place"),
    [
        ({"breadcrumb": ["properties", "email"], "metadata": {"selected": "false"}}, "metadata.selected"),
        ({"breadcrumb": "properties.email", "metadata": {"selected": False}}, "breadcrumb"),
        ({"breadcrumb": [], "metadata": None}, "metadata"),
    ],
)
def test_a_selection_of_another_type_is_refused(item: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=rf" - at `\$\.streams\[0\]\.metadata\[0\]\.{place}`"):
        completed(metadata=[item])


def test_two_selections_of_one_field_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^the metadata of end_users has 2 entries for \['properties', 'phone'\], and"
    ):
        completed(metadata=[{"breadcrumb": PHONE, "metadata": {"selected": flag}} for flag in (False, True)])


def test_selections_and_keys_without_effect_are_named() -> None:
    metadata = [
        {"breadcrumb": PHONE, "metadata": {"selected": False}},
        {"breadcrumb": [], "metadata": {"replication-key": "created_at"}, "Metadata": {}},
        {"breadcrumb": ["properties", "survey"], "metadata": {"selected": False, "inclusion": "automatic"}},
        {"breadcrumb": ["properties", "email"], "metadata": {"is-selected": False}},
        {"breadcrumb": ["properties", "id"], "metadata": {"selected": False}},
        {"breadcrumb": ["properties", "updated_at"], "metadata": {"selected": False, "inclusion": "automatic"}},
    ]
    schema = {"properties": {"email": {"selected": False}}}
    entry = {"tap_stream_id": "end_users", "selected": False, "metadata": metadata, "schema": schema}
    entry |= {"key_properties": ["email"], "is_selected": False}
    assert [*catalog.warnings({"streams": [entry]}, STREAMS)] == [
        "Ignoring selected of end_users in the catalog: only its metadata selects",
        "Ignoring schema.email.selected of end_users in the catalog: only its metadata selects",
        "Ignoring the metadata of end_users for ['properties', 'phone'], which is not one of its properties",
        "Ignoring selected of end_users.survey in the catalog: it is always read",
        "Ignoring selected of end_users.id in the catalog: it is always read",
        "Ignoring Metadata of end_users in the catalog: it has no effect",
        "Ignoring is_selected of end_users in the catalog: it has no effect",
        "Ignoring is-selected in the metadata of end_users: it has no effect",
        "Ignoring key_properties of end_users in the catalog: it is always ['id']",
        "Ignoring replication-key of end_users in the catalog: it is always updated_at",
    ]


def test_a_catalog_that_meltano_has_completed_has_no_warning() -> None:
    metadata = [
        {"breadcrumb": [], "metadata": {"selected": True, "replication-key": "updated_at"}},
        {"breadcrumb": ["properties", "id"], "metadata": {"inclusion": "automatic", "selected": False}},
        {"breadcrumb": ["properties", "email"], "metadata": {"inclusion": "available", "selected": False}},
    ]
    entry = {"tap_stream_id": "end_users", "selected": True, "metadata": metadata, "key_properties": ["id"]}
    assert [*catalog.warnings({"streams": [entry]}, STREAMS)] == []
