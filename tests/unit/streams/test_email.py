"""The statistics and sources of email surveys, with everything that the API sends about them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from singer_sdk.exceptions import RetriableAPIError

from tap_wootric.streams.email import EmailSources, EmailStats
from tests.unit.api.fakes import response
from tests.unit.fakes import make_stream

DAY = {"date_range[start_date]": "2024-09-03", "date_range[end_date]": "2024-09-03"}

DOCUMENTED: dict[str, Any] = {
    "email_stats": {
        "send_date": "Aug  3, 2023-Sep  3, 2024",
        "send_requests": 7,
        "emails_sent": 5,
        "delivered": 5,
        "delivered_percentage": "100.0%",
        "bounce_rate": 0,
        "bounce_rate_percentage": "0.0%",
        "open_rate": "60%",
        "response_rate": "0%",
        "not_eligible": "2 (29%)",
        "raw_results": {
            "processed": 5,
            "bounce": 0,
            "dropped": 0,
            "delivered": 5,
            "opted_out": 2,
            "not_delivered": 0,
            "open": 3,
            "spamreport": 0,
            "not_eligible": 0,
            "total_surveys": 5,
            "total_responses": 0,
            "sart_date": "2023-08-03T00:00:00-07:00",
            "end_date": "2024-09-03T23:59:59-07:00",
        },
    },
    "initial_send": None,
    "reminder_send": None,
}


def record_of(content: Any) -> dict[str, Any]:
    """Return the only record in the JSON of a response of /v2/email_stats."""
    (record,) = make_stream(EmailStats, lambda *_: response(content=content)).records(DAY)
    assert isinstance(record, dict)
    return record


def sent(record: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a record that the API sent; the others are null."""
    return {name: value for name, value in record.items() if value is not None}


def with_stats(**stats: Any) -> dict[str, Any]:
    return {**DOCUMENTED, "email_stats": {**DOCUMENTED["email_stats"], **stats}}


# email_stats


def test_percentages_come_as_sent_and_as_numbers() -> None:
    stats = DOCUMENTED["email_stats"]
    raw = {name: value for name, value in stats["raw_results"].items() if not name.endswith("_date")}
    assert record_of(DOCUMENTED) == {
        **stats,
        "date": "2024-09-03",
        "delivered_percent": 100,
        "bounce_rate_percent": 0,
        "open_rate_percent": 60,
        "response_rate_percent": 0,
        "not_eligible_count": 2,
        "not_eligible_percent": 29,
        "raw_results": {**raw, "start_date": "2023-08-03T07:00:00Z", "end_date": "2024-09-04T06:59:59Z"},
        "initial_send": None,
        "reminder_send": None,
        "extra_fields": None,
    }


@pytest.mark.parametrize(
    ("value", "text", "percent"),
    [
        ("33.3%", "33.3%", "33.3"),
        (" 60 % ", " 60 % ", "60"),
        ("2 (29%)", "2 (29%)", "29"),
        ("60", "60", "60"),
        (60, "60", "60"),
        (60.5, "60.5", "60.5"),
        ("N/A", "N/A", "None"),
        ("NaN%", "NaN%", "None"),
        ("", "", "None"),
        (None, None, "None"),
    ],
)
def test_a_percentage_is_read_in_any_known_format(value: object, text: str | None, percent: str) -> None:
    record = record_of(with_stats(open_rate=value))
    assert record["open_rate"] == text
    assert str(record["open_rate_percent"]) == percent
    assert record["extra_fields"] is None


@pytest.mark.parametrize(
    ("value", "count", "percent"),
    [
        ("1,234 (29.5%)", 1234, "29.5"),
        ("2(29%)", 2, "29"),
        ("29%", None, "29"),
        ("2", 2, "None"),
        (2, 2, "None"),
        ("none", None, "None"),
    ],
)
def test_a_count_with_a_percentage_becomes_two_numbers(value: object, count: int | None, percent: str) -> None:
    record = record_of(with_stats(not_eligible=value))
    assert record["not_eligible"] == str(value)
    assert record["not_eligible_count"] == count
    assert str(record["not_eligible_percent"]) == percent
    assert record["extra_fields"] is None


@pytest.mark.parametrize("value", ["2 of 7", "100,0%", "-5%", "1.2.3%"])
def test_a_number_that_cannot_be_read_is_kept_and_logged(value: str, caplog: pytest.LogCaptureFixture) -> None:
    record = record_of(with_stats(open_rate=value))
    assert (record["open_rate"], record["open_rate_percent"]) == (value, None)
    assert record["extra_fields"]["open_rate_percent"] in value
    assert [line.message for line in caplog.records if line.levelno == logging.WARNING] == [
        "email_stats: the field open_rate_percent has a value of an unexpected type; it goes into extra_fields"
    ]


