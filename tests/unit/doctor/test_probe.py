from __future__ import annotations

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError

from tap_wootric.api.client import RetryPolicy
from tap_wootric.api.responses import ApiUnavailableError
from tap_wootric.doctor import probe
from tap_wootric.doctor.probe import NotAskedError, plain_message
from tests.unit.doctor.fakes import FakeServer, account, listed


def test_a_page_is_asked_for_once() -> None:
    server = FakeServer(account(60))
    one = listed(server)
    query = one.query("created_at")
    assert one.fetch(query) is one.fetch(query)
    assert server.paths == ["/oauth/token", "/v1/responses"]
    assert len(one.rows) == 50


def test_a_query_is_that_of_a_first_sync() -> None:
    one = listed(FakeServer(account(0)), "end_users", start_date="2024-01-01")
    query = one.query(one.key)
    assert (query.sort_key, query.sort_keys) == ("updated_at", one.stream.sort_keys)
    assert (query.updated_at.gte, query.updated_at.lt) == (1_704_067_200, one.sync_range.until)


def test_it_stops_after_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_MAX_REQUESTS", 2)
    one = listed(FakeServer(account(60)))
    one.fetch(one.query("created_at"))
    with pytest.raises(NotAskedError, match="too many requests"):
        one.client.ask(one.stream, {})


def test_it_stops_after_a_long_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_MAX_SECONDS", 0)
    one = listed(FakeServer(account(60)))
    with pytest.raises(NotAskedError, match="too slow"):
        one.client.ask(one.stream, {})


def test_it_waits_for_limits_but_not_forever() -> None:
    server = FakeServer(account(3), limit=1, limit_seconds=100)
    server.ahead = -server.now % 100  # A window begins.
    one, ahead = listed(server), server.ahead
    for _ in range(3):
        one.client.ask(one.stream, {})
    assert server.ahead - ahead == pytest.approx(200, abs=2)
    for _ in range(2):
        with pytest.raises(NotAskedError, match="rate limit"):
            one.client.ask(one.stream, {})
    assert {response.status_code for response in one.client.responses["/v1/responses"]} == {200}


def test_nothing_is_requested_once_the_api_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "HASTY", RetryPolicy(1, 0, 1))
    server = FakeServer(account(3))
    one = listed(server)
    server.answers["/v1/responses"] = requests.ConnectTimeout()
    with pytest.raises(ApiUnavailableError):
        one.client.ask(one.stream, {})
    with pytest.raises(NotAskedError, match="no stream can be read"):
        one.client.ask(one.stream, {})
    assert server.paths.count("/v1/responses") == 1


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("responses: 400 Oops for /v1/x: Ada", "responses: 400 Oops for /v1/x (error message left out)"),
        ("302 Found for /v1/x: the API redirects to https://a.b; check api_url", None),
        ("a.b rejects fresh tokens (401 Oops for /v1/x, 5 times in a row): check region", None),
    ],
)
def test_a_message_never_quotes_the_api(message: str, shown: str | None) -> None:
    assert plain_message(FatalAPIError(message)) == (shown or message)
