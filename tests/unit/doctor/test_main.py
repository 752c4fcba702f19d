"""The command without a network: what it prints, and its exit status."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tap_wootric.api.client import RetryPolicy
from tap_wootric.doctor import __main__ as command
from tap_wootric.doctor import probe
from tap_wootric.settings import Settings
from tap_wootric.tap import TapWootric
from tests.unit.doctor.fakes import CONFIG, FakeServer, account


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in CONFIG.items():
        monkeypatch.setenv(f"TAP_WOOTRIC_{name.upper()}", value)
    monkeypatch.delenv("MELTANO_EXTRACTOR_NAME", raising=False)
    monkeypatch.setattr(probe, "HASTY", RetryPolicy(1, 0, 1))
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers
    logging.disable(logging.NOTSET)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """Return the server that the command talks to."""
    fake = FakeServer(account(20))

    def make_probe(_settings: Settings, report_progress: Any) -> probe.Probe:
        return fake.probe(TapWootric(config=CONFIG), report_progress)

    monkeypatch.setattr(command, "Probe", make_probe)
    return fake


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command, and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["tap-wootric-doctor", "--config", "ENV", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    status: int = ended.value.code  # type: ignore[assignment]
    return status


@pytest.mark.usefixtures("server")
def test_an_account_that_can_be_read_exits_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 0
    printed = capsys.readouterr()
    ready = "Ready: `tap-wootric --config ENV | target-postgres --config target.json > states.jsonl`\n"
    assert printed.out.endswith(ready)
    assert printed.err.startswith("Checking the credentials ...\nChecking which streams can be read ...\n")


@pytest.mark.parametrize(
    ("answers", "last_line"),
    [
        (
            {"/v1/declines": (403, {}), "/v1/responses": (404, {})},
            "Not ready: responses and declines cannot be read. Ask Wootric for access, or select the others",
        ),
        ({"/v1/declines": (503, {})}, "Try again later: declines could not be read: 503 Service Unavailable for"),
        ({"/v1/declines": (200, [{"id": 1, "created_at": 0}] * 9)}, "Not ready: declines: The API does not filter by "),
        ({"/oauth/token": (401, {})}, "Not ready: Wootric rejected the credentials (401 from api.example.test): check"),
        ({"/oauth/token": requests.ConnectionError()}, "Not ready: Access token: The API could not be reached"),
    ],
)
def test_an_account_that_cannot_be_read_exits_with_1(
    answers: Any,
    last_line: str,
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.answers = answers
    assert run(monkeypatch) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith(last_line)


def test_within_meltano_the_last_line_names_the_extractor(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MELTANO_EXTRACTOR_NAME", "tap-wootric-acme")
    run(monkeypatch)
    server.answers = {"/v1/declines": (403, {})}
    run(monkeypatch)
    printed = capsys.readouterr().out
    assert "Ready: `meltano run tap-wootric-acme target-postgres`\n" in printed
    assert "deselect: `meltano select tap-wootric-acme --exclude declines '*'`\n" in printed


def test_a_stream_that_is_not_selected_by_default_does_not_matter(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = {"/v1/segments": (403, {})}
    assert run(monkeypatch) == 0


def test_tokens_that_no_list_accepts_are_reported_under_the_credentials(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = {f"/v1/{name}": (401, {}) for name in ("end_users", "responses", "declines")}
    assert run(monkeypatch) == 1
    assert "Not ready: api.example.test rejects fresh tokens" in capsys.readouterr().out
    assert "/v1/responses" not in server.paths


def test_wrong_settings_are_one_line_and_exit_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAP_WOOTRIC_REGION", "xx")
    assert run(monkeypatch) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("region must be one of us, eu, au")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--format", "xml"], ["--what"]])
def test_wrong_options_exit_with_2(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, *arguments) == 2


def test_ctrl_c_exits_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "examine", lambda *_: signal.raise_signal(signal.SIGINT))
    assert run(monkeypatch) == 130
