"""Which requests a list sends, and how far its bookmark may move."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError
from singer_sdk.singerlib import RecordMessage

from tap_wootric import progress
from tap_wootric.api.responses import ApiUnavailableError
from tap_wootric.pagination import parallel, ties
from tap_wootric.pagination.query import Query, TimeRange
from tap_wootric.records.timestamps import timestamp_of_second
from tap_wootric.streams import EndUsers, Responses
from tap_wootric.streams.lists import parameters
from tap_wootric.tap import FailedStreamsError
from tests.unit.api.fakes import response
from tests.unit.fakes import NOW, Answer, catalog_of, make_stream, make_tap, row, serving

START_DATE = "2024-01-01"
START = 1_704_067_200
"""START_DATE."""
DAY = 86_400


def read(tap: Any, stream: str) -> list[int]:
    """Return the ids of the records of a sync."""
    return [record["id"] for record in tap.streams[stream].get_records(None)]


def stamp(second: int) -> str:
    return f"{timestamp_of_second(second)}Z"


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


@pytest.mark.parametrize("start", [{"start_date": START_DATE}, {}], ids=["from a date on", "everything"])
def test_a_full_page_that_fits_an_older_deployment_too_takes_one_more_request_and_is_not_fetched_again(
    start: dict[str, str],
) -> None:
    tap = make_tap(serving(created_at(range(90))), **start)
    assert read(tap, "responses") == list(range(90))
    first, earlier, *others = asked(tap)
    assert earlier == {**first, "updated[lt]": START + 49}
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
    ("offsets", "is_in_order"),
    [
        pytest.param(range(90), True, id="a full page that fits"),
        pytest.param(range(0, -3, -1), False, id="rows out of order"),
        pytest.param([3, *range(4, 90)], True, id="no row out of range"),
    ],
)
def test_an_older_deployment_that_the_first_page_does_not_show_takes_one_more_request(
    offsets: Sequence[int],
    is_in_order: bool,  # noqa: FBT001 - A parameter of the test.
) -> None:
    tap = make_tap(older_deployment(created_at(offsets)), start_date="2023-12-31")
    assert sorted(read(tap, "responses")) == list(range(len(offsets)))
    first, second = asked(tap)[:2]
    assert second == ({**first, "updated[lt]": START + 49} if is_in_order else PROBE)
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


def sorting_by_creation(rows: list[dict[str, Any]], sort_order: str = "asc") -> Answer:
    """Return an API that filters by update time, but sorts by creation time in one order, whatever it is asked for."""

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return serving(rows)(path, {**params, "sort_key": "created_at", "sort_order": sort_order})

    return answer


@pytest.mark.parametrize("recent", [49, 30, 0])
def test_a_first_page_that_only_seems_sorted_by_update_loses_no_row(recent: int) -> None:
    """Row 49 closes the first page by creation. If it was updated lately, hundreds of rows were updated before it."""
    rows = [row(number, START + (900_000 if recent <= number < 50 else number)) for number in range(500)]
    for number, content in enumerate(rows):
        content["created_at"] = row(0, START + number)["created_at"]
    tap = make_tap(sorting_by_creation(rows), start_date=START_DATE)
    assert sorted(read(tap, "responses")) == list(range(500))


@pytest.mark.parametrize("method", ["INCREMENTAL", "FULL_TABLE"])
@pytest.mark.parametrize("make_answer", [older_deployment, sorting_by_creation])
def test_a_list_that_always_begins_with_the_newest_rows_is_an_error_even_if_they_have_the_same_time(
    method: str, make_answer: Any
) -> None:
    rows = [row(number, START + (900_000 if number >= 500 else number)) for number in range(560)]
    catalog = catalog_of(make_tap(), "responses", **{"replication-method": method})
    tap = make_tap(make_answer(rows, sort_order="desc"), start_date=START_DATE, catalog=catalog)
    with pytest.raises(FatalAPIError, match=r"^responses: rows that were to be sorted by created_at came in another"):
        read(tap, "responses")


def test_a_row_that_is_committed_late_is_not_taken_for_another_order() -> None:
    rows = [row(number, START + 10 * number) for number in range(1, 90)]
    late = row(1_000, START + 5)
    requests_sent = 0

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        nonlocal requests_sent
        requests_sent += 1
        return serving(rows if requests_sent < 2 else [*rows, late])(path, params)

    tap = make_tap(answer, start_date=START_DATE)
    assert {*read(tap, "responses")} >= {*range(1, 90)}
    assert all(params["sort_key"] == "updated_at" for params in asked(tap))


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

    def check(_fetch: Any, _query: Query, concurrency: int, is_limited: Any, **_: Any) -> Any:
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
    tap = make_tap(older_deployment(rows), state={"responses": "2024-12-31"}, start_date=START_DATE)
    assert read(tap, "responses") == []
    assert sum("responses: at 2024-01-0" in message for message in caplog.messages) == 4


def test_a_response_that_would_lose_rows_is_an_error_of_the_stream() -> None:
    tap = make_tap(lambda *_: response(content=[row(1, START - 1)]), start_date=START_DATE)
    with pytest.raises(FatalAPIError, match=r"^end_users: rows came from outside the range"):
        read(tap, "end_users")


# A second that cannot be proven complete


@pytest.fixture
def _two_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let page 2 be the last one that the API answers: 100 rows cannot be counted."""
    monkeypatch.setattr(ties, "LAST_PAGE", 2)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


