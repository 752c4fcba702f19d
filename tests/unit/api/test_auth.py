"""One token for the whole tap: fetched, renewed before it expires, replaced when rejected."""

from __future__ import annotations

import threading
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tests.unit.api.fakes import API_URL, SERVER_TIME, FakeApi, FakeTime, response, token

UNUSABLE_LIFETIMES: list[Any] = [None, "soon", "", 0, -1, "nan", "inf", []]
LOGIN = {"username": "ada@example.com", "password": "the-password"}


def rejected(value: str) -> requests.Response:
    """Return a 401 to a request that carried a token."""
    answer = response(401)
    answer.request = requests.Request("GET", API_URL, headers={"Authorization": f"Bearer {value}"}).prepare()
    return answer


def forms(api: FakeApi) -> list[dict[str, str]]:
    return [dict(parse_qsl(str(request.body))) for request in api.sent]


def test_credentials_are_sent_only_in_the_form_of_the_token_request() -> None:
    api = FakeApi([token()])
    assert api.authenticator(FakeTime()).auth_header() == {"Authorization": "Bearer token-1"}
    (request,) = api.sent
    assert (request.method, request.url) == ("POST", f"{API_URL}/oauth/token")
    assert forms(api) == [{"grant_type": "client_credentials", "client_id": "the-id", "client_secret": "the-secret"}]
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["User-Agent"] == "tap-wootric/1.2.3"
    assert api.timeouts == [60]


@pytest.mark.parametrize(
    ("credentials", "account_token", "query"),
    [
        (LOGIN, "NPS-1a2b", {"account_token": ["NPS-1a2b"]}),
        (LOGIN, None, {}),
        ({"client_id": "the-id", "client_secret": "the-secret"}, "NPS-1a2b", {}),
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
        ({"expires_in": "7200"}, 7_140),
        ({"expires_in": 600}, 540),
        ({"expires_in": 30}, 15),
        *[({"expires_in": unusable}, 7_140) for unusable in UNUSABLE_LIFETIMES],
    ],
)
def test_a_token_is_renewed_a_minute_before_it_expires_or_at_half_its_lifetime(
    fields: dict[str, Any], valid_for: float
) -> None:
    time = FakeTime()
    api = FakeApi([token(**fields), token(access_token="token-2")])  # noqa: S106
    authenticator = api.authenticator(time)
    authenticator.auth_header()
    time.seconds += valid_for - 1
    assert authenticator.auth_header() == {"Authorization": "Bearer token-1"}
    time.seconds += 1
    assert authenticator.auth_header() == {"Authorization": "Bearer token-2"}


def test_a_token_without_a_lifetime_lasts_two_hours_less_a_minute() -> None:
    time = FakeTime()
    api = FakeApi([response(content={"access_token": "token-1"}), token()])
    authenticator = api.authenticator(time)
    authenticator.auth_header()
    time.seconds += 7_139
    authenticator.auth_header()
    assert len(api.sent) == 1
    time.seconds += 1
    authenticator.auth_header()
    assert len(api.sent) == 2


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


def test_only_the_current_token_can_be_invalidated() -> None:
    api = FakeApi([token(), token(access_token="token-2")])  # noqa: S106
    authenticator = api.authenticator(FakeTime())
    authenticator.auth_header()
    authenticator.invalidate(rejected("an-older-token"))
    assert authenticator.auth_header() == {"Authorization": "Bearer token-1"}
    authenticator.invalidate(rejected("token-1"))
    assert authenticator.auth_header() == {"Authorization": "Bearer token-2"}


def test_a_refresh_token_renews_the_token() -> None:
    api = FakeApi([token(refresh_token="refresh-1"), token(refresh_token="refresh-2"), token()])  # noqa: S106
    authenticator = api.authenticator(FakeTime(), credentials=LOGIN)
    for _ in range(3):
        authenticator.auth_header()
        authenticator.invalidate(rejected("token-1"))
    assert forms(api) == [
        {"grant_type": "password", **LOGIN},
        {"grant_type": "refresh_token", "refresh_token": "refresh-1"},
        {"grant_type": "refresh_token", "refresh_token": "refresh-2"},
    ]


