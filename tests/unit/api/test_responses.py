"""A response is decoded, or becomes an error of one line that holds nothing secret."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.responses import AccessDeniedError, decode_response, safe_message
from tests.unit.api.fakes import API_URL, response


def error_list(*errors: Any) -> dict[str, Any]:
    return {"type": "error_list", "errors": [*errors]}


NOT_FOUND = error_list({"status": "record_not_found", "message": "There is nothing here", "field": None})


def raised_by(answer: requests.Response) -> Exception:
    with pytest.raises((FatalAPIError, RetriableAPIError)) as raised:
        decode_response(answer)
    return raised.value


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[]", []),
        (b'[{"id": 1, "text": null}]', [{"id": 1, "text": None}]),
        (b'{"nps": 12.50}', {"nps": Decimal("12.50")}),
        (b'{"type": "other"}', {"type": "other"}),
        ('["søt 🙂"]'.encode(), ["søt 🙂"]),
        (b'["\\ud83d\\ude42"]', ["🙂"]),
        (b"[18446744073709551616, -1e400]", [2**64, Decimal("-1e400")]),
        (b"[1e99999]", ["1e99999"]),
        (b"[NaN, -Infinity]", ["NaN", "-Infinity"]),
        (b"[" + b"9" * 5_000 + b"]", [Decimal("9" * 5_000)]),
        (b'["a\\ud83d!"]', ["a\ufffd!"]),
        (b'[{"text": "a\\u0000b", "tags": ["a\\u0000b"]}]', [{"text": "a\0b", "tags": ["a\ufffdb"]}]),
    ],
)
def test_json_is_decoded_and_what_databases_reject_is_replaced(content: bytes, expected: object) -> None:
    decoded = decode_response(response(content=content))
    assert decoded == expected
    assert repr(decoded) == repr(expected)


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b'[{"id": 1, "text": "secret', b"null", b"\xff\xfe", b"[" * 100_000], ids=range(6)
)
def test_a_success_that_is_not_json_can_be_retried_and_is_not_quoted(content: bytes) -> None:
    error = raised_by(response(content=content))
    assert isinstance(error, RetriableAPIError)
    assert str(error) == "200 OK for /v1/responses, but the body is not JSON"


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (200, RetriableAPIError),
        (400, FatalAPIError),
        (401, FatalAPIError),
        (403, AccessDeniedError),
        (404, AccessDeniedError),
        (422, FatalAPIError),
        (429, RetriableAPIError),
        (500, RetriableAPIError),
        (502, RetriableAPIError),
        (504, RetriableAPIError),
    ],
)
def test_the_status_decides_whether_to_retry_and_describes_an_error_that_is_not_json(
    status: int, error_type: type[Exception]
) -> None:
    assert type(raised_by(response(status, NOT_FOUND))) is error_type
    if status != 200:
        error = raised_by(response(status, b"<html>secret comment</html>"))
        assert type(error) is error_type
        assert str(error).endswith(" for /v1/responses")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (NOT_FOUND, "record_not_found: There is nothing here"),
        (error_list({"status": "a", "message": "b"}, {"status": "c"}, {"message": "d"}), "a: b; c; d"),
        (error_list({"message": "ada@example.com\n is taken"}), "… is taken"),
        (error_list({"message": "x" * 300}), "x" * 200),
        (error_list(), "error_list"),
        (error_list("text", {"field": "secret"}), "error_list"),
        ({"type": "error_list", "errors": "secret"}, "error_list"),
        ({"type": "error_list", "row": "secret"}, "error_list"),
    ],
)
def test_the_messages_of_an_error_list_are_quoted_and_nothing_else(content: Any, message: str) -> None:
    assert str(raised_by(response(400, content))) == f"400 Bad Request for /v1/responses: {message}"


def with_request(error: requests.RequestException) -> requests.RequestException:
    error.request = requests.Request("GET", f"{API_URL}/v1/responses", params={"email": "ada@example.com"}).prepare()
    return error


def refused_connection() -> requests.RequestException:
    cause = ConnectionRefusedError(111, "Connection refused")
    return requests.ConnectionError(OSError("GET /v1/responses?email=ada", cause))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (with_request(requests.ReadTimeout("?email=")), "https://api.example.test/v1/responses did not answer in time"),
        (with_request(requests.ConnectTimeout()), "https://api.example.test/v1/responses did not answer in time"),
        (requests.ReadTimeout(), "The API did not answer in time"),
        (
            with_request(refused_connection()),
            "https://api.example.test/v1/responses could not be reached (Connection refused)",
        ),
        (
            with_request(requests.exceptions.ProxyError(ConnectionRefusedError(111, "Connection refused"))),
            "https://api.example.test/v1/responses could not be reached through the proxy (Connection refused)",
        ),
        (requests.exceptions.InvalidURL("https://u:secret@"), "The API could not be reached (InvalidURL)"),
        (
            ChunkedEncodingError(ConnectionResetError(104, "Connection reset by peer")),
            "The response was cut off (Connection reset by peer)",
        ),
        (ContentDecodingError("gzip of secret"), "The response could not be decompressed (ContentDecodingError)"),
        (FatalAPIError("400 Bad Request for /v1/responses"), "400 Bad Request for /v1/responses"),
        (RuntimeError("two\nlines"), "two lines"),
        (RuntimeError(), "RuntimeError"),
    ],
    ids=range(11),
)
def test_any_error_is_described_in_one_line_without_parameters_of_urls(error: Exception, message: str) -> None:
    assert safe_message(error) == message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_names_its_host(status: int) -> None:
    redirect = response(status, b"", {"Location": "https://other.example.test/oauth/token?client_id=the-id"})
    with pytest.raises(FatalAPIError, match=r"redirects to https://other.example.test; check api_url$"):
        decode_response(redirect)