def synced(tap: Any) -> tuple[list[int], str]:
    """Sync, and return the ids of the records, and the line of the stream that failed."""
    ids: list[int] = []
    write = tap.write_message

    def note(message: Any) -> None:
        ids.extend([message.record["id"]] if isinstance(message, RecordMessage) else [])
        write(message)

    tap.write_message = note
    try:
        tap.sync_all()
    except FailedStreamsError as error:
        [line] = error.lines
        return ids, line
    return ids, ""


@pytest.mark.usefixtures("_two_pages")
def test_an_unproven_second_fails_its_stream_once_and_blocks_no_sync(caplog: pytest.LogCaptureFixture) -> None:
    second = NOW - 10_000
    rows = [row(1, second - 10), *(row(number, second) for number in range(100, 350)), row(2, second + 10)]
    catalog = catalog_of(make_tap(), "declines")
    first = make_tap(serving(rows), catalog=catalog)
    ids, line = synced(first)
    assert line == (
        f"declines: 100 rows updated at {stamp(second)} and created at {stamp(second)} were read, and there may be "
        "more: page 2 is full. The next sync goes on behind it"
    )
    assert len(ids) == 102
    assert {1, 2} <= {*ids}
    assert first.streams["declines"].bookmark == stamp(second + 10)
    assert len([text for text in warnings(caplog) if "Reading goes on behind this second" in text]) == 1
    second_sync = make_tap(serving(rows), catalog=catalog, state=first.state)
    assert synced(second_sync) == ([2], "")


@pytest.mark.usefixtures("_two_pages")
def test_the_bookmark_passes_an_unproven_second_that_is_the_last_one() -> None:
    second = NOW - 10_000
    rows = [row(number, second) for number in range(100, 350)]
    catalog = catalog_of(make_tap(), "declines")
    first = make_tap(serving(rows), catalog=catalog)
    assert synced(first)[1]
    assert first.state["bookmarks"]["declines"]["replication_key_value"] == stamp(second + 1)
    assert synced(make_tap(serving(rows), catalog=catalog, state=first.state)) == ([], "")


