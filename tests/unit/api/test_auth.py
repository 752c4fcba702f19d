"""One token for the whole tap: fetched, renewed before it expires, replaced when rejected."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.auth import WootricAuthenticator
from tests.unit.api.fakes import API_URL, SETTINGS, FakeApi, FakeTime, response, token

UNUSABLE_LIFETIMES: list[Any] = [None, "soon", "", 0, -1, "nan", "inf", []]
LOGIN = {"username": "ada@example.com", "password": "the-password"}


def forms(api: FakeApi) -> list[dict[str, str]]:
    return [dict(parse_qsl(str(request.body))) for request in api.sent]


def test_credentials_are_sent_only_in_the_form_of_the_token_request() -> None:
    api = FakeApi([token()])
    assert api.authenticator(FakeTime()).auth_header() == {"Authorization": "Bearer token-1"}
    (request,) = api.sent
    assert (request.method, request.url) == ("POST", f"{API_URL}/oauth/token")
    assert forms(api) == [{"grant_type": "client_credentials", "client_id": "the-id", "client_secret": "the-secret"}]
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert api.options[0]["timeout"] == (5, 60)


@pytest.mark.parametrize(
    ("credentials", "account_token", "query"),
    [
        (LOGIN, "NPS-1a2b", {"account_token": ["NPS-1a2b"]}),
        (LOGIN, None, {}),
        (SETTINGS.credentials, "NPS-1a2b", {}),
    ],
)
def test_the_account_token_goes_into_the_query_of_the_password_grant_only(
    credentials: dict[str, str], account_token: str | None, query: dict[str, list[str]]
) -> None:
    api = FakeApi([token()])
    api.authenticator(FakeTime(), credentials=credentials, account_token=account_token).auth_header()
    assert parse_qs(str(api.sent[0].url).partition("?")[2]) == query


@pytest.mark.parametrize(
    ("fields", "valid_for"),
    [
        ({"expires_in": 7_200}, 7_140),
        ({"expires_in": "600"}, 540),
        ({"expires_in": 30}, 15),
        ({}, 7_140),
        *[({"expires_in": unusable}, 7_140) for unusable in UNUSABLE_LIFETIMES],
    ],
)
def test_a_token_is_renewed_a_minute_before_it_expires_or_at_half_its_lifetime(
    fields: dict[str, Any], valid_for: float
) -> None:
    time = FakeTime()
    first = response(content={"access_token": "token-1", **fields})
    authenticator = FakeApi([first, token(access_token="token-2")]).authenticator(time)  # noqa: S106
    authenticator.auth_header()
    time.seconds += valid_for - 1
    assert authenticator.auth_header() == {"Authorization": "Bearer token-1"}
    time.seconds += 1
    assert authenticator.auth_header() == {"Authorization": "Bearer token-2"}


def test_the_time_that_a_token_request_takes_counts_towards_the_lifetime() -> None:
    time = FakeTime()

    class SlowApi(FakeApi):
        def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
            time.seconds += 100
            return super().send(request, *args, **options)

    api = SlowApi([token(expires_in=600), token()])
    authenticator = api.authenticator(time)
    authenticator.auth_header()
    time.seconds += 440
    authenticator.auth_header()
    assert len(api.sent) == 2


def test_the_credentials_renew_the_token_even_if_there_is_a_refresh_token() -> None:
    api = FakeApi([token(refresh_token="refresh-1"), token()])  # noqa: S106
    authenticator = api.authenticator(FakeTime(), credentials=LOGIN)
    for _ in range(2):
        authenticator.auth_header()
        authenticator.invalidate()
    assert forms(api) == [{"grant_type": "password", **LOGIN}] * 2


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize(
    ("api_url", "source", "setting"),
    [
        (API_URL, "api.example.test", "api_url"),
        ("https://api.wootric.com", "api.wootric.com, region us", "region"),
        ("https://api.wootric.eu", "api.wootric.eu, region eu", "region"),
    ],
)
def test_rejected_credentials_are_an_error_that_names_what_to_check_but_no_values(
    status: int, api_url: str, source: str, setting: str
) -> None:
    api = FakeApi([response(status, {"error": "invalid_client", "error_description": "secret"})])
    with pytest.raises(FatalAPIError) as raised:
        api.authenticator(FakeTime(), api_url=api_url, credentials=LOGIN).auth_header()
    assert str(raised.value) == (
        f"Wootric rejected the credentials ({status} from {source}): check username and password, "
        f"and that {setting} matches the account"
    )


def test_a_404_is_an_error_that_names_the_settings_to_check() -> None:
    with pytest.raises(FatalAPIError) as raised:
        FakeApi([response(404, b"<html>")]).authenticator(FakeTime()).auth_header()
    assert str(raised.value) == (
        "No such account, or not the Wootric API (404 from api.example.test/oauth/token): "
        "check account_token and api_url"
    )


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        *({"access_token": unusable} for unusable in (None, "", "line\nbreak", "blank inside", "søt", 7)),
    ],
)
def test_a_response_without_a_usable_token_can_be_retried(content: Any) -> None:
    with pytest.raises(RetriableAPIError, match=r"The response from /oauth/token has no usable access_token"):
        FakeApi([response(content=content)]).authenticator(FakeTime()).auth_header()


def test_a_token_request_is_paced_and_counted_like_any_other_and_its_response_sets_the_clock() -> None:
    time = FakeTime()
    api = FakeApi([response(429, {}, {"Retry-After": "20"}), token()])
    rate_limiter = time.rate_limiter()
    authenticator = WootricAuthenticator(SETTINGS, rate_limiter, api.session(), (5, 60), time.monotonic)
    with pytest.raises(RetriableAPIError):
        authenticator.auth_header()
    authenticator.auth_header()
    assert time.slept == [20]
    assert rate_limiter.requests_sent == 2
    assert rate_limiter.clock.is_set


def test_credentials_are_not_forwarded_to_a_redirect() -> None:
    api = FakeApi([response(307, b"", {"Location": "https://other.example.test/"})])
    with pytest.raises(FatalAPIError, match=r"redirects to https://other\.example\.test"):
        api.authenticator(FakeTime()).auth_header()
    assert len(api.sent) == 1
