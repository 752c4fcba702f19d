from __future__ import annotations

from typing import Any

import pytest

from tap_wootric.api.client import RetryPolicy
from tap_wootric.doctor import facts, probe
from tap_wootric.doctor.report import Check, Status
from tap_wootric.pagination.query import Query
from tap_wootric.tap import TapWootric
from tests.unit.doctor.fakes import CONFIG, FakeServer, account, by_id, listed
from tools.sandbox.account import BEGIN, END, SECOND, Account

OK, WARNING, FAILED, UNKNOWN = Status.OK, Status.WARNING, Status.FAILED, Status.UNKNOWN


def checks(made: Account, name: str = "responses", **switches: Any) -> dict[str, Check]:
    """Return the checks of a list of the sandbox, which may have some switches set."""
    one = listed(FakeServer(made, **switches), name)
    return by_id([facts.access(one.stream, one, one.client), *facts.list_checks(one)])


@pytest.mark.parametrize("name", ["end_users", "responses", "declines"])
@pytest.mark.parametrize("rows", [0, 1, 2, 5, 50, 51, 1_600])
def test_nothing_is_wrong_with_an_api_as_documented(name: str, rows: int) -> None:
    found = checks(account(rows), name)
    assert {check.status for check in found.values()} <= {OK, UNKNOWN}
    assert found["access"].value is True
    assert found["filters_created"].value is (True if rows else None)
    assert found["sorts_created"].value is (True if rows > 5 else None)
    assert ("filters_updated" in found) == (name == "end_users")
    number = found["rows"].value["about"]
    assert number == rows if rows < 1_500 else number == pytest.approx(rows, rel=0.1)
    assert found["rows"].message.startswith("About ") is (rows >= 1_500)


@pytest.mark.parametrize("rows", [1, 3, 5, 60])
@pytest.mark.parametrize("changes", [{"updates": 1}, {"inserts": 1}, {"deletes": 1}, {"shuffle_ties": True}])
def test_rows_that_change_between_requests_fail_no_check(rows: int, changes: dict[str, Any]) -> None:
    for name in ("end_users", "responses"):
        assert {check.status for check in checks(account(rows), name, **changes).values()} <= {OK, UNKNOWN}


@pytest.mark.parametrize("rows", [2, 100])
def test_rows_of_one_second_show_that_the_api_filters_but_not_that_it_sorts(rows: int) -> None:
    made = account(rows)
    for row in made.responses.rows.values():
        row.created = row.updated = BEGIN
    found = checks(made, whole_seconds=True)
    assert (found["filters_created"].value, found["sorts_created"].value) == (True, None)
    assert found["rows"].value == {"about": rows, "from": "2024-01-01", "to": "2024-01-01"}


def test_a_list_that_begins_with_an_import_shows_its_order_further_on() -> None:
    made = account(400)
    for row in [*made.responses.rows.values()][:100]:
        row.created = row.updated = BEGIN
    assert checks(made)["sorts_created"].value is True


def test_an_api_that_ignores_filters_cannot_be_read() -> None:
    for rows in (2, 400):
        check = checks(account(rows), ignores_filters=True)["filters_created"]
        assert (check.status, check.value) == (FAILED, False)
        assert check.message.startswith("The API does not filter by creation time: rows came from outside the range")


def test_an_api_whose_filters_lose_rows_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    one = listed(FakeServer(account(400)))
    fetch = one.fetch

    def lose(query: Query) -> list[Any]:
        return [] if len(query.created_at) < END / SECOND - BEGIN / SECOND else fetch(query)

    monkeypatch.setattr(one, "fetch", lose)
    check = by_id([*facts.list_checks(one)])["filters_created"]
    assert (check.status, check.value) == (FAILED, False)
    assert "rows are missing from the range that they are in" in check.message


def test_an_api_that_ignores_the_order_cannot_be_read() -> None:
    found = checks(account(400), ignores_sort=True)
    assert (found["sorts_created"].status, found["sorts_created"].value) == (FAILED, False)
    assert found["rows"].status is UNKNOWN
    end_users = checks(account(400), "end_users", ignores_sort=True)
    assert end_users["sorts_updated"].status is FAILED
    assert end_users["sorts_created"].status is WARNING  # A sync reads by update time.


@pytest.mark.parametrize(
    ("switches", "status", "value", "words"),
    [
        ({}, OK, {"page_rows": 50, "short": False}, "the 50 rows"),
        ({"page_size": 25}, WARNING, {"page_rows": 25, "short": True}, "at most 25 rows"),
        ({"short_pages": 0.5}, WARNING, {"page_rows": 50, "short": True}, "sometimes have fewer rows"),
    ],
)
def test_short_pages(switches: dict[str, Any], status: Status, value: dict[str, Any], words: str) -> None:
    found = checks(account(400), **switches)
    assert (found["short_pages"].status, found["short_pages"].value) == (status, value)
    assert words in found["short_pages"].message
    if switches == {"short_pages": 0.5}:
        assert found["rows"].status is UNKNOWN
    else:
        assert found["rows"].value["about"] == pytest.approx(400, rel=0.05)
    assert FAILED not in {check.status for check in found.values()}


