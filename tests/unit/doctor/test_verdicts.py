from __future__ import annotations

from typing import Any

import pytest

from tap_wootric.doctor.lists import ListExamination
from tap_wootric.doctor.probe import Answer, NotAskedError, UnansweredError
from tap_wootric.doctor.report import Check, Status
from tap_wootric.doctor.verdicts import access_check, list_checks
from tap_wootric.streams import EndUsers, Responses
from tap_wootric.streams.lists import ListStream
from tests.unit.doctor.fakes import by_id, limited, probe_of_rows, rows
from tests.unit.fakes import NOW, make_stream


def examination(count: int = 4, stream: type[ListStream] = Responses) -> ListExamination:
    """Return the examination of a list that has begun."""
    listed = ListExamination(make_stream(stream), probe_of_rows(rows(count)), NOW)
    listed.begin()
    return listed


def check_of(listed: ListExamination, check_id: str) -> Check:
    check: Check = by_id(list(list_checks(listed)))[check_id]
    return check


def test_whether_a_stream_can_be_read() -> None:
    assert access_check("x", None).value is True
    assert access_check("x", UnansweredError("403 for /x")) == Check(
        "access", "x", Status.FAILED, value=False, message="The account cannot read it: 403 for /x."
    )
    assert access_check("x", NotAskedError("no time")).status is Status.UNKNOWN


def test_every_fact_is_unknown_at_first() -> None:
    known = {check.id for check in list_checks(examination()) if check.status is not Status.UNKNOWN}
    assert known == {"access", "rows", "rate_limit", "latency", "fields"}


def test_a_list_that_cannot_be_read_shows_nothing() -> None:
    listed = examination(0)
    listed.problem = UnansweredError("403 for /v1/responses")
    access, *others = list_checks(listed)
    assert access.status is Status.FAILED
    assert {(check.status, check.value, check.message) for check in others} == {
        (Status.UNKNOWN, None, "The list cannot be read.")
    }


def test_an_empty_list_is_said_to_be_empty() -> None:
    listed = examination(0)
    assert check_of(listed, "rows").value == {"about": 0, "from": None, "to": None}
    assert check_of(listed, "rows").message == "The list is empty."
    assert check_of(listed, "subsecond").message == "The list is empty."


def test_rows_are_counted_with_their_dates() -> None:
    assert check_of(examination(1), "rows").message == "1 row, created from 2023-11-14 to 2023-11-14."


def test_a_fact_without_an_answer_says_why() -> None:
    listed = examination()
    listed.findings.reasons["subsecond"] = "500 for /v1/responses"
    assert check_of(listed, "subsecond").message == "Not found out: 500 for /v1/responses."


@pytest.mark.parametrize(
    ("stream", "filters", "status"),
    [
        (Responses, False, Status.WARNING),
        (Responses, None, Status.WARNING),
        (Responses, True, Status.FAILED),
        (EndUsers, False, Status.FAILED),
    ],
)
def test_the_tap_copes_with_an_older_deployment(stream: type[ListStream], filters: Any, status: Status) -> None:
    listed = examination(stream=stream)
    listed.findings.filters["updated_at"] = filters
    listed.findings.sorts["updated_at"] = False
    assert check_of(listed, "sorts_updated").status is status
    if filters is False:
        assert check_of(listed, "filters_updated").status is status


@pytest.mark.parametrize("check_id", ["filters_created", "sorts_created"])
def test_the_tap_needs_creation_times(check_id: str) -> None:
    listed = examination()
    listed.findings.filters["created_at"] = listed.findings.sorts["created_at"] = False
    assert check_of(listed, check_id).status is Status.FAILED
    assert "the tap needs it" in check_of(listed, check_id).message


@pytest.mark.parametrize(
    ("sizes", "status", "message"),
    [
        ((50, 500), Status.OK, "A page has 50 rows when 50 are asked for, and 500 rows when 500 are asked for."),
        ((50, None), Status.OK, "and perhaps more when 500 are asked for: the list is too short to show it."),
        ((25, 25), Status.FAILED, "A page has 25 rows when 50 are asked for; the tap takes such a page for the last"),
        ((None, None), Status.UNKNOWN, "There are fewer rows than the 50 of a page."),
    ],
)
def test_page_sizes(sizes: tuple[int | None, int | None], status: Status, message: str) -> None:
    listed = examination()
    listed.findings.page_size, listed.findings.large_page_size = sizes
    assert check_of(listed, "page_size").status is status
    assert message in check_of(listed, "page_size").message


@pytest.mark.parametrize("answer", ["error", "empty", "rows"])
def test_the_last_page(answer: str) -> None:
    listed = examination()
    listed.findings.last_page, listed.findings.last_page_status = answer, 200
    assert check_of(listed, "last_page").value == {"answer": answer, "http_status": 200}
    assert check_of(listed, "last_page").status is Status.OK


def test_fine_timestamps_are_no_trouble_and_unstable_ties_are_a_warning() -> None:
    listed = examination()
    for value in (True, False):
        listed.findings.subsecond = listed.findings.stable_ties = value
        assert check_of(listed, "subsecond").value is check_of(listed, "stable_ties").value is value
        assert check_of(listed, "subsecond").status is Status.OK
        assert check_of(listed, "stable_ties").status is (Status.OK if value else Status.WARNING)


@pytest.mark.parametrize(
    ("answer", "shared", "message"),
    [
        (limited(None), None, "The API announces no limit."),
        (limited(7), True, "The API announces a limit of 100 requests, of which 7 are left; other lists share it."),
        (limited(7), False, "of which 7 are left; other lists do not share it."),
        (limited(7, None), None, "The API announces a limit, of which 7 are left."),
    ],
)
def test_rate_limits(answer: Answer, shared: bool | None, message: str) -> None:  # noqa: FBT001 - A value.
    listed = examination()
    listed.answers = [answer]
    listed.findings.shares_limit = shared
    assert message in check_of(listed, "rate_limit").message


def test_fields_are_named_up_to_a_number() -> None:
    listed = examination()
    for number in range(7):
        listed.fields.add({"id": 1, f"new_{number}": 1})
    listed.fields.add({"id": 1, "text": 1, "score": "x"})
    check = check_of(listed, "fields")
    assert check.status is Status.WARNING
    assert check.message == (
        "New fields, kept in extra_fields: new_0 (integer), new_1 (integer), new_2 (integer), new_3 (integer), "
        "new_4 (integer), 2 more; values of unexpected types, kept in extra_fields: score (string); "
        "values of other types, converted: text (integer)."
    )
