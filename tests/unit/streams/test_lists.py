"""Which requests a list sends, and how far its bookmark may move."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError

from tap_wootric import progress
from tap_wootric.pagination import parallel
from tap_wootric.pagination.query import Query, TimeRange
from tap_wootric.streams import EndUsers, Responses
from tap_wootric.streams.lists import parameters
from tests.unit.api.fakes import response
from tests.unit.fakes import NOW, catalog_of, make_stream, make_tap, row, serving

START_DATE = "2024-01-01"
START = 1_704_067_200
"""START_DATE."""
DAY = 86_400


def read(tap: Any, stream: str) -> list[int]:
    """Return the ids of the records of a sync."""
    return [record["id"] for record in tap.streams[stream].get_records(None)]


def asked(tap: Any) -> list[dict[str, Any]]:
    """Return the parameters of the requests, without those that are the same in all."""
    return [{key: value for key, value in params.items() if key != "per_page"} for _, params in tap.client.requests]


def ignoring_updates(rows: list[dict[str, Any]]) -> Any:
    """Return an API that ignores the parameter `updated`."""

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return serving(rows)(path, {key: value for key, value in params.items() if not key.startswith("updated[")})

    return answer


def test_the_parameters_of_a_query_are_the_apis() -> None:
    assert parameters(Query("created_at")) == {"per_page": 50, "sort_key": "created_at", "sort_order": "asc"}
    query = Query(
        "updated_at", updated_at=TimeRange(1, 2), created_at=TimeRange(gte=3), descending=True, page=2, size=7
    )
    assert parameters(query) == {
        "per_page": 7,
        "sort_key": "updated_at",
        "sort_order": "desc",
        "updated[gte]": 1,
        "updated[lt]": 2,
        "created[gte]": 3,
        "page": 2,
    }


def test_an_incremental_sync_reads_updates_up_to_its_start() -> None:
    tap = make_tap(serving([]), start_date=START_DATE)
    assert read(tap, "end_users") == []
    assert asked(tap) == [
        {"sort_key": "updated_at", "sort_order": "asc", "updated[gte]": START, "updated[lt]": NOW + 1}
    ]


def test_a_full_table_reads_by_creation_and_includes_rows_with_timestamps_in_the_future() -> None:
    catalog = catalog_of(make_tap(), "end_users", **{"replication-method": "FULL_TABLE"})
    rows = [row(1, START + 1), row(2, NOW + DAY), row(3, NOW + 400 * DAY)]
    tap = make_tap(serving(rows), catalog=catalog, start_date=START_DATE)
    assert read(tap, "end_users") == [1, 2, 3]
    assert {params["sort_key"] for params in asked(tap)} == {"created_at"}
    assert all(params["updated[gte]"] == START for params in asked(tap))


def test_responses_and_declines_are_probed_for_the_filter_and_end_users_are_not() -> None:
    tap = make_tap(serving([]), start_date=START_DATE)
    for stream, requests_sent in (("end_users", 1), ("responses", 2), ("declines", 2)):
        tap.client.requests.clear()
        read(tap, stream)
        assert len(asked(tap)) == requests_sent
    assert asked(tap)[0] == {"sort_key": "updated_at", "sort_order": "asc", "updated[gte]": 4_102_444_800}


def test_without_the_filter_rows_are_read_by_creation_and_older_updates_are_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [row(number, START + number * DAY) for number in range(5)]
    state = {"responses": "2024-01-03T00:00:00Z"}
    tap = make_tap(ignoring_updates(rows), state=state, start_date=START_DATE)
    assert read(tap, "responses") == [2, 3, 4]
    assert asked(tap)[-1]["created[gte]"] == START
    assert "updated[gte]" not in asked(tap)[-1]
    assert "responses: this API does not filter by updated_at; each sync fetches all rows" in caplog.text


def test_by_update_the_high_watermark_moves_with_each_row_and_by_creation_only_at_the_end() -> None:
    rows = [row(number, START + number * DAY) for number in range(3)]
    for answer, moves in ((serving(rows), True), (ignoring_updates(rows), False)):
        tap = make_tap(answer, start_date=START_DATE)
        stream = tap.streams["responses"]
        seen = [(record["updated_at"], stream.high_watermark) for record in stream.get_records(None)]
        assert [mark for _, mark in seen] == [updated_at if moves else "" for updated_at, _ in seen]
        assert stream.high_watermark == rows[-1]["updated_at"]


def test_a_row_without_an_update_time_is_emitted_and_does_not_move_the_high_watermark() -> None:
    rows = [row(1, START), {**row(2, START), "updated_at": None}]
    tap = make_tap(lambda *_: response(content=rows), start_date=START_DATE)
    assert read(tap, "end_users") == [1, 2]
    assert tap.streams["end_users"].high_watermark == "2024-01-01T00:00:00Z"


def test_partitions_are_cut_only_while_the_api_announces_no_limit_for_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    tap = make_tap(serving([]), start_date=START_DATE, concurrency=7)
    limited_paths = {"/v1/end_users"}
    tap.client.is_rate_limited = limited_paths.__contains__

    def check(_fetch: Any, _query: Query, concurrency: int, is_limited: Any) -> Any:
        assert concurrency == 7
        assert is_limited()
        limited_paths.clear()
        assert not is_limited()
        return iter([])

    monkeypatch.setattr(parallel, "read", check)
    assert read(tap, "end_users") == []
    assert not limited_paths


def test_a_second_that_is_not_over_is_waited_for() -> None:
    rows = [row(number, NOW) for number in range(60)]
    tap = make_tap(serving(rows), start_date=START_DATE)
    assert sorted(read(tap, "end_users")) == list(range(60))
    assert set(tap.client.slept_until) == {NOW + 1}


@pytest.mark.parametrize("catalog", [None, {"replication-method": "FULL_TABLE"}], ids=["incremental", "full table"])
@pytest.mark.parametrize("stream", ["end_users", "responses"])
def test_a_forecast_changes_nothing_that_is_read_and_its_requests_are_counted(
    stream: str, catalog: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    rows = [row(number, START + number * 1_000) for number in range(2_000)]
    catalog = catalog_of(make_tap(), stream, **(catalog or {}))
    requests_sent = {}
    for interval in (10, -1):
        monkeypatch.setattr(progress, "_INTERVAL_SECONDS", interval)
        monkeypatch.setattr(progress, "_FIRST_FORECAST_SECONDS", interval)
        tap = make_tap(serving(rows), start_date=START_DATE, catalog=catalog)
        assert read(tap, stream) == list(range(2_000))
        requests_sent[interval] = len(tap.client.requests)
        assert f"{stream}: done, 2,000 rows in {requests_sent[interval]} requests" in caplog.text
    pages = [params.get("page", 1) for _, params in tap.client.requests]
    assert requests_sent[-1] - requests_sent[10] == pages.count(30) > 0
    lines = [record for record in caplog.records if record.message.startswith(f"{stream}: at ")]
    assert vars(lines[0])["seconds_left"] is not None


@pytest.mark.parametrize("failing", [response(400, {}), response(503), response(content=[row(1, START - 1)])])
def test_a_forecast_that_fails_does_not_end_the_sync(
    failing: requests.Response, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "_INTERVAL_SECONDS", -1)
    monkeypatch.setattr(progress, "_FIRST_FORECAST_SECONDS", -1)
    rows = [row(number, START + number * 1_000) for number in range(120)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return failing if params.get("page") == 30 else serving(rows)(path, params)

    assert read(make_tap(answer, start_date=START_DATE), "end_users") == list(range(120))
    lines = [record for record in caplog.records if record.message.startswith("end_users: at ")]
    assert len(lines) == 2
    assert not any("left" in record.message for record in lines)


def test_without_the_filter_rows_that_are_not_emitted_are_progress_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "_INTERVAL_SECONDS", -1)
    rows = [row(number, START + number * 1_000) for number in range(200)]
    tap = make_tap(ignoring_updates(rows), state={"responses": "2024-12-31"}, start_date=START_DATE)
    assert read(tap, "responses") == []
    assert sum("responses: at 2024-01-0" in message for message in caplog.messages) == 4


def test_a_response_that_would_lose_rows_is_an_error_of_the_stream() -> None:
    tap = make_tap(lambda *_: response(content=[row(1, START - 1)]), start_date=START_DATE)
    with pytest.raises(FatalAPIError, match=r"^end_users: rows came from outside the range"):
        read(tap, "end_users")


def test_the_lookback_window_is_a_setting_and_the_sort_keys_are_the_apis() -> None:
    assert make_stream(EndUsers, lookback_window=77).lookback_seconds == 77
    assert EndUsers.sort_keys == ("updated_at", "created_at", "email")
    assert Responses.sort_keys == ("updated_at", "created_at")


def test_a_page_of_ordinary_rows_is_decoded_as_a_whole_and_any_other_row_by_row() -> None:
    stream = make_stream(EndUsers)
    ordinary = row(1, START)
    assert stream.records(response(content=[ordinary]), {}) == [{**ordinary, "extra_fields": None}]
    assert stream.records(response(content=[{**ordinary, "id": "1", "new": 2}]), {}) == [
        {**ordinary, "extra_fields": {"new": 2}}
    ]