def test_rows_since_start_date_count() -> None:
    one = listed(FakeServer(account(400)), start_date="2025-01-01")
    check = by_id([*facts.list_checks(one)])["rows"]
    assert check.value["about"] == pytest.approx(200, rel=0.2)
    assert check.value["from"].startswith("2025-01-")


def test_limit_and_latency() -> None:
    usual = checks(account(20))
    assert usual["rate_limit"].value == {"limit": None, "remaining": None}
    limited = checks(account(20), limit=100)["rate_limit"]
    assert (limited.value["limit"], limited.status) == (100, OK)
    assert limited.message == f"The API announces a limit of 100 requests, {limited.value['remaining']} left."
    assert 0 <= usual["latency"].value < 1_000


def test_fields_that_differ_from_the_schema_are_a_warning() -> None:
    assert checks(account(5))["fields"].message == "All fields fit the schema."
    made = account(5)
    for row in made.responses.rows.values():
        row.body |= {"ada@example.com": 1, "color": "red", "score": "high", "survey_id": "7"}
        row.body["end_user"] = {"rank": 1, "Net Revenue": 2}
    check = checks(made)["fields"]
    unknown = ["(hidden)", "color", "end_user.(hidden)", "end_user.rank"]
    assert (check.status, check.value) == (WARNING, {"unknown": unknown, "misfit": ["score"]})
    assert check.message == (
        "New fields, kept in extra_fields: (hidden), color, end_user.(hidden), end_user.rank. "
        "Values of unexpected types, kept in extra_fields: score."
    )


@pytest.mark.parametrize("name", ["ada@example.com", "acme.com", "Net Revenue", "", "1st", "x" * 65, "é"])
def test_names_that_may_be_data_are_hidden(name: str) -> None:
    made = account(1)
    for row in made.responses.rows.values():
        row.body[name] = 1
        row.body |= {f"new_{number}": 1 for number in range(60)}
    value = checks(made)["fields"].value
    assert (value["unknown"][:2], len(value["unknown"]), value["misfit"]) == (["(hidden)", "new_0"], 50, [])


def test_whether_notes_and_tags_move_updated_at() -> None:
    made = account(40)
    for row in made.responses.rows.values():
        row.body |= {"notes": ["Called"] if row.id == 1 else None, "tags": ["A"] if row.id == 2 else []}
        row.updated = row.created + (SECOND if row.id == 2 else 0)
    check = checks(made)["late_changes"]
    assert check.value == {"rows": 40, "with_notes_or_tags": 2, "unmoved": 1}
    assert check.message.startswith("In 1 of 2 rows with notes or tags, updated_at equals created_at")
    assert "late_changes" not in checks(made, "declines")
    assert checks(account(1))["late_changes"].status is UNKNOWN


@pytest.mark.parametrize(
    ("status", "content", "found", "words"),
    [
        (403, {}, FAILED, "The account cannot read it: 403 Forbidden for /v1/responses."),
        (404, {}, FAILED, "The account cannot read it: 404"),
        (200, b"[" * 300, FAILED, "The tap cannot read it: 200 OK for /v1/responses, but its JSON has more than"),
        (400, {"type": "error_list", "errors": [{"message": "Ada"}]}, FAILED, "Bad Request for /v1/responses (error"),
        (200, [{"score": 1}], FAILED, "without a usable id"),
        (500, {"type": "error_list", "errors": [{"message": "Ada"}]}, UNKNOWN, "responses could not be read: 500"),
        (200, b"<html>Ada</html>", UNKNOWN, "the body is not JSON"),
        (200, {"name": "Ada"}, UNKNOWN, "does not have the structure"),
    ],
)
def test_a_list_that_cannot_be_read(
    status: int, content: Any, found: Status, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "HASTY", RetryPolicy(1, 0, 1))
    server = FakeServer(account(5))
    server.answers["/v1/responses"] = status, content
    one = listed(server)
    access, *others = facts.access(one.stream, one, one.client), *facts.list_checks(one, is_readable=False)
    assert (access.status, access.value) == (found, False if found is FAILED else None)
    assert words in access.message
    assert "Ada" not in access.message
    assert {(check.status, check.message) for check in others} == {(UNKNOWN, "The list cannot be read.")}
    assert server.paths.count("/v1/responses") == 1
    assert [check.id for check in [access, *others]] == [*checks(account(5))]


def test_a_fact_whose_request_is_not_sent_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_MAX_REQUESTS", 2)  # For a token and a page.
    check = checks(account(5))["filters_created"]
    assert (check.status, check.value) == (UNKNOWN, None)
    assert check.message == "Not determined: it would take too many requests."


@pytest.mark.parametrize(
    ("skew", "status", "words"),
    [(0, OK, "agree"), (45, OK, "45 s ahead of"), (-3_600, WARNING, " behind this machine")],
)
def test_how_far_apart_the_clocks_are(skew: int, status: Status, words: str) -> None:
    server = FakeServer(account(0))
    server.ahead = skew
    client = server.probe(TapWootric(config=CONFIG))
    assert facts.clock(client).status is UNKNOWN
    client.authenticate()
    check = facts.clock(client)
    assert (check.status, check.value) == (status, pytest.approx(skew, abs=1))
    assert words in check.message
