from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError

from tap_wootric.api.responses import AccessDeniedError
from tap_wootric.doctor.probe import Answer, NotAskedError, Patience, Probe, plain_message
from tests.unit.api.fakes import response
from tests.unit.fakes import NOW, FakeClient

PATH = "/v1/responses"
ERROR_LIST = {"type": "error_list", "errors": [{"status": "x", "message": "Ada's account"}]}


class Asked:
    """A probe whose client answers with some responses in turn, on a clock that only pauses move."""

    def __init__(self, *responses: requests.Response | Exception) -> None:
        self.responses = list(responses)
        self.pauses: list[float] = []
        self.waits: list[float] = []
        self.seconds = 0.0
        self.client = FakeClient(self._respond)
        client: Any = self.client
        self.probe = Probe(client, self.waits.append, monotonic=lambda: self.seconds, sleep=self.pauses.append)

    def _respond(self, _path: str, _params: Mapping[str, Any]) -> requests.Response:
        self.seconds += 0.25
        answer = self.responses.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self, **options: Any) -> Answer:
        return self.probe.ask(PATH, {}, **options)


def test_an_answer_has_the_content_and_what_the_headers_tell() -> None:
    headers = {"X-Rate-Limit-Limit": "100", "X-Rate-Limit-Remaining": "7", "X-Rate-Limit-Reset": str(NOW + 9)}
    answer = Asked(response(content=[], headers=headers)).ask()
    assert answer == Answer([], status=200, seconds=0.25, limit=100, remaining=7, reset=NOW + 9, received=NOW)


def test_headers_that_are_no_numbers_are_ignored() -> None:
    answer = Asked(response(content=[], headers={"X-Rate-Limit-Limit": "many", "X-Rate-Limit-Remaining": "inf"})).ask()
    assert (answer.limit, answer.remaining) == (None, None)


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_is_final(status: int) -> None:
    asked = Asked(response(status, ERROR_LIST))
    answer = asked.ask()
    assert answer.problem == f"{status} for {PATH}"
    assert answer.is_final
    assert asked.pauses == []


def test_a_path_that_rejects_every_token_does_not_end_the_questions_about_others() -> None:
    problem = "401 Unauthorized for /v1/responses, 5 times in a row, while other requests are accepted"
    asked = Asked(AccessDeniedError(problem), response(content=[]))
    answer = asked.ask()
    assert answer.problem == problem
    assert answer.is_final
    assert asked.ask().content == []
    assert asked.pauses == []


@pytest.mark.parametrize("first", [response(500, ERROR_LIST), response(200, ERROR_LIST), requests.ConnectionError()])
def test_another_failure_is_tried_once_more(first: requests.Response | Exception) -> None:
    asked = Asked(first, response(content=[]))
    assert asked.ask() == Answer([], status=200, seconds=0.25, received=NOW)
    assert asked.pauses == [1]
    assert asked.probe.requests == 2


def test_a_problem_never_quotes_the_api() -> None:
    assert (
        Asked(response(200, ERROR_LIST)).ask(attempts=1).problem
        == f"200 for {PATH}, but the body is not what it should be"
    )
    assert Asked(FatalAPIError("503 Oops for /oauth/token: Ada's account")).ask(attempts=1).problem == (
        "503 Oops for /oauth/token"
    )
    message = "302 Found for /oauth/token: the API redirects to https://example.com; check api_url"
    assert plain_message(FatalAPIError(message)) == message


def test_a_token_that_is_refused_ends_all_requests() -> None:
    asked = Asked(FatalAPIError("Wootric rejected the credentials"))
    assert asked.ask().problem == asked.ask().problem == "Wootric rejected the credentials"
    assert (asked.probe.requests, asked.pauses) == (1, [])


def test_it_gives_up_after_too_many_requests() -> None:
    asked = Asked()
    asked.probe.requests = 70
    with pytest.raises(NotAskedError, match="too many requests"):
        asked.ask()


def test_it_gives_up_after_too_long_but_does_not_count_waits() -> None:
    asked = Asked(response(content=[]))
    asked.seconds, asked.client.throttled_seconds = 95, 10.0
    assert asked.ask().content == []
    asked.seconds = 110
    with pytest.raises(NotAskedError, match="too slow"):
        asked.ask()


def test_it_waits_for_a_limit_that_other_endpoints_may_share() -> None:
    headers = {"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": str(NOW + 9)}
    asked = Asked(response(content=[], headers=headers), response(content=[]), response(content=[]))
    asked.ask()
    asked.ask()
    asked.ask()
    assert asked.waits == [9]


def test_waits_for_limits_end_sometime() -> None:
    reports: list[str] = []
    slept: list[float] = []
    patience = Patience(reports.append, slept.append)
    patience.wait(1)
    patience.wait(59.6)
    with pytest.raises(NotAskedError, match="rate limit"):
        patience.wait(200)
    assert slept == [1, 59.6]
    assert reports == ["Waiting 60 s for the API's rate limit"]
