"""Each stream has the right keys, selection, requests and records."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tap_wootric.streams import STREAMS
from tests.programs import plugin
from tests.tap import Run, full_table, selecting, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND, in_utc
from tools.sandbox.server import Clock

BY_DEFAULT = {"end_users", "responses", "declines"}
ALL = tuple(STREAMS)
TODAY = date(2025, 12, 31)
"""The day of `NOW`, UTC."""


def sync(sandbox: Sandbox, *streams: str, state: Any = None, **settings: Any) -> Run:
    """Sync some streams, and check that it succeeds and that each record is valid."""
    run = tap(config={**sandbox.config, **settings}, catalog=selecting(*streams), state=state)
    assert run.status == 0, run.log
    for stream in streams:
        (schema,) = run.of_type("SCHEMA", stream)
        for record in run.records(stream):
            Draft7Validator(schema["schema"]).validate(record)
    return run


def days_asked(sandbox: Sandbox, since: int = 0, stream: str = "nps_summary") -> list[tuple[str, str]]:
    """Return the sorted ranges of days in the requests from the n-th on."""
    first, last = {
        "nps_summary": ("date[start]", "date[end]"),
        "email_stats": ("date_range[start_date]", "date_range[end_date]"),
    }[stream]
    queries = [request.query for request in sandbox.pages(stream)[since:]]
    return sorted((query[first], query[last]) for query in queries)


def each_day(first: date, last: date = TODAY) -> list[str]:
    return [str(first + timedelta(days=number)) for number in range((last - first).days + 1)]


def test_meltano_selects_the_streams_that_are_selected_by_default() -> None:
    selected = [f"{name}.*" for name, stream in STREAMS.items() if stream.selected_by_default]
    assert plugin("extractors", "tap-wootric")["select"] == selected


def test_a_decline_comes_as_the_api_sent_it() -> None:
    account = Account(declines=2)
    with Sandbox(account, Clock(NOW)) as sandbox:
        records = {record["id"]: record for record in sync(sandbox, "declines").records("declines")}
    first, second = account.declines.rows[1], account.declines.rows[2]
    assert (records[1]["ip_address"], records[1]["origin_url"]) == ("127.0.0.1", "https://example.com")
    assert records[2]["ip_address"] is None  # The API did not send it.
    for row in (first, second):
        record = records[row.id]
        assert (record["created_at"], record["updated_at"]) == (in_utc(row.created), in_utc(row.updated))
        assert (record["end_user_id"], record["survey_id"]) == (row.body["end_user_id"], row.body["survey_id"])
        assert record["end_user"]["properties"] == row.properties
        assert record["extra_fields"] is None


# segments, survey_templates and email_sources


@pytest.mark.parametrize(("stream", "rows"), [("segments", 3), ("survey_templates", 2), ("email_sources", 5)])
def test_a_stream_without_times_is_read_with_one_request_and_the_target_may_delete_all_other_rows(
    stream: str, rows: int
) -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        run = sync(sandbox, stream)
    assert len(sandbox.pages(stream)) == 1
    assert [record["extra_fields"] for record in run.records(stream)] == [None] * rows
    (activate,) = run.of_type("ACTIVATE_VERSION")
    assert {message["version"] for message in run.of_type("RECORD")} == {activate["version"]}


def test_a_response_with_an_unexpected_structure_ends_its_stream_with_one_line() -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        sandbox.rewrite = lambda text: text if "access_token" in text else "7"
        run = tap(config=sandbox.config, catalog=selecting("segments"), sleepless=True)
    assert run.status == 1
    (error,) = run.errors
    assert "segments: The response from /v1/segments does not have the structure of segments. Giving up" in error
    assert "Traceback" not in run.log
    assert not run.of_type("ACTIVATE_VERSION")


# nps_summary


def test_nps_summary_has_a_row_for_each_day_from_the_start_date_to_today() -> None:
    account = Account(responses=300, declines=200)
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = sync(sandbox, "nps_summary", start_date="2025-11-01T15:00:00+02:00")
    days = each_day(date(2025, 11, 1))
    assert days_asked(sandbox) == [(day, day) for day in days]
    for record, day in zip(run.records("nps_summary"), days, strict=True):
        assert record == {"date": day, **account.nps(date.fromisoformat(day)), "extra_fields": None}
    assert sum(record["responses"] for record in run.records("nps_summary")) > 10
    assert run.of_type("SCHEMA")[0]["key_properties"] == ["date"]
    assert run.of_type("SCHEMA")[0]["bookmark_properties"] == ["date"]


def test_the_last_seven_days_are_read_again_because_late_answers_change_them() -> None:
    account, later = Account(responses=500), 5
    with Sandbox(account, Clock(NOW)) as sandbox:
        first = sync(sandbox, "nps_summary", start_date="2025-11-01")
        asked = len(sandbox.pages("nps_summary"))
        for number in range(7):
            account.responses.insert(int(NOW - number * 86_400) * SECOND)
        sandbox.clock.advance(later * 86_400)
        today = TODAY + timedelta(days=later)
        second = sync(sandbox, "nps_summary", state=first.state, start_date="2025-11-01")
    rows = {record["date"]: record for run in (first, second) for record in run.records("nps_summary")}
    for day in each_day(date(2025, 11, 1), today):
        assert rows[day]["responses"] == account.nps(date.fromisoformat(day))["responses"]
    assert len(days_asked(sandbox, asked)) == later + 8  # Today, and seven days before the last sync.


def test_the_next_sync_continues_with_the_last_day_of_an_interrupted_one() -> None:
    with Sandbox(Account(responses=3_000), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, n: "500" if path == "/v1/nps_summary" and n > 12 else ""
        config = {**sandbox.config, "start_date": "2025-12-01"}
        first = tap(config=config, catalog=selecting("nps_summary"), sleepless=True)
        sandbox.fault = lambda _path, _number: ""
        second = sync(sandbox, "nps_summary", state=first.state, start_date="2025-12-01")
    assert first.status == 1
    assert [record["date"] for record in first.records("nps_summary")] == each_day(
        date(2025, 12, 1), date(2025, 12, 12)
    )
    assert [record["date"] for record in second.records("nps_summary")] == each_day(date(2025, 12, 12))


def test_daily_streams_without_a_first_day_fail_without_a_request_and_the_others_are_read() -> None:
    with Sandbox(Account(3, 3)) as sandbox:
        run = tap(config={**sandbox.config, "start_date": None}, catalog=selecting(*ALL))
    assert run.status == 1
    by_day = ("email_stats", "nps_summary")
    assert run.errors == [f"start_date is not set: {stream} needs it as its first day" for stream in by_day]
    assert not [request for request in sandbox.requests if request.path.endswith(by_day)]
    for stream in set(ALL) - {*by_day, "declines"}:
        assert run.records(stream)


@pytest.mark.parametrize("ends_before", [False, True])
def test_email_stats_has_a_row_with_numbers_for_each_day(ends_before: bool) -> None:  # noqa: FBT001
    account = Account(emails=1_200)
    with Sandbox(account, Clock(NOW), ends_before=ends_before) as sandbox:
        run = sync(sandbox, "email_stats", start_date="2025-11-01T15:00:00+02:00")
    for record, day in zip(run.records("email_stats"), each_day(date(2025, 11, 1)), strict=True):
        stats = account.email_stats(date.fromisoformat(day), date.fromisoformat(day))["email_stats"]
        assert record["date"] == day
        assert (record["emails_sent"], record["open_rate"]) == (stats["emails_sent"], stats["open_rate"])
        assert record["open_rate_percent"] == int(stats["open_rate"].rstrip("%"))
        hour = "07" if day <= "2025-11-02" else "08"  # Daylight saving time ends.
        assert record["raw_results"]["start_date"] == f"{day}T{hour}:00:00Z"
    assert sum(record["emails_sent"] for record in run.records("email_stats")) > 50
    assert run.bookmark("email_stats") == "2025-12-24"


# What the account may not read


def test_a_stream_that_becomes_forbidden_keeps_its_bookmark_and_its_rows() -> None:
    with Sandbox(Account(400, 10), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, n: "403" if path == "/v1/end_users" and n == 5 else ""
        catalog = full_table("end_users", "responses")
        full = tap(config=sandbox.config, catalog=catalog)
        sandbox.requests.clear()
        first = tap(config=sandbox.config)
        second = tap(config=sandbox.config, state=first.state)
    assert full.status == first.status == 1
    assert [message["stream"] for message in full.of_type("ACTIVATE_VERSION")] == ["responses"]
    assert 190 < len(first.records("end_users")) <= 200
    assert second.status == 0
    ids = {record["id"] for run in (first, second) for record in run.records("end_users")}
    assert ids == sandbox.account.end_users.rows.keys()
    assert len(second.records("end_users")) < 250


def test_streams_that_fail_have_a_line_each_at_the_end() -> None:
    faults = {"/v1/segments": "403", "/v1/declines": "404", "/v1/nps_summary": "500", "/v1/responses": "html"}
    with Sandbox(Account(3, 3), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, _: faults.get(path, "")
        run = tap(config=sandbox.config, catalog=selecting(*{*ALL} - {"email_stats"}), sleepless=True)
    assert run.status == 1
    assert [error.split(" for ")[0] for error in run.errors] == [
        "declines: the account cannot read it (404 Not Found",
        "nps_summary: 500 Internal Server Error",
        "responses: 200 OK",
        "segments: the account cannot read it (403 Forbidden",
    ]
    for denied in (run.errors[0], run.errors[-1]):
        assert denied.endswith("): deselect it, or ask Wootric for access")
    assert [line.split(" | ")[-1] for line in run.log.splitlines()[-4:]] == run.errors
    assert len(run.records("end_users")) == 3
    assert len(run.records("survey_templates")) == 2
