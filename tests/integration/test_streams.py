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


# segments and survey_templates


def test_segments_are_read_with_one_request_and_the_target_may_delete_the_others() -> None:
    account = Account()
    account.segments.append({"name": "plan", "data_type": "string", "created_at": "2016-12-16 09:05:13 -0800", "x": 1})
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = sync(sandbox, "segments")
    assert len(sandbox.pages("segments")) == 1
    assert [record["name"] for record in run.records("segments")] == ["Department", "revenue amount", "renewed", "plan"]
    assert run.records("segments")[-1] == {
        "name": "plan",
        "data_type": "string",
        "created_at": "2016-12-16T17:05:13Z",
        "extra_fields": {"x": 1},
    }
    (activate,) = run.of_type("ACTIVATE_VERSION")
    assert {message["version"] for message in run.of_type("RECORD")} == {activate["version"]}
    assert run.of_type("SCHEMA")[0]["key_properties"] == ["name"]


def test_survey_templates_come_with_their_languages_and_which_is_the_default() -> None:
    account = Account()
    account.survey_templates[1] |= {"custom_samplings": [{"percent": 5}, 7], "theme": "dark"}
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = sync(sandbox, "survey_templates")
    assert len(sandbox.pages("survey_templates")) == 1
    first, second = run.records("survey_templates")
    assert first == {**account.survey_templates[0], "is_default": True, "extra_fields": None}
    assert second["languages"] == [{"code": "en", "name": "English"}, {"code": "no", "name": "Norsk"}]
    assert second["custom_samplings"] == [{"percent": 5}, {"_raw": 7}]
    assert second["is_default"] is False
    assert second["extra_fields"] == {"theme": "dark"}
    assert len(run.of_type("ACTIVATE_VERSION")) == 1


def test_a_response_with_an_unexpected_structure_ends_its_stream_with_one_line() -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        sandbox.rewrite = lambda text: text if "access_token" in text else "7"
        run = tap(config=sandbox.config, catalog=selecting("segments"), sleepless=True)
    assert run.status == 1
    (error,) = run.errors
    assert "segments: The response of /v1/segments does not have the structure of segments. Giving up" in error
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


def test_nps_summary_as_a_full_table_begins_with_the_start_date() -> None:
    with Sandbox(Account(responses=3_000), Clock(NOW)) as sandbox:
        config = {**sandbox.config, "start_date": "2025-12-01"}
        run = tap(config=config, catalog=full_table("nps_summary"), state={"nps_summary": "2025-12-20"})
    assert [record["date"] for record in run.records("nps_summary")] == each_day(date(2025, 12, 1))
    assert len(run.of_type("ACTIVATE_VERSION")) == 1
    assert run.bookmark("nps_summary") == "2025-12-20"


def test_streams_by_day_without_a_first_day_fail_without_a_request_and_the_others_are_read() -> None:
    with Sandbox(Account(3, 3)) as sandbox:
        run = tap(config={**sandbox.config, "start_date": None}, catalog=selecting(*ALL))
    assert run.status == 1
    by_day = ("email_stats", "nps_summary")
    assert run.errors == [f"start_date is not set: {stream} needs it as its first day" for stream in by_day]
    assert not [request for request in sandbox.requests if request.path.endswith(by_day)]
    for stream in set(ALL) - {*by_day, "declines"}:
        assert run.records(stream)


# email_stats and email_sources


def expected_stats(account: Account, day: str) -> dict[str, Any]:
    """Return the record of a day, except for the times in `raw_results`."""
    content = account.email_stats(date.fromisoformat(day), date.fromisoformat(day))
    stats = content.pop("email_stats")
    not_eligible, _, share = stats["not_eligible"].partition(" ")
    numbers = {
        "delivered_percent": float(stats["delivered_percentage"].rstrip("%")),
        "bounce_rate_percent": float(stats["bounce_rate_percentage"].rstrip("%")),
        "open_rate_percent": int(stats["open_rate"].rstrip("%")),
        "response_rate_percent": int(stats["response_rate"].rstrip("%")),
        "not_eligible_count": int(not_eligible),
        "not_eligible_percent": int(share.strip("(%)")),
    }
    raw = {name: value for name, value in stats.pop("raw_results").items() if not name.endswith("_date")}
    return {"date": day, **stats, **numbers, "raw_results": raw, **content, "extra_fields": None}