@pytest.mark.usefixtures("_two_pages")
@pytest.mark.parametrize(("age", "fails"), [(299, False), (300, False), (301, True)])
def test_an_unproven_second_that_the_next_sync_reads_again_is_only_a_warning(
    age: int,
    fails: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [row(number, NOW - age) for number in range(100, 350)]
    catalog = catalog_of(make_tap(), "declines")
    tap = make_tap(serving(rows), catalog=catalog)
    ids, line = synced(tap)
    assert len(ids) == 100
    assert bool(line) is fails
    [warning] = [text for text in warnings(caplog) if "there may be more" in text and "Other streams" not in text]
    assert warning.endswith("The next sync reads this second again") is not fails
    assert (tap.streams["declines"].bookmark <= stamp(NOW - age)) is not fails


@pytest.mark.usefixtures("_two_pages")
@pytest.mark.parametrize("age", [10, 10_000])
def test_a_full_table_with_an_unproven_second_is_not_activated(age: int, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(number, NOW - age) for number in range(100, 350)]
    catalog = catalog_of(make_tap(), "declines", **{"replication-method": "FULL_TABLE"})
    ids, line = synced(make_tap(serving(rows), catalog=catalog))
    assert len(ids) == 100
    assert line.endswith("page 2 is full. The target keeps the rows of earlier syncs")
    assert "ACTIVATE_VERSION" not in capsys.readouterr().out


@pytest.mark.usefixtures("_two_pages")
def test_several_unproven_seconds_are_one_line() -> None:
    rows = [row(100 * second + number, NOW - 10_000 + second) for second in range(3) for number in range(100)]
    ids, line = synced(make_tap(serving(rows), catalog=catalog_of(make_tap(), "declines")))
    assert sorted(ids) == list(range(300))
    assert " is full (1 of 3 such seconds; the warnings name the others). The next sync goes on behind them" in line


def test_responses_are_also_asked_for_by_their_exclusion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ties, "LAST_PAGE", 2)
    rows = [{**row(number, NOW - 10_000), "excluded_from_calculations": number % 4 == 0} for number in range(240)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        wanted = {"true": True, "false": False}.get(params.get("excluded_from_calculations", ""))
        found = [one for one in rows if wanted is None or one["excluded_from_calculations"] is wanted]
        return serving(found)(path, params)

    ids, line = synced(make_tap(answer, catalog=catalog_of(make_tap(), "responses")))
    assert {number for number in range(240) if number % 4 == 0} <= {*ids}
    assert len(ids) == 60 + 100
    assert "160 rows" in line


@pytest.mark.usefixtures("_two_pages")
@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (response(400, {}), ["declines: 400 Reason for /v1/responses. Besides, {}"]),
        (ApiUnavailableError("Wootric rejected the credentials"), ["declines: {}", "Wootric rejected the credentials"]),
    ],
    ids=["of the stream", "of all streams"],
)
def test_an_unproven_second_is_reported_even_if_another_error_ends_the_stream(
    error: requests.Response | Exception, lines: list[str]
) -> None:
    rows = [row(number, NOW - 10_000) for number in range(150)] + [row(200, NOW - 9_000)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        if not NOW - 10_000 < params.get("updated[gte]", 0) <= NOW:
            return serving(rows)(path, params)
        if isinstance(error, Exception):
            raise error
        return error

    tap = make_tap(answer, catalog=catalog_of(make_tap(), "declines"), start_date="2025-01-01")
    with pytest.raises(FailedStreamsError) as raised:
        tap.sync_all()
    at = stamp(NOW - 10_000)
    unproven = f"100 rows updated at {at} and created at {at} were read, and there may be more: page 2 is full"
    assert raised.value.lines == [line.format(unproven) for line in lines]


@pytest.mark.usefixtures("_two_pages")
def test_an_api_that_refuses_to_split_responses_still_shows_them_as_a_whole() -> None:
    rows = [row(number, NOW - 10_000) for number in range(150)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return response(400, {}) if "excluded_from_calculations" in params else serving(rows)(path, params)

    ids, line = synced(make_tap(answer, catalog=catalog_of(make_tap(), "responses")))
    assert len(ids) == 100
    assert line.startswith("responses: 100 rows updated at ")


@pytest.mark.usefixtures("_two_pages")
def test_without_a_filter_by_update_an_unproven_second_is_met_by_each_sync() -> None:
    rows = [row(number, NOW - 10_000) for number in range(150)]
    tap = make_tap(older_deployment(rows), catalog=catalog_of(make_tap(), "declines"))
    ids, line = synced(tap)
    assert len(ids) == 100
    assert line.startswith(f"declines: 100 rows created at {stamp(NOW - 10_000)} were read, ")
    assert line.endswith("As this API does not filter by updated_at, each sync fetches them again")
    assert tap.streams["declines"].bookmark == stamp(NOW - 10_000)


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
