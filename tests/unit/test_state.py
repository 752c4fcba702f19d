"""States of this tap, of singer-io's and of singer-python become states of the SDK."""

from __future__ import annotations

from typing import Any

import pytest

from tap_wootric import state
from tap_wootric.streams import STREAMS

MIGRATED = {
    "bookmarks": {"end_users": {"replication_key": "updated_at", "replication_key_value": "2025-06-01T00:00:00Z"}}
}


@pytest.mark.parametrize(
    "given",
    [
        {"end_users": "2025-06-01T02:00:00+02:00"},
        {"bookmarks": {"end_users": {"updated_at": "2025-06-01T00:00:00Z"}}},
        {"bookmarks": {"end_users": {"replication_key": "updated_at", "replication_key_value": "2025-06-01"}}},
        {"type": "STATE", "value": {"end_users": "2025-06-01"}},
        {"singer_state": {"bookmarks": {"end_users": {"updated_at": "2025-06-01"}}}},
        {"end_users": "2020-01-01", "bookmarks": {"end_users": {"updated_at": "2025-06-01"}}},
        MIGRATED,
    ],
    ids=["singer-io's tap", "singer-python", "the SDK", "a STATE message", "Meltano", "two formats", "migrated"],
)
def test_each_known_format_becomes_the_sdks(given: dict[str, Any]) -> None:
    assert state.migrate(given, STREAMS) == MIGRATED


def test_each_stream_has_its_own_format_of_bookmarks() -> None:
    migrated = state.migrate({"nps_summary": "2025-06-01T10:00:00Z"}, STREAMS)
    assert migrated["bookmarks"]["nps_summary"]["replication_key_value"] == "2025-06-01"


def test_the_mark_of_a_first_sync_that_goes_on_is_kept_and_nothing_else() -> None:
    given = {"replication_key_value": "2025-06-01", "is_first_sync": True, "starting_replication_value": "2025-05-01"}
    migrated = state.migrate({"bookmarks": {"responses": given}}, STREAMS)
    assert migrated["bookmarks"]["responses"] == {
        "replication_key": "updated_at",
        "replication_key_value": "2025-06-01T00:00:00Z",
        "is_first_sync": True,
    }


def test_bookmarks_without_a_value_and_of_streams_without_bookmarks_are_empty() -> None:
    given = {"bookmarks": {"end_users": {}, "segments": {"replication_key_value": 7}}}
    assert state.migrate(given, STREAMS) == {"bookmarks": {"end_users": {}, "segments": {}}}


def test_bookmarks_of_other_streams_and_the_account_are_kept() -> None:
    given = {"bookmarks": {"other": {"anything": [1]}}, "account": {"host": "localhost"}}
    assert state.migrate(given, STREAMS) == given
    assert state.warnings(given, STREAMS) == ["Ignoring unknown stream in the state: other"]
    assert "account" not in state.migrate({"bookmarks": {}, "account": "localhost"}, STREAMS)


@pytest.mark.parametrize(
    "given",
    [{}, {"singer_state": {}}, {"currently_syncing": None}, {"end_users": None}],
)
def test_an_empty_state_has_no_bookmarks(given: dict[str, Any]) -> None:
    assert state.migrate(given, STREAMS) == {"bookmarks": {}}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"streams": []}, "it is a catalog"),
        (
            {"completed": {"singer_state": {}}, "partial": {}},
            "it is a file of Meltano's state backend; pass what meltano state get prints",
        ),
        (
            {"client_id": "x", "region": "eu"},
            'it has neither "bookmarks" nor a stream\'s name, but client_id, region; to read everything, pass no state',
        ),
        ({"bookmarks": None}, "bookmarks must be a JSON object"),
        ({"bookmarks": {"end_users": "x"}}, "the bookmark of end_users must be a JSON object"),
        ({"bookmarks": []}, "bookmarks must be a JSON object"),
        ({"end_users": 0}, "the bookmark of end_users is not a timestamp: 0"),
        (
            {"bookmarks": {"end_users": {"replication_key_val": "2025-06-01"}}},
            "the bookmark of end_users has no replication_key_value, but replication_key_val",
        ),
        ({"end_users": "lately"}, "the bookmark of end_users is not a timestamp: 'lately'"),
        (
            {"bookmarks": {"end_users": {"replication_key": "id"}}},
            "the bookmark of end_users is not a value of updated_at",
        ),
    ],
)
def test_any_other_format_is_rejected_with_a_reason(given: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=f"^{error}$"):
        state.migrate(given, STREAMS)


def test_unknown_streams_are_found_in_flat_states_bookmarks_and_messages() -> None:
    bookmarks: dict[str, Any] = {"response": {}, "end_users": {}}
    given = {"end_user": "2025-06-01", "currently_syncing": None, "bookmarks": bookmarks}
    for one in (given, {"type": "STATE", "value": given}, {"singer_state": given}):
        assert [line.split()[-1] for line in state.warnings(one, STREAMS)] == ["end_user", "response"]
