"""What all streams share: the range of a sync, the bookmark, and errors worth reading."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.responses import AccessDeniedError
from tap_wootric.sdk import is_worth_logging
from tap_wootric.streams import EndUsers, NpsSummary, Segments, SurveyTemplates
from tap_wootric.streams.base import SyncRange
from tap_wootric.tap import FailedStreamsError
from tests.unit.api.fakes import response
from tests.unit.fakes import NOW, catalog_of, make_stream, make_tap, messages, row, serving

START_OF_SYNC = "2025-01-15T08:00:00Z"
"""NOW."""
LIMIT = "2025-01-15T07:55:00Z"
"""START_OF_SYNC, less the default lookback window."""
FULL_TABLE = {"replication-method": "FULL_TABLE"}


def sync_range(state: Any = None, **settings: Any) -> SyncRange:
    """Return what a sync of end_users reads."""
    tap = make_tap(serving([]), state=state, **settings)
    [*tap.streams["end_users"].get_records(None)]
    found: SyncRange = tap.streams["end_users"].sync_range
    return found


# The range and the bookmark


@pytest.mark.parametrize(
    ("bookmark", "start_date", "start"),
    [
        (None, None, None),
        (None, "2025-01-01", "2025-01-01T00:00:00Z"),
        ("2025-01-10T00:00:00Z", None, "2025-01-10T00:00:00Z"),
        ("2025-01-10T00:00:00Z", "2025-01-01", "2025-01-10T00:00:00Z"),
        ("2025-01-10T00:00:00Z", "2025-01-12", "2025-01-12T00:00:00Z"),
        (START_OF_SYNC, None, LIMIT),
        (START_OF_SYNC, "2025-01-15T07:59:00Z", "2025-01-15T07:59:00Z"),
    ],
)
def test_a_sync_reads_from_the_bookmark_but_not_before_the_start_date_nor_after_the_lookback_window(
    bookmark: str | None, start_date: str | None, start: str | None
) -> None:
    found = sync_range({"end_users": bookmark}, start_date=start_date)
    assert found.end == NOW
    assert found.bookmark_limit == LIMIT
    assert EndUsers.bookmark_at(found.start) == start if start else found.start < 0


def test_the_lookback_window_moves_the_limit() -> None:
    assert sync_range(lookback_window=0).bookmark_limit == START_OF_SYNC
    assert sync_range(lookback_window=3_600).bookmark_limit == "2025-01-15T07:00:00Z"


def test_a_full_table_starts_at_the_start_date_and_leaves_the_bookmark_alone() -> None:
    catalog = catalog_of(make_tap(), "end_users", **FULL_TABLE)
    tap = make_tap(serving([]), catalog=catalog, state={"end_users": "2025-01-10"}, start_date="2025-01-01")
    tap.sync_all()
    stream = tap.streams["end_users"]
    assert EndUsers.bookmark_at(stream.sync_range.start) == "2025-01-01T00:00:00Z"
    assert stream.sync_range.bookmark_limit is None
    assert stream.bookmark == "2025-01-10T00:00:00Z"


def test_a_bookmark_more_than_a_day_in_the_future_is_refused() -> None:
    sync_range({"end_users": "2025-01-16T07:59:59Z"})
    with pytest.raises(FatalAPIError, match=r"^end_users: the bookmark 2025-01-16T08:00:01Z is in the future; correct"):
        sync_range({"end_users": "2025-01-16T08:00:01Z"})


def test_a_bookmark_past_the_limit_is_pulled_back_to_it() -> None:
    tap = make_tap(serving([]), state={"end_users": START_OF_SYNC})
    [*tap.streams["end_users"].get_records(None)]
    assert tap.state["bookmarks"]["end_users"]["replication_key_value"] == LIMIT


@pytest.mark.parametrize(
    ("high_watermark", "bookmark"),
    [
        ("", "2025-01-10T00:00:00Z"),
        ("2025-01-09T00:00:00Z", "2025-01-10T00:00:00Z"),
        ("2025-01-11T00:00:00.25Z", "2025-01-11T00:00:00Z"),
        ("2025-01-15T07:59:59Z", LIMIT),
    ],
    ids=["no row", "never back", "whole seconds", "never past the limit"],
)
def test_the_bookmark_follows_the_high_watermark(high_watermark: str, bookmark: str) -> None:
    tap = make_tap(serving([]), state={"end_users": "2025-01-10"})
    stream = tap.streams["end_users"]
    [*stream.get_records(None)]
    stream.high_watermark = high_watermark
    stream.move_bookmark()
    assert stream.bookmark == bookmark


def test_a_stream_that_has_not_been_read_has_no_bookmark_to_move() -> None:
    tap = make_tap()
    tap.move_bookmarks()
    assert tap.state == {"bookmarks": {}} or not tap.state


def test_a_sync_that_fails_early_forgets_the_high_watermark_of_the_one_before() -> None:
    tap = make_tap(serving([row(1, NOW - 300)]))
    stream = tap.streams["end_users"]
    [*stream.get_records(None)]
    tap.client.now += 60  # And with it the bookmark limit.
    tap.client.server_time = None
    with pytest.raises(TypeError):
        [*stream.get_records(None)]
    assert stream.high_watermark == ""


# A sync


def test_a_full_table_is_activated_after_its_last_row_with_the_version_of_its_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [{"name": name, "data_type": "string"} for name in "ab"]
    tap = make_tap(lambda *_: response(content=rows), catalog=catalog_of(make_tap(), "segments"))
    tap.sync_all()
    written = [message for message in messages(capsys.readouterr().out) if "version" in message]
    assert [(message["type"], message["version"]) for message in written] == [
        ("RECORD", NOW),
        ("RECORD", NOW),
        ("ACTIVATE_VERSION", NOW),
    ]


def test_a_full_table_that_fails_is_not_activated_and_writes_its_state(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(number, NOW - 10_000 + number) for number in range(60)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return serving(rows)(path, params) if "created[gte]" not in params else response(400, {})

    tap = make_tap(answer, catalog=catalog_of(make_tap(), "end_users", **FULL_TABLE))
    with pytest.raises(FailedStreamsError, match=r"^end_users: 400 Reason for /v1/responses$"):
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
        "segments: the account may not read it (403 Reason for /v1/responses): deselect it, or ask Wootric for access"
    )
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{stream.error_line}. Other streams go on"]


def test_get_records_raises_an_access_error() -> None:
    with pytest.raises(AccessDeniedError):
        [*make_tap(lambda *_: response(403, {})).streams["segments"].get_records(None)]


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the command logs."""
    return [record.message for record in caplog.records if is_worth_logging(record)]


