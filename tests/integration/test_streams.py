"""Each stream has the right keys, selection, requests and records."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from jsonschema import Draft7Validator

from tap_wootric.streams import STREAMS
from tap_wootric.tap import TapWootric
from tests.programs import plugin, run
from tests.tap import Run, full_table, selecting, tap
from tools import ROOT
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND, Email, in_utc
from tools.sandbox.api import Answer
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


def test_end_users_responses_and_declines_are_selected_by_default() -> None:
    with Sandbox(Account(3, 3, declines=3)) as sandbox:
        run = tap(config=sandbox.config)
    assert {message["stream"] for message in run.of_type("SCHEMA")} == BY_DEFAULT
    assert {request.path for request in sandbox.requests[1:]} == {f"/v1/{name}" for name in BY_DEFAULT}


def test_meltano_selects_the_streams_that_are_selected_by_default() -> None:
    selected = [f"{name}.*" for name, stream in STREAMS.items() if stream.selected_by_default]
    assert plugin("extractors", "tap-wootric")["select"] == selected


def test_a_decline_comes_as_the_api_sent_it() -> None:
    account = Account(declines=2)
    with Sandbox(account, Clock(NOW)) as sandbox:
        records = {record["id"]: record for record in sync(sandbox, "declines").records("declines")}
    first, second = account.declines.rows[1], account.declines.rows[2]
    assert (records[1]["ip_address"], records[1]["origin_url"]) == ("127.0.0.1", "https://example.com")
    assert "ip_address" not in records[2]
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


@pytest.mark.parametrize(("default", "flags"), [('"1"', [True, False]), ("null", [None, None]), ("7", [False, False])])
def test_the_default_template_is_found_by_an_id_of_any_type(default: str, flags: list[bool | None]) -> None:
    name = '"default_survey_template_id": '
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        sandbox.rewrite = lambda text: text.replace(f"{name}1", f"{name}{default}")
        records = sync(sandbox, "survey_templates").records("survey_templates")
    assert [record["is_default"] for record in records] == flags


def test_a_catalog_cannot_make_a_full_table_stream_incremental() -> None:
    catalog = selecting("segments", **{"replication-method": "INCREMENTAL", "replication-key": "created_at"})
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        run = tap(config=sandbox.config, catalog=catalog)
    assert run.status == 0
    assert len(run.records("segments")) == 3
    assert len(run.of_type("ACTIVATE_VERSION")) == 1


@pytest.mark.parametrize(
    ("stream", "answer"),
    [
        ("segments", "7"),
        ("survey_templates", "{}"),
        ("nps_summary", "[1]"),
        ("email_stats", '"text"'),
        ("email_sources", '[{"id": 1, "responses": 1}]'),
    ],
)
def test_a_response_with_an_unexpected_structure_ends_the_sync_with_one_line(stream: str, answer: str) -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        sandbox.rewrite = lambda text: text if "access_token" in text else answer
        run = tap(config=sandbox.config, catalog=selecting(stream), sleepless=True)
    assert run.status == 1
    (error,) = run.errors
    assert (
        f"{stream}: The response of {STREAMS[stream].path} does not have the structure of {stream}. Giving up" in error
    )
    assert "Traceback" not in run.log
    assert not run.of_type("ACTIVATE_VERSION")


# nps_summary


def test_nps_summary_has_a_row_for_each_day_from_the_start_date_to_today(concurrency: int) -> None:
    account = Account(responses=300, declines=200)
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = sync(sandbox, "nps_summary", start_date="2025-11-01T15:00:00+02:00")
    days = each_day(date(2025, 11, 1))
    assert days_asked(sandbox) == [(day, day) for day in days]
    for record, day in zip(run.records("nps_summary"), days, strict=True):
        assert record == {"date": day, **account.nps(date.fromisoformat(day)), "extra_fields": None}
    assert sum(record["responses"] for record in run.records("nps_summary")) > 10
    assert (sandbox.max_concurrency > 1) == (concurrency > 1)
    assert sandbox.max_concurrency <= concurrency
    assert run.of_type("SCHEMA")[0]["key_properties"] == ["date"]
    assert run.of_type("SCHEMA")[0]["bookmark_properties"] == ["date"]


@pytest.mark.parametrize("later", [0, 1, 5, 30])
def test_the_last_seven_days_are_read_again_because_late_answers_change_them(later: int) -> None:
    account = Account(responses=2_000)
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


def test_a_sync_continues_from_a_bookmark_in_any_known_format() -> None:
    for state in (
        {"nps_summary": "2025-12-01"},
        {"bookmarks": {"nps_summary": {"replication_key": "date", "replication_key_value": "2025-12-01"}}},
        {"bookmarks": {"nps_summary": {"date": "2025-12-01T10:00:00Z"}}},
    ):
        with Sandbox(Account(), Clock(NOW)) as sandbox:
            run = sync(sandbox, "nps_summary", state=state)
        assert [record["date"] for record in run.records("nps_summary")] == each_day(date(2025, 12, 1))
        assert run.bookmark("nps_summary") == "2025-12-24"


def test_a_bookmark_of_today_still_rereads_the_last_seven_days() -> None:
    with Sandbox(Account(responses=3_000), Clock(NOW)) as sandbox:
        run = sync(sandbox, "nps_summary", state={"nps_summary": "2025-12-31"})
    assert days_asked(sandbox) == [(day, day) for day in each_day(date(2025, 12, 24))]
    assert run.bookmark("nps_summary") == "2025-12-24"


def test_a_start_date_within_the_last_seven_days_is_respected() -> None:
    with Sandbox(Account(responses=3_000), Clock(NOW)) as sandbox:
        state = sync(sandbox, "nps_summary", start_date="2025-12-30").state
        assert days_asked(sandbox) == [(day, day) for day in each_day(date(2025, 12, 30))]
        sync(sandbox, "nps_summary", state=state, start_date="2025-12-30")
    assert days_asked(sandbox, 2) == [(day, day) for day in each_day(date(2025, 12, 30))]


REPLACEMENTS = {
    "as documented": ('"nps":', '"nps":'),
    "more fields": ('"nps":', '"metric": "NPS", "number": 7, "nps":'),
    "rates of days without responses": ('"email_response_rate": 0', '"email_response_rate": 31'),
    "text": ('"responses": 0', '"responses": "0"'),
    "null": ('"responses": 0', '"responses": null'),
    "no number": ('"responses": 0', '"responses": "N/A"'),
}


@pytest.mark.usefixtures("concurrency")
@pytest.mark.parametrize("replacement", REPLACEMENTS.values(), ids=REPLACEMENTS.keys())
@pytest.mark.parametrize("ends_before", [False, True])
def test_the_sums_are_right_whether_or_not_the_last_day_of_a_range_is_in_it(
    replacement: tuple[str, str],
    ends_before: bool,  # noqa: FBT001
) -> None:
    account = Account(responses=300)
    with Sandbox(account, Clock(NOW), ends_before=ends_before) as sandbox:
        sandbox.rewrite = lambda text: text.replace(*replacement)
        records = sync(sandbox, "nps_summary", start_date="2025-12-01").records("nps_summary")
    assert [record["date"] for record in records] == each_day(date(2025, 12, 1))
    for record in records:
        assert (record["responses"] or 0) == account.nps(date.fromisoformat(record["date"]))["responses"]


def test_the_sums_are_right_if_a_catalog_has_only_one_of_them() -> None:
    account = Account(responses=300)
    catalog = selecting("nps_summary")
    (entry,) = [entry for entry in catalog["streams"] if entry["tap_stream_id"] == "nps_summary"]
    entry["schema"]["properties"] = {name: entry["schema"]["properties"][name] for name in ("date", "nps")}
    with Sandbox(account, Clock(NOW), ends_before=True) as sandbox:
        run = tap(config={**sandbox.config, "start_date": "2025-12-01"}, catalog=catalog)
    for record in run.records("nps_summary"):
        assert record == {"date": record["date"], "nps": account.nps(date.fromisoformat(record["date"]))["nps"]}


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Auckland"])
@pytest.mark.parametrize("ends_before", [False, True])
@pytest.mark.parametrize("start_date", ["2025-12-31", "2025-12-24"])
def test_the_sums_are_right_if_only_the_last_day_has_responses(start_date: str, ends_before: bool, zone: str) -> None:  # noqa: FBT001
    account = Account()
    account.zone = ZoneInfo(zone)
    account.responses.insert(int(datetime(2025, 12, 31, 20, tzinfo=UTC).timestamp()) * SECOND)
    with Sandbox(account, Clock(NOW + 20 * 3_600), ends_before=ends_before) as sandbox:
        records = sync(sandbox, "nps_summary", start_date=start_date).records("nps_summary")
    is_tomorrow = zone == "Pacific/Auckland"
    assert (records[-1]["date"], records[-1]["responses"]) == ("2025-12-31", 0 if is_tomorrow else 1)
    assert sum(record["responses"] for record in records[:-1]) == 0


def test_no_record_is_emitted_before_the_meaning_of_date_end_is_known() -> None:
    with Sandbox(Account(responses=300), Clock(NOW), ends_before=True) as sandbox:
        sandbox.fault = lambda path, n: "403" if path == "/v1/nps_summary" and n == 32 else ""
        run = tap(config={**sandbox.config, "start_date": "2025-12-01"}, catalog=selecting("nps_summary"))
    assert run.status == 1
    assert run.records("nps_summary") == []
    assert "replication_key_value" not in run.state["bookmarks"]["nps_summary"]


def test_a_failed_sync_abandons_threads_blocked_on_a_request() -> None:
    class Hanging(Sandbox):
        def handle(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> tuple[Answer, str]:
            if "2025-12-06" in target:
                time.sleep(8)
            answer, _ = super().handle(method, target, body, headers)
            return answer, "403" if "2025-12-02" in target else ""

    catalog = selecting("nps_summary")
    with Hanging(Account(responses=3_000), Clock(NOW)) as sandbox:
        start = time.monotonic()
        run = tap(config={**sandbox.config, "start_date": "2025-12-01", "concurrency": 8}, catalog=catalog)
        assert time.monotonic() - start < 6
    assert run.status == 1


def test_the_next_sync_continues_with_the_last_day_of_an_interrupted_one() -> None:
    with Sandbox(Account(responses=3_000), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, n: "500" if path == "/v1/nps_summary" and n > 12 else ""
        config = {**sandbox.config, "start_date": "2025-12-01", "concurrency": 1}
        first = tap(config=config, catalog=selecting("nps_summary"), sleepless=True)
        sandbox.fault = lambda _path, _number: ""
        second = sync(sandbox, "nps_summary", state=first.state, start_date="2025-12-01")
    assert first.status == 1
    assert [record["date"] for record in first.records("nps_summary")] == each_day(
        date(2025, 12, 1), date(2025, 12, 12)
    )
    assert [record["date"] for record in second.records("nps_summary")] == each_day(date(2025, 12, 12))


def test_days_before_1970_are_read() -> None:
    account = Account()
    account.responses.insert(-86_400 * SECOND)
    with Sandbox(account, Clock(NOW)) as sandbox:
        streams: Any = TapWootric(config={**sandbox.config, "start_date": "1969-12-30"}).streams
        record = next(iter(streams["nps_summary"].get_records(None)))
    assert (record["date"], record["responses"]) == ("1969-12-30", 1)


def test_a_full_table_sync_without_a_day_deletes_nothing_in_the_target() -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        config = {**sandbox.config, "start_date": "2026-03-01"}
        run = tap(config=config, catalog=full_table("nps_summary"))
    assert run.status == 1
    assert run.errors == ["nps_summary: start_date is after today, which is 2025-12-31 by the API's clock"]
    assert not run.of_type("ACTIVATE_VERSION")


def test_an_account_without_responses_costs_one_extra_request() -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        run = sync(sandbox, "nps_summary", start_date="2025-12-01")
    assert len(run.records("nps_summary")) == 31
    assert len(sandbox.pages("nps_summary")) == 32
    assert run.bookmark("nps_summary") == "2025-12-24"


def test_sums_with_a_fraction_are_kept() -> None:
    with Sandbox(Account(responses=3_000), Clock(NOW)) as sandbox:
        sandbox.rewrite = lambda text: text.replace('"email_response_rate": 0', '"email_response_rate": 12.50')
        run = sync(sandbox, "nps_summary", start_date="2025-12-30")
    assert [record["email_response_rate"] for record in run.records("nps_summary")] == [12.5, 12.5]


def test_nps_summary_as_a_full_table_begins_with_the_start_date() -> None:
    with Sandbox(Account(responses=3_000), Clock(NOW)) as sandbox:
        config = {**sandbox.config, "start_date": "2025-12-01"}
        run = tap(config=config, catalog=full_table("nps_summary"), state={"nps_summary": "2025-12-20"})
    assert [record["date"] for record in run.records("nps_summary")] == each_day(date(2025, 12, 1))
    assert len(run.of_type("ACTIVATE_VERSION")) == 1
    assert run.bookmark("nps_summary") == "2025-12-20"


def test_days_are_requested_one_at_a_time_under_an_announced_limit() -> None:
    with Sandbox(Account(responses=300), limit=1_000) as sandbox:
        sandbox.latency = 0.01
        start = datetime.now(UTC) - timedelta(days=20)
        run = sync(sandbox, "nps_summary", start_date=start.isoformat(), concurrency=8)
    assert len(run.records("nps_summary")) == 21
    assert sandbox.max_concurrency == 1


@pytest.mark.parametrize("method", ["INCREMENTAL", "FULL_TABLE"])
def test_streams_by_day_without_a_first_day_fail_without_a_request_and_the_others_are_read(method: str) -> None:
    catalog = selecting(*ALL, **{"replication-method": method})
    with Sandbox(Account(3, 3)) as sandbox:
        run = tap(config={**sandbox.config, "start_date": None}, catalog=catalog)
    assert run.status == 1
    by_day = ("email_stats", "nps_summary")
    assert run.errors == [f"start_date is not set: {stream} needs it as its first day" for stream in by_day]
    assert not [request for request in sandbox.requests if request.path.endswith(by_day)]
    for stream in set(ALL) - {*by_day, "declines"}:
        assert run.records(stream)


def test_nps_summary_continues_from_its_bookmark_without_a_start_date() -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        run = sync(sandbox, "nps_summary", state={"nps_summary": "2025-12-01"}, start_date=None)
    assert run.records("nps_summary")[0]["date"] == "2025-12-01"


def test_a_bookmark_on_a_future_day_is_refused() -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        run = tap(config=sandbox.config, catalog=selecting("nps_summary"), state={"nps_summary": "2099-01-01"})
    assert run.status == 1
    assert "nps_summary: the bookmark 2099-01-01 is in the future" in run.errors[-1]


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
@pytest.mark.parametrize("spelling", ["sart_date", "start_date"])
def test_email_stats_has_a_row_with_numbers_for_each_day(concurrency: int, ends_before: bool, spelling: str) -> None:  # noqa: FBT001
    account = Account(emails=3_000)
    with Sandbox(account, Clock(NOW), ends_before=ends_before) as sandbox:
        sandbox.rewrite = lambda text: text.replace("sart_date", spelling)
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
    assert sum(record["emails_sent"] for record in run.records("email_stats")) > 100
    assert sandbox.max_concurrency <= concurrency
    assert run.of_type("SCHEMA")[0]["key_properties"] == ["date"]
    assert run.of_type("SCHEMA")[0]["bookmark_properties"] == ["date"]
    assert run.bookmark("email_stats") == "2025-12-24"


def test_the_last_seven_days_of_email_stats_are_read_again_because_emails_are_opened_late() -> None:
    account = Account(emails=2_000)
    with Sandbox(account, Clock(NOW)) as sandbox:
        first = sync(sandbox, "email_stats", start_date="2025-12-01")
        asked = len(sandbox.pages("email_stats"))
        late = int((NOW - 7 * 86_400) * SECOND)
        account.emails = [Email(email.at, "answered") if email.at >= late else email for email in account.emails]
        second = sync(sandbox, "email_stats", state=first.state, start_date="2025-12-01")
    assert days_asked(sandbox, asked, "email_stats") == [(day, day) for day in each_day(date(2025, 12, 24))]
    rows = {record["date"]: record for run in (first, second) for record in run.records("email_stats")}
    for day in each_day(date(2025, 12, 1)):
        assert rows[day]["open_rate"] == expected_stats(account, day)["open_rate"]


@pytest.mark.parametrize(
    ("sent", "extra_fields"),
    [('"N/A"', None), ("null", None), ("61.5", None), ('"one in 2"', {"open_rate_percent": "one in 2"})],
)
def test_a_rate_in_an_unexpected_form_is_kept(sent: str, extra_fields: Any) -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        sandbox.rewrite = lambda text: text.replace('"open_rate": "0%"', f'"open_rate": {sent}')
        records = sync(sandbox, "email_stats", start_date="2025-12-31").records("email_stats")
    assert [record["open_rate"] for record in records] == [None if sent == "null" else sent.strip('"')]
    assert [record["extra_fields"] for record in records] == [extra_fields]


def test_email_sources_are_read_with_one_request_and_the_target_may_delete_the_others() -> None:
    account = Account()
    account.email_sources["ongoing"].append({"id": 1, "name": "Has the id of a send", "paused": False})
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = sync(sandbox, "email_sources")
    assert len(sandbox.pages("email_sources")) == 1
    records = run.records("email_sources")
    assert [(record["kind"], record["id"], record.get("date"), record["date_iso"]) for record in records] == [
        ("ongoing", "email_api", None, None),
        ("ongoing", "webhook_trigger", None, None),
        ("ongoing", "1", None, None),
        ("sends", "1", "Jan 11, 2024  9:01AM", "2024-01-11T09:01:00"),
        ("sends", "2", "Apr 14, 2024  12:04AM", "2024-04-14T00:04:00"),
        ("sends", "3", "Jul 09, 2024  10:04PM", "2024-07-09T22:04:00"),
    ]
    assert records[2]["extra_fields"] == {"paused": False}
    (activate,) = run.of_type("ACTIVATE_VERSION")
    assert {message["version"] for message in run.of_type("RECORD")} == {activate["version"]}
    assert run.of_type("SCHEMA")[0]["key_properties"] == ["kind", "id"]


# What the account may not read


@pytest.mark.parametrize("status", ["403", "404"])
@pytest.mark.parametrize("stream", ALL)
def test_a_forbidden_stream_does_not_stop_the_others(stream: str, status: str) -> None:
    account = Account(70, 70, declines=70)
    with Sandbox(account, Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, _: status if path == STREAMS[stream].path else ""
        config = {**sandbox.config, "start_date": "2025-12-29"}
        run = tap(config=config, catalog=selecting(*ALL))
        others = tap(config=config, catalog=selecting(*(set(ALL) - {stream})))
    assert run.status == 1
    (error,) = run.errors
    assert error.startswith(f"{stream}: the account may not read it ({status} ")
    assert error.endswith("): deselect it, or ask Wootric for access")
    assert "Traceback" not in run.log
    assert others.status == 0
    for name in ALL:
        assert run.records(name) == ([] if name == stream else others.records(name))
    assert run.messages[-1]["type"] == "STATE"
    assert others.state["bookmarks"].items() <= run.state["bookmarks"].items()


def test_a_stream_that_becomes_forbidden_keeps_its_bookmark_and_its_rows() -> None:
    with Sandbox(Account(400, 10), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, n: "403" if path == "/v1/end_users" and n == 5 else ""
        catalog = full_table("end_users", "responses")
        full = tap(config=sandbox.config, catalog=catalog)
        sandbox.requests.clear()
        first = tap(config={**sandbox.config, "concurrency": 1})
        second = tap(config=sandbox.config, state=first.state)
    assert full.status == first.status == 1
    assert [message["stream"] for message in full.of_type("ACTIVATE_VERSION")] == ["responses"]
    assert 190 < len(first.records("end_users")) <= 200
    assert second.status == 0
    ids = {record["id"] for run in (first, second) for record in run.records("end_users")}
    assert ids == sandbox.account.end_users.rows.keys()
    assert len(second.records("end_users")) < 250


def test_a_failed_sync_of_a_reused_tap_leaves_the_bookmarks_unchanged() -> None:
    account = Account(3, 3, declines=3)
    for table in account.tables.values():
        table.insert(int(NOW) * SECOND)  # After the bookmark limit, which each request moves.
    with Sandbox(account, Clock(NOW, step=30)) as sandbox:
        done = run(
            sys.executable,
            "-m",
            "tests.runners.repeated_sync",
            json.dumps(sandbox.config),
            f"{sandbox.url}x",
            cwd=ROOT,
        )
    first, failed, last = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [sync["error"] for sync in (first, failed, last)] == [None, "FailedStreamsError", None]
    assert first["bookmarks"] == failed["bookmarks"] < last["bookmarks"]


def test_streams_that_fail_have_a_line_each_at_the_end() -> None:
    faults = {"/v1/segments": "403", "/v1/declines": "404", "/v1/nps_summary": "500", "/v1/responses": "html"}
    with Sandbox(Account(3, 3), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, _: faults.get(path, "")
        run = tap(config=sandbox.config, catalog=selecting(*ALL), sleepless=True)
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


def test_testing_the_connection_names_forbidden_streams() -> None:
    with Sandbox(Account(3, 3), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, _: "403" if path == "/v1/declines" else ""
        run = tap("--test", config=sandbox.config)
    assert run.status == 1
    [error] = run.errors
    assert error.startswith("declines: the account may not read it (403 Forbidden for /v1/declines")
    assert "end_users: works, read 1 row" in run.log
    assert "responses: works, read 1 row" in run.log
    assert run.out == ""
