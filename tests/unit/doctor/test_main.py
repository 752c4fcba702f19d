"""The command without a network: what it prints, and its exit status."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError, SingerSDKError

from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.client import Client
from tap_wootric.doctor import __main__ as command
from tap_wootric.tap import TapWootric
from tests.unit.api.fakes import response
from tests.unit.doctor.test_examination import Account

SETTINGS = {"CLIENT_ID": "the-id", "CLIENT_SECRET": "the-secret"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(f"TAP_WOOTRIC_{name}", value)
    monkeypatch.setattr(command, "_TOKEN_PAUSE_SECONDS", 0)
    handlers, level = logging.root.handlers[:], logging.getLogger("urllib3").level
    yield
    logging.root.handlers[:] = handlers
    logging.getLogger("urllib3").setLevel(level)


def run(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, token: Callable[[], object] = dict, account: Account | None = None
) -> int:
    """Run the command with an account, and return its exit status."""
    served = account or Account()

    def get(_client: Client, path: str, params: Mapping[str, Any]) -> requests.Response:
        return served.answer(path, params)

    monkeypatch.setattr(WootricAuthenticator, "auth_header", lambda _self: token())
    monkeypatch.setattr(Client, "get", get)
    monkeypatch.setattr(Client, "server_time", lambda _self: 0)
    monkeypatch.setattr(sys, "argv", ["tap-wootric-doctor", "--config", "ENV", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    status: int = ended.value.code  # type: ignore[assignment]
    return status


def test_an_account_that_can_be_read_exits_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("Ready: `meltano run tap-wootric target-postgres`\n")
    assert printed.err.startswith("Checking the credentials ...\nChecking end_users ...\n")


def test_json_is_one_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out).keys() == {"version", "api_url", "checks", "estimate"}


def test_an_account_that_cannot_be_read_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, account=Account(declines=403)) == 1


@pytest.mark.parametrize(
    ("error", "attempts", "line"),
    [
        (FatalAPIError("Wootric rejected the credentials"), 1, "Not ready: Wootric rejected the credentials."),
        (
            RetriableAPIError("503 Oops for /oauth/token: Ada", response(503)),
            3,
            "Not ready: 503 Oops for /oauth/token.",
        ),
        (requests.ConnectionError(), 3, "Not ready: The API could not be reached (ConnectionError)."),
    ],
)
def test_a_token_that_is_not_to_be_had_exits_with_1(
    error: Exception, attempts: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = 0

    def token() -> object:
        nonlocal asked
        asked += 1
        raise error

    assert run(monkeypatch, token=token) == 1
    assert capsys.readouterr().out.splitlines()[-1] == line
    assert asked == attempts


def test_a_token_that_takes_too_long_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_TOKEN_SECONDS", 0.01)
    assert run(monkeypatch, token=lambda: time.sleep(0.1)) == 1
    assert "Not ready: The API did not answer within 0 s." in capsys.readouterr().out


def test_wrong_settings_are_one_line_and_exit_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAP_WOOTRIC_REGION", "xx")
    assert run(monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("region must be one of us, eu, au")
    assert printed.err.count("\n") == 1


def test_an_error_of_the_sdk_is_one_line_and_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_options: object) -> None:
        raise SingerSDKError("stream_maps: no")

    monkeypatch.setattr(TapWootric, "__init__", lambda _self, **options: fail(**options))
    assert run(monkeypatch) == 2
    assert capsys.readouterr().err == "stream_maps: no\n"


@pytest.mark.parametrize("arguments", [["--format", "xml"], ["--what"]])
def test_wrong_options_exit_with_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, *arguments) == 2


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_arguments: object) -> int:
        raise KeyboardInterrupt

    statuses: list[int] = []
    monkeypatch.setattr(command, "_run", interrupt)
    monkeypatch.setattr("os._exit", statuses.append)
    command.main()
    assert statuses == [130]