def test_a_sync_is_summed_up_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tap = make_tap(lambda *_: response(content=[{"name": "plan"}]))
    [*tap.streams["segments"].get_records(None)]
    assert logged(caplog) == [
        "segments: full-table sync",
        "segments: done, 1 row in 1 request and less than 1 s",
    ]


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({}, "the first row"),
        ({"start_date": "2024-01-01"}, "2024-01-01T00:00:00Z"),
        ({"start_date": "2024-01-01", "state": {"end_users": "2025-01-10T08:00:00Z"}}, "2025-01-10T08:00:00Z"),
    ],
)
def test_an_incremental_sync_says_where_it_starts(
    options: dict[str, Any], start: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    [*make_tap(serving([]), **options).streams["end_users"].get_records(None)]
    assert logged(caplog) == [
        f"end_users: incremental sync from {start}",
        "end_users: done, 0 rows in 1 request and less than 1 s",
    ]


def test_a_sync_that_fails_has_no_summary(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stream = make_tap(lambda *_: response(400, {})).streams["segments"]
    with pytest.raises(FatalAPIError):
        [*stream.get_records(None)]
    assert logged(caplog) == ["segments: full-table sync"]
    assert not stream.progress.is_done


# Records


def fetch(stream: Any, content: Any) -> Any:
    """Return the records that a stream makes of the JSON of a response."""
    return stream.records(response(content=content), {"date[start]": "2025-01-01"})


@pytest.mark.parametrize("stream", [Segments, SurveyTemplates, NpsSummary, EndUsers])
@pytest.mark.parametrize("content", ["text", 7, {}, [1], [None], {"survey_templates": {}}, {"survey_templates": [1]}])
def test_a_response_with_another_structure_can_be_retried(stream: Any, content: Any) -> None:
    with pytest.raises(RetriableAPIError, match=f"The response of {stream.path} does not have the structure of"):
        fetch(make_stream(stream), content)


def test_a_row_without_its_primary_key_is_an_error() -> None:
    tap = make_tap(lambda *_: response(content=[{"data_type": "string"}]))
    with pytest.raises(FatalAPIError, match=r"^segments: /v1/segments returned a row without a usable name, the prim"):
        [*tap.streams["segments"].get_records(None)]


def test_unexpected_fields_are_logged_once_each_without_addresses(caplog: pytest.LogCaptureFixture) -> None:
    stream = make_stream(Segments)
    for _ in range(2):
        (record,) = fetch(stream, [{"name": "plan", "ada@example.com": 1, "created_at": "lately"}])
    assert record["extra_fields"] == {"ada@example.com": 1, "created_at": "lately"}
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "segments: the field … is not in the schema; it goes into extra_fields",
        "segments: the field created_at has a value of an unexpected type; it goes into extra_fields",
    ]


def test_fields_that_the_catalog_lacks_are_left_out() -> None:
    catalog = catalog_of(make_tap(), "segments")
    (entry,) = [entry for entry in catalog["streams"] if entry["stream"] == "segments"]
    del entry["schema"]["properties"]["data_type"]
    tap = make_tap(lambda *_: response(content=[{"name": "plan", "data_type": "string"}]), catalog=catalog)
    assert [*tap.streams["segments"].get_records(None)] == [{"name": "plan", "extra_fields": None}]
