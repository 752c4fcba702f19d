"""The exit status and the log lines of the command. Errors that users can fix have no traceback."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator

import pytest
import requests
from singer_sdk.exceptions import ConfigValidationError, FatalAPIError

from tap_wootric import __main__ as command
from tap_wootric.sdk import is_worth_logging
from tap_wootric.signals import Terminated
from tap_wootric.tap import FailedStreamsError, TapWootric


@pytest.fixture(autouse=True)
def _settings_of_the_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore what the command changes for the whole process."""
    monkeypatch.setattr(sys.stderr, "write", sys.stderr.write)
    filters = {handler: [*handler.filters] for handler in logging.getLogger().handlers}
    yield
    for handler, kept in filters.items():
        handler.filters = kept
        vars(handler).pop("format", None)


def run(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command, which raises an error."""

    def cli() -> None:
        raise error

    monkeypatch.setattr(TapWootric, "cli", staticmethod(cli))
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)  # Its file descriptor is needed.
    command.main()


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (ConfigValidationError("Config validation failed", errors=["--config is wrong"]), ["--config is wrong"]),
        (FailedStreamsError(["declines: busy", "end_users: busy"]), ["declines: busy", "end_users: busy"]),
        (FatalAPIError("403 Forbidden for /v1/segments"), ["403 Forbidden for /v1/segments"]),
        (
            requests.ConnectionError("https://api.wootric.com/?secret=1"),
            ["The API could not be reached (ConnectionError)"],
        ),
    ],
)
def test_an_error_that_users_can_fix_is_logged_without_a_traceback_and_the_status_is_1(
    error: Exception, lines: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(error, monkeypatch)
    assert stop.value.code == 1
    assert [(record.name, record.levelno, record.message) for record in caplog.records] == [
        ("tap-wootric", logging.ERROR, line) for line in lines
    ]


def test_a_signal_ends_the_process_at_once_with_its_status(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)
    run(Terminated(15), monkeypatch)
    assert statuses == [143]
    assert caplog.messages == ["Stopped by SIGTERM; the next sync continues from the last state"]


def test_any_other_error_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError(), monkeypatch)


def test_neither_the_sdks_lines_nor_urls_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    monkeypatch.setattr(logging.getLogger("urllib3"), "level", logging.DEBUG)
    with pytest.raises(SystemExit):
        run(FailedStreamsError([]), monkeypatch)
    assert handler.filters == [is_worth_logging]
    assert logging.getLogger("urllib3").level == logging.ERROR
