"""What all streams share: the range of a sync, the bookmark, and errors worth reading."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.responses import AccessDeniedError
from tap_wootric.records.timestamps import unix_seconds
from tap_wootric.sdk import is_worth_logging
from tap_wootric.streams import EndUsers, NpsSummary, Segments, SurveyTemplates
from tap_wootric.tap import FailedStreamsError
from tests.unit.api.fakes import response
from tests.unit.fakes import NOW, catalog_of, full_table, make_stream, make_tap, messages, row, serving, stamp

LATEST_BOOKMARK = "2025-01-15T07:55:00Z"
"""NOW, less the default lookback window."""
DAY = 86_400


def synced(state: Any = None, **options: Any) -> Any:
    """Return the stream of end users after a sync that found a row."""
    stream = make_tap(serving([row(1, NOW)]), state=state, **options).streams["end_users"]
    assert len([*stream.get_records(None)]) == 1
    return stream


# The range and the bookmark


@pytest.mark.parametrize(
    ("bookmark", "start_date", "start"),
    [
        (None, None, None),
        (None, "2025-01-01", "2025-01-01T00:00:00Z"),
        ("2025-01-10T00:00:00Z", None, "2025-01-10T00:00:00Z"),
        ("2025-01-10T00:00:00Z", "2025-01-01", "2025-01-10T00:00:00Z"),
        ("2025-01-10T00:00:00Z", "2025-01-12", "2025-01-12T00:00:00Z"),
        ("2025-01-15T08:00:00Z", None, LATEST_BOOKMARK),
        ("2025-01-15T08:00:00Z", "2025-01-15T07:59:00Z", "2025-01-15T07:59:00Z"),
    ],
)
def test_a_sync_starts_at_the_bookmark_but_not_before_the_start_date_and_not_within_the_lookback_window(
    bookmark: str | None, start_date: str | None, start: str | None
) -> None:
    found = synced({"end_users": bookmark}, start_date=start_date).sync_range
    assert (found.now, found.until) == (NOW, NOW + 1)
    assert EndUsers.bookmark_at(found.start) == start if start else found.start < 0


@pytest.mark.parametrize("lookback_window", [0, 300, 3_600])
@pytest.mark.parametrize("state", [None, {"end_users": "2025-01-10"}, {"end_users": "2025-01-15T08:00:00Z"}])
def test_a_complete_sync_moves_the_bookmark_to_its_start_less_the_lookback_window(
    lookback_window: int, state: Any
) -> None:
    assert synced(state, lookback_window=lookback_window).bookmark == stamp(NOW - lookback_window)


@pytest.mark.parametrize(
    ("position", "bookmark"),
    [
        ("", "2025-01-10T00:00:00Z"),
        ("2025-01-09T00:00:00Z", "2025-01-10T00:00:00Z"),
        ("2025-01-11T00:00:00.25Z", "2025-01-11T00:00:00Z"),
        ("2025-01-15T07:59:59Z", LATEST_BOOKMARK),
    ],
    ids=["no row", "never back", "whole seconds", "never past the lookback window"],
)
def test_during_a_sync_the_bookmark_follows_the_position(position: str, bookmark: str) -> None:
    tap = make_tap(lambda *_: response(400, {}), state={"end_users": "2025-01-10"})
    stream = tap.streams["end_users"]
    with pytest.raises(FatalAPIError):
        [*stream.get_records(None)]
    stream.position = position
    tap.move_bookmarks()
    assert stream.bookmark == bookmark


def test_a_sync_that_fails_early_forgets_the_position_of_the_one_before() -> None:
    stream = synced()
    assert stream.position
    stream.tap.client.request = lambda *_: response(400, {})
    with pytest.raises(FatalAPIError):
        [*stream.get_records(None)]
    assert stream.position == ""


def test_a_full_table_starts_at_the_start_date_and_leaves_the_bookmark_alone() -> None:
    stream = synced({"end_users": "2025-01-10"}, catalog=full_table("end_users"), start_date="2025-01-01")
    assert stream.sync_range.start == unix_seconds("2025-01-01T00:00:00Z")
    assert stream.bookmark == "2025-01-10T00:00:00Z"


# Clocks


@pytest.mark.parametrize("seconds", [290, 30 * DAY, -290, -30 * DAY])
@pytest.mark.parametrize("is_servers", [True, False], ids=["server", "machine"])
def test_bookmarks_go_by_the_clock_that_is_behind_and_ranges_end_by_the_one_that_is_ahead(
    seconds: int, *, is_servers: bool
) -> None:
    tap = make_tap(serving([row(1, NOW - 40 * DAY)]))
    if is_servers:
        tap.client.date = formatdate(NOW + seconds, usegmt=True)
    else:
        tap.client.local_time += seconds
    stream = tap.streams["end_users"]
    [*stream.get_records(None)]
    assert tap.client.requests[0][1]["updated[lt]"] == max(NOW, NOW + seconds) + 1
    assert stream.bookmark == stamp(min(NOW, NOW + seconds) - 300)


def test_a_bookmark_more_than_a_day_after_the_later_clock_is_refused() -> None:
    assert synced({"end_users": stamp(NOW + DAY)}).bookmark == LATEST_BOOKMARK
    message = r"^end_users: the bookmark 2025-01-16T08:00:01Z is in the future; correct the state, or omit it to read"
    with pytest.raises(FatalAPIError, match=message):
        synced({"end_users": stamp(NOW + DAY + 1)})


def test_a_bookmark_of_a_clock_that_was_ahead_is_pulled_back_before_anything_is_read() -> None:
    tap = make_tap(lambda *_: response(400, {}), state={"end_users": stamp(NOW + 9_000)})
    with pytest.raises(FatalAPIError):
        [*tap.streams["end_users"].get_records(None)]
    assert tap.state["bookmarks"]["end_users"]["replication_key_value"] == LATEST_BOOKMARK


# A sync


@pytest.mark.parametrize("server_ahead", [0, 30 * DAY])
def test_a_full_table_is_activated_after_its_last_row_with_a_version_of_this_machines_clock(
    server_ahead: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"name": name, "data_type": "string"} for name in "ab"]
    tap = make_tap(lambda *_: response(content=rows), catalog=catalog_of(make_tap(), "segments"))
    tap.client.date = formatdate(time.time() + server_ahead, usegmt=True)
    started_at = int(time.time())
    tap.sync_all()
    written = [message for message in messages(capsys.readouterr().out) if "version" in message]
    assert [message["type"] for message in written] == ["RECORD", "RECORD", "ACTIVATE_VERSION"]
    [version] = {message["version"] for message in written}
    assert started_at <= version <= time.time()


def test_incremental_records_have_a_version_below_that_of_any_full_table_and_nothing_is_activated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_tap(serving([row(1, NOW - 10_000)])).sync_all()
    written = [message for message in messages(capsys.readouterr().out) if "version" in message]
    assert {(message["type"], message["version"]) for message in written} == {("RECORD", 1)}


def test_a_full_table_that_fails_is_not_activated_and_writes_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(number, NOW - 10_000 + number) for number in range(60)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return serving(rows)(path, params) if "created[gte]" not in params else response(400, {})

    tap = make_tap(answer, catalog=full_table("end_users"))
    with pytest.raises(FailedStreamsError, match=r"^end_users: 400 Bad Request for /v1/responses$"):
        tap.sync_all()
    types = [message["type"] for message in messages(capsys.readouterr().out)]
    assert types.count("RECORD") == 50
    assert types[-1] == "STATE"
    assert "ACTIVATE_VERSION" not in types


def test_a_stream_that_fails_says_so_at_once_and_keeps_its_error_for_the_report(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = make_tap(lambda *_: response(403, {})).streams["segments"]
    assert stream.error_line == ""
    stream.sync()
    assert isinstance(stream.error, AccessDeniedError)
    assert stream.error_line == (
        "segments: the account cannot read it (403 Forbidden for /v1/responses): deselect it, or ask Wootric for access"
    )
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{stream.error_line}. Continuing with the other streams"]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the command logs."""
    return [record.message for record in caplog.records if is_worth_logging(record)]


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({}, "the first row"),
        ({"start_date": "2024-01-01"}, "2024-01-01T00:00:00Z"),
        ({"start_date": "2024-01-01", "state": {"end_users": "2025-01-10T08:00:00Z"}}, "2025-01-10T08:00:00Z"),
    ],
)
def test_a_sync_says_where_it_starts_and_is_summed_up_in_one_line(
    options: dict[str, Any], start: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    synced(**options)
    assert logged(caplog) == [
        f"end_users: incremental sync from {start}",
        "end_users: done, 1 row in 2 requests and less than 1 s, up to 2025-01-15T08:00:00Z",
    ]


def test_a_sync_that_fails_has_no_summary(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stream = make_tap(lambda *_: response(400, {})).streams["segments"]
    with pytest.raises(FatalAPIError):
        [*stream.get_records(None)]
    assert logged(caplog) == ["segments: full-table sync"]
    assert not stream.progress.is_done


# Records


def fetched(stream: Any, content: Any) -> Any:
    """Return the records that a stream makes of the JSON of a response."""
    made = make_stream(stream, lambda *_: response(content=content))
    return made.records({"date[start]": "2025-01-01", "date_range[start_date]": "2025-01-01"})


@pytest.mark.parametrize("stream", [Segments, SurveyTemplates, NpsSummary, EndUsers])
@pytest.mark.parametrize("content", ["text", 7, {}, [1], [None], {"survey_templates": {}}, {"survey_templates": [1]}])
def test_a_response_with_another_structure_can_be_retried(stream: Any, content: Any) -> None:
    with pytest.raises(RetriableAPIError, match=f"The response from {stream.path} does not have the structure of"):
        fetched(stream, content)


def test_a_row_without_its_primary_key_is_an_error() -> None:
    with pytest.raises(FatalAPIError, match=r"^segments: /v1/segments returned a row without a usable name, the prim"):
        fetched(Segments, [{"data_type": "string"}])


def test_unexpected_fields_are_logged_once_each_without_addresses(caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"name": name, "ada@example.com": 1, "created_at": "lately"} for name in ("plan", "size")]
    for record in fetched(Segments, rows):
        assert record["extra_fields"] == {"ada@example.com": 1, "created_at": "lately"}
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "segments: the field … is not in the schema; it goes into extra_fields",
        "segments: the field created_at has a value of an unexpected type; it goes into extra_fields",
    ]


def test_fields_that_the_catalog_lacks_are_left_out_and_those_that_the_api_did_not_send_are_null() -> None:
    catalog = catalog_of(make_tap(), "segments")
    (entry,) = [entry for entry in catalog["streams"] if entry["stream"] == "segments"]
    del entry["schema"]["properties"]["data_type"]
    tap = make_tap(lambda *_: response(content=[{"name": "plan", "data_type": "string"}]), catalog=catalog)
    assert [*tap.streams["segments"].get_records(None)] == [{"name": "plan", "created_at": None, "extra_fields": None}]