@pytest.mark.parametrize("ends_before", [False, True])
def test_email_stats_has_a_row_with_numbers_for_each_day(ends_before: bool) -> None:  # noqa: FBT001
    account = Account(emails=1_200)
    with Sandbox(account, Clock(NOW), ends_before=ends_before) as sandbox:
        run = sync(sandbox, "email_stats", start_date="2025-11-01T15:00:00+02:00")
    days = each_day(date(2025, 11, 1))
    for record, day in zip(run.records("email_stats"), days, strict=True):
        begin = record["raw_results"].pop("start_date")
        end = record["raw_results"].pop("end_date")
        assert begin == f"{day}T{'07' if day <= '2025-11-02' else '08'}:00:00Z"  # Daylight saving time ends.
        assert begin < end
        # The API's text names two days where a range of two is needed for one.
        expected = {**expected_stats(account, day), "send_date": record["send_date"]}
        assert record == expected
    assert sum(record["emails_sent"] for record in run.records("email_stats")) > 50
    assert run.of_type("SCHEMA")[0]["key_properties"] == ["date"]
    assert run.of_type("SCHEMA")[0]["bookmark_properties"] == ["date"]
    assert run.bookmark("email_stats") == "2025-12-24"


def test_email_sources_are_read_with_one_request_and_the_target_may_delete_the_others() -> None:
    account = Account()
    account.email_sources["ongoing"].append({"id": 1, "name": "Has the id of a send", "paused": False})
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = sync(sandbox, "email_sources")
    assert len(sandbox.pages("email_sources")) == 1
    records = run.records("email_sources")
    assert [(record["kind"], record["id"], record.get("date")) for record in records] == [
        ("ongoing", "email_api", None),
        ("ongoing", "webhook_trigger", None),
        ("ongoing", "1", None),
        ("sends", "1", "Jan 11, 2024  9:01AM"),
        ("sends", "2", "Apr 14, 2024  12:04AM"),
        ("sends", "3", "Jul 09, 2024  10:04PM"),
    ]
    assert records[2]["extra_fields"] == {"paused": False}
    assert run.of_type("SCHEMA")[0]["key_properties"] == ["kind", "id"]


# What the account may not read


@pytest.fixture(scope="module")
def unhindered() -> Run:
    """A sync of all streams by an account that may read them."""
    with Sandbox(Account(70, 70, declines=70), Clock(NOW)) as sandbox:
        return sync(sandbox, *ALL, start_date="2025-12-29")


@pytest.mark.parametrize(("stream", "status"), [("responses", "403"), ("nps_summary", "404"), ("segments", "403")])
def test_a_forbidden_stream_does_not_stop_the_others(stream: str, status: str, unhindered: Run) -> None:
    with Sandbox(Account(70, 70, declines=70), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, _: status if path == STREAMS[stream].path else ""
        run = tap(config={**sandbox.config, "start_date": "2025-12-29"}, catalog=selecting(*ALL))
    assert run.status == 1
    (error,) = run.errors
    assert error.startswith(f"{stream}: the account may not read it ({status} ")
    assert error.endswith("): deselect it, or ask Wootric for access")
    assert "Traceback" not in run.log
    for name in ALL:
        assert run.records(name) == ([] if name == stream else unhindered.records(name))
    assert run.messages[-1]["type"] == "STATE"
    others = {name: bookmark for name, bookmark in unhindered.state["bookmarks"].items() if name != stream}
    assert others.items() <= run.state["bookmarks"].items()


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
        "declines: the account may not read it (404 Not Found",
        "nps_summary: 500 Internal Server Error",
        "responses: 200 OK",
        "segments: the account may not read it (403 Forbidden",
    ]
    assert [line.split(" | ")[-1] for line in run.log.splitlines()[-4:]] == run.errors
    assert len(run.records("end_users")) == 3
    assert len(run.records("survey_templates")) == 2
