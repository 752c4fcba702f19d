"""Which requests a list sends, and how far its bookmark may move."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError

from tap_wootric.pagination import parallel
from tap_wootric.pagination.query import Query, TimeRange
from tap_wootric.streams import EndUsers, Responses
from tap_wootric.streams.lists import parameters
from tests.unit.api.fakes import response
from tests.unit.fakes import NOW, Answer, catalog_of, make_stream, make_tap, row, serving

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


def older_deployment(rows: list[dict[str, Any]], sort_order: str | None = None) -> Answer:
    """Return an API that ignores the parameter `updated`, and sorts by creation whatever `sort_key` is.

    Args:
        rows: The rows in each of its lists.
        sort_order: The order of all pages, whatever the parameter is.
    """

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        heeded = {key: value for key, value in params.items() if not key.startswith("updated[")}
        order = sort_order or params["sort_order"]
        return serving(rows)(path, {**heeded, "sort_key": "created_at", "sort_order": order})

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


PROBE = {"sort_key": "updated_at", "sort_order": "asc", "updated[gte]": 4_102_444_800}
"""Finds out whether the API filters by `updated`: it asks for rows updated since 2100."""


def created_at(offsets: Iterable[int]) -> list[dict[str, Any]]:
    """Return rows that were updated one second after another, and created at these seconds before or after that."""
    return [
        {**row(number, START + number), "created_at": row(0, START + offset)["created_at"]}
        for number, offset in enumerate(offsets)
    ]


def full_table_of(stream: str) -> Any:
    return catalog_of(make_tap(), stream, **{"replication-method": "FULL_TABLE"})


@pytest.mark.parametrize("stream", ["end_users", "responses", "declines"])
@pytest.mark.parametrize("rows", [0, 3, 49])
def test_a_page_that_is_not_full_is_the_entire_list_and_takes_one_request(stream: str, rows: int) -> None:
    answer = serving(created_at(range(rows)))
    tap = make_tap(answer, start_date=START_DATE)
    assert read(tap, stream) == list(range(rows))
    assert len(asked(tap)) == 1
    tap = make_tap(answer, catalog=full_table_of(stream), start_date=START_DATE)
    assert read(tap, stream) == list(range(rows))
    assert len(asked(tap)) == 2  # The other one is for timestamps in the future.


def test_a_range_without_seconds_takes_no_request() -> None:
    assert read(make_tap(start_date="2025-06-01"), "responses") == []  # After NOW.


def test_a_full_page_in_the_order_of_updates_but_not_of_creations_shows_that_the_api_filters_by_updates() -> None:
    tap = make_tap(serving(created_at(number % 3 for number in range(90))), start_date=START_DATE)
    assert read(tap, "responses") == list(range(90))
    assert [params["updated[gte]"] for params in asked(tap)] == [START, START + 49]


@pytest.mark.parametrize("start", [{"start_date": START_DATE}, {}], ids=["from a date on", "everything"])
@pytest.mark.parametrize("step", [1, 0, -1], ids=["ascending", "the same", "descending"])
def test_a_full_page_that_fits_an_older_deployment_too_takes_one_more_request_and_is_not_fetched_again(
    start: dict[str, str], step: int
) -> None:
    tap = make_tap(serving(created_at(step * number for number in range(90))), **start)
    assert read(tap, "responses") == list(range(90))
    first, probe, *others = asked(tap)
    assert probe == PROBE
    assert [params["updated[gte]"] for params in others] == [START + 49]
    assert first not in others


@pytest.mark.parametrize("start", [{"start_date": START_DATE}, {}], ids=["from a date on", "everything"])
def test_a_full_table_of_more_than_a_page_takes_one_more_request(start: dict[str, str]) -> None:
    tap = make_tap(serving(created_at(range(90))), catalog=full_table_of("responses"), **start)
    assert read(tap, "responses") == list(range(90))
    _, probe, *others = asked(tap)
    assert probe == PROBE
    assert [params["created[gte]"] for params in others] == [START + 49, NOW + DAY]


def test_a_row_from_before_the_range_shows_an_older_deployment_and_older_updates_are_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [row(number, START + number * DAY) for number in range(5)]
    state = {"responses": "2024-01-03T00:00:00Z"}
    tap = make_tap(older_deployment(rows), state=state, start_date=START_DATE)
    assert read(tap, "responses") == [2, 3, 4]
    assert [params["sort_key"] for params in asked(tap)] == ["updated_at", "created_at"]
    assert asked(tap)[-1]["created[gte]"] == START
    assert "updated[gte]" not in asked(tap)[-1]
    assert "responses: this API does not filter by updated_at; each sync fetches all rows" in caplog.text


@pytest.mark.parametrize(
    "offsets",
    [
        pytest.param(range(90), id="a full page that fits"),
        pytest.param(range(0, -3, -1), id="rows out of order"),
        pytest.param([3, *range(4, 90)], id="no row out of range"),
    ],
)
def test_an_older_deployment_that_the_first_page_does_not_show_takes_one_more_request(offsets: Sequence[int]) -> None:
    tap = make_tap(older_deployment(created_at(offsets)), start_date="2023-12-31")
    assert sorted(read(tap, "responses")) == list(range(len(offsets)))
    assert asked(tap)[1] == PROBE
    assert {params["sort_key"] for params in asked(tap)[2:]} == {"created_at"}


def test_a_full_table_of_an_older_deployment_goes_on_with_the_page_that_it_has() -> None:
    tap = make_tap(older_deployment(created_at(range(90))), catalog=full_table_of("responses"))
    assert read(tap, "responses") == list(range(90))
    assert len(asked(tap)) == 4  # Two pages, the probe, and timestamps in the future.


def test_an_older_deployment_that_ignores_the_sort_order_is_an_error() -> None:
    answer = older_deployment(created_at(range(90)), sort_order="desc")
    tap = make_tap(answer, start_date=START_DATE)
    with pytest.raises(FatalAPIError, match=r"^responses: rows that were to be sorted by created_at came in another"):
        read(tap, "responses")


def test_an_api_that_filters_by_updates_but_does_not_sort_by_them_is_not_taken_for_an_older_deployment() -> None:
    rows = created_at(range(0, -90, -1))

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return serving(rows)(path, {**params, "sort_key": "created_at"})

    with pytest.raises(FatalAPIError, match=r"^responses: rows that were to be sorted by updated_at came in another"):
        read(make_tap(answer, start_date=START_DATE), "responses")


def test_by_update_the_high_watermark_moves_with_each_row_and_by_creation_only_at_the_end() -> None:
    rows = [row(number, START + number * DAY) for number in range(60)]
    for answer, moves in ((serving(rows), True), (older_deployment(rows), False)):
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