def test_a_percentage_that_the_api_sends_as_a_number_itself_is_not_replaced() -> None:
    assert record_of(with_stats(open_rate_percent=59))["open_rate_percent"] == 59


@pytest.mark.parametrize("name", ["sart_date", "start_date"])
def test_the_start_date_is_read_in_both_spellings(name: str) -> None:
    record = record_of(with_stats(raw_results={name: "2023-08-03T00:00:00-07:00"}))
    assert sent(record["raw_results"]) == {"start_date": "2023-08-03T07:00:00Z"}
    assert record["extra_fields"] is None


def test_neither_spelling_hides_the_other() -> None:
    raw = {"sart_date": "2023-08-02T00:00:00-07:00", "start_date": "2023-08-03T00:00:00-07:00"}
    record = record_of(with_stats(raw_results=raw))
    assert sent(record["raw_results"]) == {"start_date": "2023-08-03T07:00:00Z"}
    assert record["extra_fields"] == {"raw_results": {"sart_date": "2023-08-02T00:00:00-07:00"}}


def test_unknown_fields_at_any_level_are_kept() -> None:
    content = with_stats(clicks=3, raw_results={"click": 4, "open": "many"})
    record = record_of({**content, "third_send": {"emails_sent": 1}})
    assert sent(record["raw_results"]) == {}
    assert record["extra_fields"] == {
        "clicks": 3,
        "third_send": {"emails_sent": 1},
        "raw_results": {"click": 4, "open": "many"},
    }


def test_the_results_of_first_emails_and_reminders_are_kept_as_sent() -> None:
    first, reminder = DOCUMENTED["email_stats"], [{"open_rate": "1%"}]
    record = record_of({**DOCUMENTED, "initial_send": first, "reminder_send": reminder})
    assert (record["initial_send"], record["reminder_send"]) == (first, {"_raw": reminder})


@pytest.mark.parametrize("content", [{"email_stats": None}, {"email_stats": {}}])
def test_a_day_without_statistics_has_a_row(content: object) -> None:
    record = record_of(content)
    assert sent(record) == {"date": "2024-09-03"}


@pytest.mark.parametrize(
    "content", [[], {}, [DOCUMENTED], "text", {"email_stats": []}, {"email_stats": "none"}, {"send_requests": 1}]
)
def test_statistics_with_another_structure_can_be_retried(content: object) -> None:
    with pytest.raises(RetriableAPIError, match="does not have the structure of email_stats"):
        record_of(content)


# email_sources

ONGOING = {"id": "email_api", "name": "Email API *"}
SEND = {"id": 1, "name": "Q1_file.csv", "date": "Jan 11, 2024  9:01AM"}


def sources_of(content: Any) -> list[dict[str, Any]]:
    """Return the records in the JSON of a response of /v2/email_stats/sources."""
    records: list[dict[str, Any]] = make_stream(EmailSources, lambda *_: response(content=content)).records({})
    return records


def test_sources_have_the_name_of_their_list_and_an_id_of_one_type() -> None:
    assert sources_of({"ongoing": [ONGOING], "sends": [SEND]}) == [
        {
            "kind": "ongoing",
            "id": "email_api",
            "name": "Email API *",
            "date": None,
            "extra_fields": None,
        },
        {
            "kind": "sends",
            "id": "1",
            "name": "Q1_file.csv",
            "date": "Jan 11, 2024  9:01AM",
            "extra_fields": None,
        },
    ]


def test_equal_ids_in_both_lists_are_distinguished() -> None:
    records = sources_of({"ongoing": [{"id": "1"}], "sends": [{"id": 1}]})
    assert [tuple(record[key] for key in EmailSources.primary_keys) for record in records] == [
        ("ongoing", "1"),
        ("sends", "1"),
    ]


def test_further_lists_and_fields_are_kept() -> None:
    records = sources_of({"ongoing": [{**ONGOING, "paused": True}], "sends": None, "drafts": [SEND], "total": 2})
    assert [(record["kind"], record["extra_fields"]) for record in records] == [
        ("ongoing", {"paused": True}),
        ("drafts", None),
    ]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        "text",
        7,
        {"ongoing": []},
        {"ongoing": [], "sends": {"id": 1}},
        {"ongoing": [], "sends": [1]},
        {"ongoing": "", "sends": []},
    ],
)
def test_sources_with_another_structure_can_be_retried(content: object) -> None:
    with pytest.raises(RetriableAPIError, match="does not have the structure of email_sources"):
        sources_of(content)
