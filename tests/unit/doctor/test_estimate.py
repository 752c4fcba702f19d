from __future__ import annotations

import pytest

from tap_wootric.doctor import probe
from tap_wootric.doctor.estimate import estimate_costs
from tap_wootric.doctor.probe import ListProbe
from tests.unit.doctor.fakes import FakeServer, account, listed
from tools.sandbox.account import SECOND, Account

LATENCY_SECONDS = 0.3


@pytest.fixture(autouse=True)
def _latency(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ListProbe, "median_seconds", LATENCY_SECONDS)


def requests_of(*lists: ListProbe, recheck_days: int = 30) -> list[int | None]:
    for one in lists:
        one.fetch(one.query(one.key))
    return [cost.requests if cost else None for cost in estimate_costs(lists, recheck_days).values()]


def recent(rows: int, days: int) -> FakeServer:
    """Return a server whose responses were created in the last days, evenly."""
    server, apart = FakeServer(Account()), days * 86_400 * SECOND // rows
    for number in range(rows):
        server.account.responses.insert(int(server.now - 400) * SECOND - number * apart)
    return server


@pytest.mark.parametrize(("rows", "requests"), [(0, 1), (1, 2), (49, 2), (98, 3), (490, 11)])
def test_a_first_sync_takes_a_request_for_49_rows_one_for_the_end_and_one_for_the_token(
    rows: int, requests: int
) -> None:
    assert requests_of(listed(FakeServer(account(rows))))[0] == 1 + requests


def test_a_server_that_caps_its_pages_takes_more() -> None:
    assert requests_of(listed(FakeServer(account(240), page_size=25)))[0] == 1 + 10 + 1


def test_a_sync_with_nothing_new_takes_a_request_for_each_list() -> None:
    server = FakeServer(account(60))
    assert requests_of(*(listed(server, name) for name in ("end_users", "responses", "declines")))[1] == 4


@pytest.mark.parametrize(("rows", "days", "requests"), [(20, 10, 2), (60, 10, 3), (900, 300, 3), (3_000, 100, 20)])
def test_the_first_sync_of_a_day_reads_the_last_days_again(rows: int, days: int, requests: int) -> None:
    one = listed(recent(rows, days))
    assert requests_of(one)[2] == pytest.approx(1 + requests, abs=1)
    assert requests_of(one, recheck_days=0)[2] == 2


def test_end_users_are_not_read_again() -> None:
    assert requests_of(listed(FakeServer(account(60)), "end_users"), recheck_days=36_500)[2] == 2


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [(0, 24 * LATENCY_SECONDS), (10, 2 * 60 + 4 * LATENCY_SECONDS), (1_000, 24 * LATENCY_SECONDS)],
)
def test_the_time_follows_from_the_latency_and_the_limit(limit: int, seconds: float) -> None:
    one = listed(FakeServer(account(1_100), limit=limit))
    requests_of(one)
    cost = estimate_costs([one], 0)["first_sync"]
    assert cost
    assert cost.requests == 1 + 24
    assert cost.seconds == pytest.approx(seconds, abs=1)


def test_there_is_no_estimate_where_rows_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    one = listed(FakeServer(account(400)))
    assert set(estimate_costs([one], 30).values()) == {None}  # It could not be read.
    one.fetch(one.query(one.key))
    monkeypatch.setattr(probe, "_MAX_REQUESTS", 0)
    assert set(estimate_costs([one], 30).values()) == {None}
