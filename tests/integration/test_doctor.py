"""The doctor agrees with the tap, and shows nothing of a customer."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.tap import Run, tap
from tools import environment
from tools.docs import DOCS, block
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import SECOND
from tools.sandbox.api import PASSWORD, USERNAME

READY = " | target-postgres --config target.json > states.jsonl`\n"
_LIST = "access filters_created sorts_created rows short_pages rate_limit latency fields"
IDS: dict[str | None, str] = {
    None: "credentials clock",
    "end_users": _LIST.replace("sorts_created", "filters_updated sorts_created sorts_updated"),
    "responses": f"{_LIST} late_changes",
    "declines": _LIST,
    **dict.fromkeys(("segments", "survey_templates", "nps_summary", "email_stats", "email_sources"), "access"),
}
"""The checks of each report, by their streams."""


def doctor(*arguments: str, config: dict[str, Any], **options: Any) -> Run:
    return tap(*arguments, config=config, program="tap-wootric-doctor", **options)


def documented() -> Sandbox:
    """Return the sandbox whose report is in docs/doctor.md."""
    account = Account(1_300, 4_200, declines=90, emails=300)
    for hours in range(200):
        account.responses.insert(int(time.time() - 3_600 * (hours + 1)) * SECOND)
    for row in account.responses.rows.values():
        row.body |= {"sentiment": "good", "tags": []}
    return Sandbox(account, limit=100, limited=["responses", "declines"])


@pytest.mark.parametrize(
    ("switches", "fault", "status"),
    [
        ({}, "", 0),
        ({"page_size": 25}, "", 0),
        ({"ignores_filters": True}, "", 1),
        ({"ignores_sort": True}, "", 1),
        ({}, "403", 1),
    ],
)
def test_an_account_is_ready_if_the_tap_can_read_it(switches: dict[str, Any], fault: str, status: int) -> None:
    with Sandbox(Account(120, 120, declines=120), **switches) as sandbox:
        sandbox.fault = lambda path, _number: fault if path == "/v1/declines" else ""
        run = doctor(config=sandbox.config)
        assert len(sandbox.requests) <= 40
        assert {request.method for request in sandbox.requests if request.path != "/oauth/token"} == {"GET"}
        assert run.status == tap(config=sandbox.config).status == status
    assert run.out.endswith(READY) is (status == 0)
    assert ("\nNot ready: " in run.out) is (status == 1)


def test_it_keeps_to_the_limit() -> None:
    with Sandbox(Account(60, 60, declines=60), limit=5, limit_seconds=2) as sandbox:
        assert doctor(config=sandbox.config).status == 0
    assert 429 not in {request.status for request in sandbox.requests}


def test_no_output_has_anything_of_a_customer_or_the_account() -> None:
    account = Account(60, 60, declines=60, emails=30)
    for row in account.responses.rows.values():
        row.body["new_field"] = {"persona_color": "secret-value"}
        row.body["persona of ada@example.com"] = row.body["persona_salt"] = "secret-value"
    with Sandbox(account) as sandbox:
        sandbox.rewrite = lambda text: text.replace("is not a parameter", "secret-account ada@example.com")
        config = {**sandbox.config, "account_token": "NPS-secret-token", "stream_map_config": {"salt": "persona_salt"}}
        runs = [doctor("--format", output, config=config) for output in ("json", "text")]
        sandbox.fault = lambda path, _number: "403" if path == "/v1/responses" else ""
        runs.append(doctor(config=config))
    printed = "".join(run.out + run.log for run in runs)
    secrets = ("@", "secret-", "sandbox-", "persona", "revenue", "Department", "external-", "Oops", "127.0.0.1/")
    assert [secret for secret in secrets if secret in printed] == []
    assert "new_field" in printed


def test_refused_credentials_fail_at_once() -> None:
    with Sandbox(Account(3, 3)) as sandbox:
        run = doctor("--format", "json", config={**sandbox.config, "client_secret": "wrong-secret"})
    report = json.loads(run.out)
    assert (run.status, len(sandbox.requests)) == (1, 1)
    assert _ids(report) == [(name, check) for name, checks in IDS.items() for check in checks.split()]
    assert {check["status"] for check in report["checks"]} == {"failed", "unknown", "ok"}
    assert report["estimate"] == {"first_sync": None, "idle_sync": None, "daily_sync": None}
    assert "wrong-secret" not in run.out + run.log


@pytest.mark.parametrize("is_silent", [False, True])
def test_an_api_that_does_not_answer_is_reported_within_half_a_minute(*, is_silent: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        if not is_silent:
            server.close()
        config = {"client_id": "a", "client_secret": "b", "api_url": url, "request_timeout": 1}
        began = time.monotonic()
        run = doctor(config=config, sleepless=True)
    assert time.monotonic() - began + sum(run.slept) < 30
    assert run.status == 1
    reason = "did not answer in time" if is_silent else "could not be reached (Connection refused)"
    assert f"Not ready: Access token: {url}/oauth/token {reason}" in run.out


def test_a_password_in_the_environment_and_an_output_that_is_not_utf_8_work_as_well() -> None:
    with Sandbox(Account(3, 3, declines=3)) as sandbox:
        settings = {"api_url": sandbox.url, "username": USERNAME, "password": PASSWORD}
        env = {f"TAP_WOOTRIC_{name.upper()}": value for name, value in settings.items()}
        env |= environment() | {"PYTHONIOENCODING": "ascii"}
        command = [sys.executable, "-m", "tap_wootric.doctor", "--config", "ENV"]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env, text=True).stdout
    assert out.endswith(READY)
    assert "+ credentials     The API accepts username and password;" in out


def test_the_report_in_the_documentation_is_a_real_one() -> None:
    with documented() as sandbox:
        text, run = doctor(config=sandbox.config), doctor("--format", "json", config=sandbox.config)
    assert _without_ready(text.out) == _without_ready(block("Ready: "))
    shown, report = json.loads(block('"estimate"')), json.loads(run.out)
    assert shown["estimate"].keys() == report["estimate"].keys()
    assert [check for check in shown["checks"] if check not in report["checks"]] == []
    assert _ids(report) == [(name, check) for name, checks in IDS.items() for check in checks.split()]
    explained = re.findall(r"^\| `(\w+)` \|", (DOCS / "doctor.md").read_text(), re.MULTILINE)
    assert {*explained} == {check for _, check in _ids(report)}


def _ids(report: dict[str, Any]) -> list[tuple[str | None, str]]:
    return [(check["stream"], check["id"]) for check in report["checks"]]


def _without_ready(report: str) -> str:
    """Return a report without numbers, and without the command at its end, which is Meltano's in the documentation."""
    report, ready, _command = report.rpartition("Ready: `")
    assert ready
    return re.sub(r"\S*\d\S*", "N", re.sub(r"less than (?=1 s)", "", report))
