"""A response is decoded, or becomes an error of one line that holds nothing secret."""

from __future__ import annotations

import json
import threading
from decimal import Decimal
from typing import Any

import pytest
import requests
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
        (b"[" + b"9" * 4_300 + b"]", [10**4_300 - 1]),
        (b'["a\\ud83d!"]', ["a\ufffd!"]),
        (b'["a\xed\xa0\x80!"]', ["a\ufffd!"]),
        (b'[{"text": "a\\u0000b", "tags": ["a\\u0000b"]}]', [{"text": "a\0b", "tags": ["a\ufffdb"]}]),
    ],
)
def test_json_is_decoded_and_what_databases_reject_is_replaced(content: bytes, expected: object) -> None:
    decoded = decode_response(response(content=content))
    assert decoded == expected
    assert repr(decoded) == repr(expected)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b'[{"id": 1, "text": "secret', b"null", b"\xff\xfe", '["text"]'.encode("utf-16")],
    ids=range(6),
)
def test_a_success_that_is_not_json_can_be_retried_and_is_not_quoted(content: bytes) -> None:
    error = raised_by(response(content=content))
    assert isinstance(error, RetriableAPIError)
    assert str(error) == "200 OK for /v1/responses, but the body is not JSON"


def nested(levels: int) -> bytes:
    """Return a page with so many levels, and with brackets in strings, which do not count."""
    row, inner = json.dumps({"[[{{\\": '"]]}}'}).removesuffix("}"), levels // 2 - 1
    properties = '{"a":[' * inner + '"\\u0000"' + "]}" * inner
    return f'[{row}, "properties": {properties}}}]'.encode()


def test_json_of_250_levels_is_decoded_on_a_small_stack_and_deeper_json_is_refused() -> None:
    decoded = []
    size = threading.stack_size(2**17)  # Bytes, as with musl.
    thread = threading.Thread(target=lambda: decoded.append(decode_response(response(content=nested(250)))))
    thread.start()
    thread.join()
    threading.stack_size(size)
    assert "\ufffd" in str(decoded)
    for content in (nested(252), b"\xef\xbb\xbf " + nested(10_000), b"[" * 10**6, b'{"a":' * 251):
        error = raised_by(response(content=content))
        assert type(error) is FatalAPIError
        assert str(error).endswith("but its JSON has more than 250 levels or too many values for a page")
    assert isinstance(raised_by(response(502, nested(252))), RetriableAPIError)


@pytest.mark.parametrize("value", ['{"id":1}', "[]", "1.5"])
def test_json_with_more_values_than_a_page_can_have_is_refused(value: str) -> None:
    error = raised_by(response(content=f"[{','.join([value] * 500_000)}]".encode()))
    assert str(error).startswith("200 OK for /v1/responses, but its JSON has more than ")
    assert decode_response(response(content=["[{," * 200_000])) == ["[{," * 200_000]


@pytest.mark.parametrize("location", ["http://[::1", "http://a]b/", "http://[\x1b"])
def test_a_redirect_to_an_invalid_url_is_an_error_like_any_other_redirect(location: str) -> None:
    error = raised_by(response(302, b"", {"Location": location}))
    assert str(error).startswith("302 Found for /v1/responses: the API redirects")


@pytest.mark.parametrize(("status", "kind"), [(202, RetriableAPIError), (206, RetriableAPIError), (304, FatalAPIError)])
def test_only_status_200_brings_rows(status: int, kind: type[Exception]) -> None:
    assert isinstance(raised_by(response(status, [])), kind)


@pytest.mark.parametrize("headers", [{"Retry-After": "1"}, {"X-Rate-Limit-Remaining": "0"}])
def test_a_403_for_a_limit_can_be_retried(headers: dict[str, str]) -> None:
    assert isinstance(raised_by(response(403, NOT_FOUND, headers)), RetriableAPIError)
    assert isinstance(raised_by(response(403, NOT_FOUND, {"X-Rate-Limit-Remaining": "1"})), AccessDeniedError)


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (200, RetriableAPIError),
        (400, FatalAPIError),
        (401, FatalAPIError),
        (403, AccessDeniedError),
        (404, AccessDeniedError),
        (408, RetriableAPIError),
        (425, RetriableAPIError),
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
        (FatalAPIError("400 Bad Request for /v1/responses"), "400 Bad Request for /v1/responses"),
        (RuntimeError("two\nlines"), "two lines"),
        (RuntimeError(), "RuntimeError"),
    ],
    ids=range(9),
)
def test_any_error_is_described_in_one_line_without_parameters_of_urls(error: Exception, message: str) -> None:
    assert safe_message(error) == message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_names_its_host(status: int) -> None:
    redirect = response(status, b"", {"Location": "https://other.example.test/oauth/token?client_id=the-id"})
    with pytest.raises(FatalAPIError, match=r"redirects to https://other.example.test; check api_url$"):
        decode_response(redirect)
