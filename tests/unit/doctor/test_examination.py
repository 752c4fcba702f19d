from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from tap_wootric.doctor.examination import Doctor, shares_limit
from tap_wootric.doctor.lists import ListExamination
from tap_wootric.doctor.probe import Probe
from tap_wootric.doctor.report import Report
from tests.unit.api.fakes import response
from tests.unit.doctor.fakes import by_id, limited, rows
from tests.unit.fakes import NOW, FakeClient, make_tap, serving

DAY = 86_400
OTHERS: dict[str, Any] = {
    "/v1/segments": [],
    "/v1/survey_templates": {"survey_templates": []},
    "/v2/email_stats/sources": {"ongoing": [], "sends": []},
}
FIRST = NOW - 20 * DAY
"""When the rows begin."""


class Account:
    """An account of 200 rows in each list, with responses on each day, and an API that answers all requests."""

    def __init__(self, **statuses: int) -> None:
        self.statuses = statuses
        self.headers: dict[str, str] = {}
        self.responses: Any = 7
        self.progress: list[str] = []
        self.slept: list[float] = []
        self.authenticator: Any = SimpleNamespace(grant_type="client_credentials", token_lifetime_seconds=7_200.0)
        self.clock: Any = SimpleNamespace(is_set=True, now=lambda: float(NOW))
        self._lists = serving([{**made, "score": 9} for made in rows(200, FIRST, 3_600)])

    def answer(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        if status := self.statuses.get(path.rsplit("/", maxsplit=1)[1]):
            return response(status, {})
        if path == "/v1/nps_summary":
            return response(content={"responses": self.responses})
        if path == "/v2/email_stats":
            return response(content={"email_stats": {"send_requests": "0", "emails_sent": 0}})
        if path in OTHERS:
            return response(content=OTHERS[path])
        answer = self._lists(path, params)
        answer.headers.update(self.headers)
        return answer

    def doctor(self, **settings: Any) -> Doctor:
        tap = make_tap(**settings)
        client: Any = FakeClient(self.answer)
        return Doctor(
            tap.settings,
            {stream.name: stream for stream in tap.discover_streams()},
            authenticator=self.authenticator,
            clock=self.clock,
            probe=Probe(client, self.slept.append, sleep=self.slept.append),
            report_progress=self.progress.append,
            local_time=lambda: float(NOW),
            sleep=self.slept.append,
        )

    def report(self, **settings: Any) -> Report:
        return self.doctor(**settings).report("1.2.3")


def values(report: Report, stream: str | None) -> dict[str, Any]:
    return {
        check_id: check.value
        for check_id, check in by_id([check for check in report.checks if check.stream == stream]).items()
    }


def test_an_account_that_can_be_read_is_ready() -> None:
    account = Account()
    report = account.report()
    assert report.is_readable
    assert report.advice == "Ready: `meltano run tap-wootric target-postgres`"
    assert (report.version, report.api_url) == ("1.2.3", "https://api.wootric.com")
    assert report.first_sync is not None
    assert report.first_sync.requests == 1 + 3 * 5
    assert report.later_sync is not None
    assert report.later_sync.requests == 1 + 3
    assert values(report, None) == {
        "credentials": {"grant": "client_credentials", "token_seconds": 7_200},
        "clock": 0,
    }
    assert values(report, "nps_summary") == {"access": True, "end_inclusive": True}
    assert values(report, "email_stats") == {"access": True, "end_inclusive": None}
    assert account.progress[0] == "Checking end_users"
    streams = [check.stream for check in report.checks]
    order = [None, *(stream.name for stream in make_tap().discover_streams())]
    assert streams == sorted(streams, key=order.index)


def test_a_stream_that_is_not_selected_by_default_may_be_unreadable() -> None:
    report = Account(segments=403, nps_summary=403).report()
    assert values(report, "segments") == {"access": False}
    assert values(report, "nps_summary") == {"access": False, "end_inclusive": None}
    assert report.is_readable


def test_a_selected_stream_that_is_refused_is_what_to_fix() -> None:
    report = Account(declines=403).report()
    assert not report.is_readable
    assert report.advice == (
        "Not ready: declines cannot be read. Ask Wootric for access, or deselect: "
        "`meltano select tap-wootric --exclude declines '*'`"
    )


def test_an_account_that_can_read_nothing_is_not_told_to_deselect_all() -> None:
    report = Account(end_users=401, responses=401, declines=401).report()
    assert report.advice == (
        "Not ready: the account can read none of the lists. "
        "end_users: The account cannot read it: 401 for /v1/end_users."
    )
    assert (report.first_sync, report.later_sync) == (None, None)


def test_a_day_without_a_number_of_responses_shows_nothing() -> None:
    account = Account()
    account.responses = None
    assert values(account.report(), "nps_summary") == {"access": True, "end_inclusive": None}


def test_a_response_of_another_structure_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OTHERS, "/v1/survey_templates", {})
    (check,) = [check for check in Account().report().checks if check.stream == "survey_templates"]
    assert check.message.endswith(
        "the response of /v1/survey_templates does not have the structure of survey_templates."
    )