def test_a_rejected_refresh_token_gives_way_to_the_credentials_at_once() -> None:
    api = FakeApi([token(refresh_token="refresh-1"), response(401, {}), token()])  # noqa: S106
    authenticator = api.authenticator(FakeTime(), credentials=LOGIN)
    authenticator.auth_header()
    authenticator.invalidate(rejected("token-1"))
    authenticator.auth_header()
    assert [form["grant_type"] for form in forms(api)] == ["password", "refresh_token", "password"]


def test_a_refresh_token_is_never_sent_twice() -> None:
    api = FakeApi([token(refresh_token="refresh-1"), response(500, {}), token()])  # noqa: S106
    authenticator = api.authenticator(FakeTime(), credentials=LOGIN)
    authenticator.auth_header()
    authenticator.invalidate(rejected("token-1"))
    with pytest.raises(RetriableAPIError):
        authenticator.auth_header()
    authenticator.auth_header()
    assert [form["grant_type"] for form in forms(api)] == ["password", "refresh_token", "password"]


@pytest.mark.parametrize("status", [400, 401, 403])
@pytest.mark.parametrize("credentials", [LOGIN, {"client_id": "the-id", "client_secret": "the-secret"}])
def test_rejected_credentials_are_an_error_that_names_the_host_and_the_settings_but_not_their_values(
    status: int, credentials: dict[str, str]
) -> None:
    api = FakeApi([response(status, {"error": "invalid_client", "error_description": "secret"})])
    with pytest.raises(FatalAPIError) as raised:
        api.authenticator(FakeTime(), credentials=credentials).auth_header()
    first, second = credentials
    assert str(raised.value) == (
        f"Wootric rejected the credentials ({status} from api.example.test): check {first} and {second}, "
        "and that api_url matches the account"
    )


@pytest.mark.parametrize(("region", "host"), [("us", "api.wootric.com"), ("eu", "api.wootric.eu")])
def test_rejected_credentials_are_an_error_that_names_the_region_of_the_host(region: str, host: str) -> None:
    api = FakeApi([response(401, {"error": "invalid_client"})])
    with pytest.raises(FatalAPIError) as raised:
        api.authenticator(FakeTime(), api_url=f"https://{host}").auth_header()
    assert str(raised.value) == (
        f"Wootric rejected the credentials (401 from {host}, region {region}): check client_id and client_secret, "
        "and that region matches the account"
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
    with pytest.raises(RetriableAPIError, match=r"The response of /oauth/token has no usable access_token"):
        FakeApi([response(content=content)]).authenticator(FakeTime()).auth_header()


def test_a_token_response_sets_the_clock() -> None:
    time = FakeTime()
    rate_limiter = time.rate_limiter()
    FakeApi([token()]).authenticator(time, rate_limiter).auth_header()
    assert rate_limiter.clock.now() == SERVER_TIME


def test_a_rate_limit_of_the_token_endpoint_is_waited_for() -> None:
    time = FakeTime()
    authenticator = FakeApi([response(429, {}, {"Retry-After": "20"}), token()]).authenticator(time)
    with pytest.raises(RetriableAPIError):
        authenticator.auth_header()
    authenticator.auth_header()
    assert time.slept == [20]


def test_threads_that_need_a_token_at_the_same_time_share_one() -> None:
    second_request = threading.Event()

    class SlowApi(FakeApi):
        def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
            if self.sent:
                second_request.set()
            answer = super().send(request, *args, **options)
            second_request.wait(0.05)
            return answer

    api = SlowApi([token() for _ in range(8)])
    authenticator = api.authenticator(FakeTime())
    barrier = threading.Barrier(8)
    headers = []

    def work() -> None:
        barrier.wait()
        headers.append(authenticator.auth_header())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert headers == [{"Authorization": "Bearer token-1"}] * 8
    assert len(api.sent) == 1


def test_credentials_are_not_forwarded_to_a_redirect() -> None:
    api = FakeApi([response(307, b"", {"Location": "https://other.example.test/"})])
    with pytest.raises(FatalAPIError, match=r"redirects to https://other\.example\.test"):
        api.authenticator(FakeTime()).auth_header()
    assert len(api.sent) == 1