def test_a_daily_stream_that_fails_later_is_unknown() -> None:
    account = Account()
    asked = 0
    answer = account.answer

    def failing(path: str, params: Mapping[str, Any]) -> requests.Response:
        nonlocal asked
        asked += path == "/v1/nps_summary"
        return response(500, {}) if asked > 1 and path == "/v1/nps_summary" else answer(path, params)

    account.answer = failing  # type: ignore[method-assign]
    assert values(account.report(), "nps_summary") == {"access": True, "end_inclusive": None}


@pytest.mark.parametrize(("ahead", "status"), [(3_600, "warning"), (-40, "warning"), (2, "ok")])
def test_a_clock_that_is_wrong_is_a_warning(ahead: int, status: str) -> None:
    account = Account()
    account.clock.now = lambda: float(NOW + ahead)
    check = by_id(account.report().checks)["clock"]
    assert (check.value, check.status) == (ahead, status)


def test_a_server_that_does_not_tell_the_time_is_unknown() -> None:
    account = Account()
    account.clock.is_set = False
    assert by_id(account.report().checks)["clock"].value is None


def test_an_unknown_lifetime_of_a_token_is_left_out() -> None:
    account = Account()
    account.authenticator.token_lifetime_seconds = None
    check = by_id(account.report().checks)["credentials"]
    assert check.value["token_seconds"] is None
    assert check.message == "The API accepts client_id and client_secret."


def test_an_api_that_cannot_be_read_is_to_be_reported() -> None:
    account = Account()
    lists = account.answer
    account.answer = lambda path, params: lists(  # type: ignore[method-assign]
        path, {name: value for name, value in params.items() if "[" not in name or "date" in name}
    )
    report = account.report()
    assert not report.is_readable
    assert report.advice.startswith("Please report this, with the output of --format json: end_users, filters_created.")


def test_lists_that_there_was_no_time_for_are_unknown() -> None:
    doctor = Account().doctor()
    doctor._probe.requests = 70  # noqa: SLF001 - As if there had been many.
    report = doctor.report("1.2.3")
    assert not report.is_readable
    assert report.first_sync is None
    assert values(report, "nps_summary") == {"access": None, "end_inclusive": None}
    assert report.advice == (
        "Try again later: end_users was not looked at. Not found out: it would take too many requests."
    )


def test_a_size_that_no_request_can_refine_any_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    refined: list[str] = []
    monkeypatch.setattr(ListExamination, "doubt", 1.0)
    monkeypatch.setattr(ListExamination, "refine", lambda listed: refined.append(listed.stream.name))
    assert Account().report().is_readable
    assert len(refined) == 1


def test_without_a_token_all_else_is_unknown() -> None:
    account = Account()
    full = account.report()
    report = account.doctor().report_without_token("1.2.3", "Wootric rejected the credentials")
    assert [(check.stream, check.id) for check in report.checks] == [(check.stream, check.id) for check in full.checks]
    assert {check.status.value for check in report.checks[1:]} == {"unknown"}
    assert report.advice == "Not ready: Wootric rejected the credentials."
    assert not report.is_readable


def test_the_estimate_goes_by_the_announced_limit() -> None:
    account = Account()
    account.headers = {"X-Rate-Limit-Limit": "2", "X-Rate-Limit-Remaining": "1", "X-Rate-Limit-Reset": str(NOW + 40)}
    report = account.report()
    assert report.first_sync is not None
    assert report.first_sync.seconds == pytest.approx(3 * 2 * 60, abs=10)
    assert account.slept == []


def test_a_reset_that_is_near_is_awaited_to_see_how_long_the_window_is() -> None:
    account = Account()
    account.headers = {"X-Rate-Limit-Limit": "2", "X-Rate-Limit-Remaining": "1", "X-Rate-Limit-Reset": str(NOW + 9)}
    account.report()
    assert account.slept == [10]
    assert account.progress[-3] == "Waiting 9 s to see how long the rate limit's window is"


@pytest.mark.parametrize(
    ("rounds", "shared"),
    [
        ([(90, 89, 88), (87, 86, 85)], (True, True, True)),
        ([(90, 70, 50), (89, 69, 49)], (False, False, False)),
        ([(90, 89, 50), (88, 87, 49)], (True, True, False)),
        ([(90, None, 50), (89, None, 49)], (False, None, False)),
        ([(90, None, None), (87, None, None)], (None, None, None)),
        ([(1, 0, 99), (98, 97, 96)], (None, None, None)),
        ([(90,), (89,)], (None,)),
    ],
)
def test_endpoints_that_count_down_together_share_a_limit(
    rounds: list[tuple[int | None, ...]], shared: tuple[bool | None, ...]
) -> None:
    answers = [[limited(remaining) for remaining in one] for one in rounds]
    assert tuple(shares_limit(answers, number) for number in range(len(shared))) == shared
