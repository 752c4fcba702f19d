"""The doctor reports just what the sandbox's switches are set to, and nothing of a customer."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.tap import Run, tap
from tools import environment
from tools.docs import DOCS, block
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import BEGIN, SECOND
from tools.sandbox.server import Clock

LISTS = ("end_users", "responses", "declines")
OTHERS = ("segments", "survey_templates", "nps_summary", "email_stats", "email_sources")
LIST_CHECKS = (
    "access",
    "rows",
    "filters_created",
    "filters_updated",
    "sorts_created",
    "sorts_updated",
    "page_size",
    "last_page",
    "subsecond",
    "stable_ties",
    "rate_limit",
    "latency",
    "fields",
)
IDS = [
    (None, "credentials"),
    (None, "clock"),
    *((stream, check) for stream in LISTS for check in LIST_CHECKS),
    ("segments", "access"),
    ("survey_templates", "access"),
    ("nps_summary", "access"),
    ("nps_summary", "end_inclusive"),
    ("email_stats", "access"),
    ("email_stats", "end_inclusive"),
    ("email_sources", "access"),
]
BOOLEANS = {"access", "subsecond", "stable_ties", "end_inclusive"}


class Findings:
    """What the doctor printed as JSON."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.report: dict[str, Any] = json.loads(run.out)
        self._checks = {(check["stream"], check["id"]): check for check in self.report["checks"]}
        for check in self.report["checks"]:
            assert check["status"] in {"ok", "warning", "failed", "unknown"}
            assert (check["value"] is None) == (check["status"] == "unknown")
            if check["id"] in BOOLEANS or check["id"].startswith(("filters_", "sorts_")):
                assert check["value"] in {True, False, None}

    def value(self, check: str, stream: str | None = "responses") -> Any:
        return self._checks[stream, check]["value"]

    def status(self, check: str, stream: str | None = "responses") -> str:
        return str(self._checks[stream, check]["status"])

    @property
    def trouble(self) -> set[tuple[str | None, str, str]]:
        """The checks that are warnings or failures."""
        found = self.report["checks"]
        return {
            (check["stream"], check["id"], check["status"])
            for check in found
            if check["status"] in {"warning", "failed"}
        }


def documented() -> Sandbox:
    """Return the sandbox whose report is in docs/doctor.md."""
    account = Account(1_300, 4_200, declines=90, emails=3_000)
    for row in account.responses.rows.values():
        row.body["sentiment"] = "good"
    return Sandbox(account, limit=100, limited=["responses", "declines"], ignores_updated=True)


def doctor(sandbox: Sandbox, **settings: Any) -> Findings:
    config = {**sandbox.config, **settings}
    return Findings(tap("--format", "json", config=config, runner="tap_wootric.doctor"))


def examine(account: Account | None = None, clock: Clock | None = None, **switches: Any) -> Findings:
    with Sandbox(account or Account(200, 200, declines=200, emails=300), clock, **switches) as sandbox:
        return doctor(sandbox)


def test_it_finds_nothing_wrong_with_an_api_as_documented() -> None:
    with Sandbox(Account(400, 2_000, declines=100, emails=300)) as sandbox:
        found = doctor(sandbox)
    assert found.run.status == 0
    assert [(check["stream"], check["id"]) for check in found.report["checks"]] == IDS
    assert found.report.keys() == {"version", "api_url", "checks", "estimate"}
    assert found.report["api_url"] == sandbox.url
    assert found.trouble == set()
    assert found.value("credentials", None) == {"grant": "client_credentials", "token_seconds": 7_200}
    assert found.value("clock", None) == 0
    for stream, rows in zip(LISTS, (400, 2_000, 100), strict=True):
        assert found.value("rows", stream)["about"] == pytest.approx(rows, rel=0.1)
        for check in ("access", "filters_created", "filters_updated", "sorts_created", "sorts_updated", "subsecond"):
            assert found.value(check, stream) is True
        assert found.value("page_size", stream) == {"50": 50, "500": 50}
        assert found.value("last_page", stream) == {"answer": "error", "http_status": 400}
        assert found.value("rate_limit", stream) == {"limit": None, "remaining": None, "shared": None}
        assert found.value("fields", stream) == {"unknown": {}, "misfit": {}, "converted": {}}
        assert found.status("stable_ties", stream) == "unknown"
        assert 0 <= found.value("latency", stream) < 1_000
    assert all(found.value("access", stream) for stream in OTHERS)
    assert found.value("end_inclusive", "nps_summary") is found.value("end_inclusive", "email_stats") is True
    assert found.value("rows")["from"].startswith("2024-01-")
    assert found.value("rows")["to"].startswith("2025-12-")
    assert found.report["estimate"]["first_sync"]["requests"] == pytest.approx(53, abs=4)
    assert found.report["estimate"]["later_sync"]["requests"] == 4
    assert len(sandbox.requests) <= 66
    assert {request.method for request in sandbox.requests if request.path != "/oauth/token"} == {"GET"}


def test_an_older_deployment_is_a_warning() -> None:
    found = examine(ignores_updated=True)
    assert found.run.status == 0
    assert found.trouble == {
        (stream, check, "warning") for stream in LISTS[1:] for check in ("filters_updated", "sorts_updated")
    }
    assert found.value("filters_updated", "end_users") is found.value("sorts_updated", "end_users") is True


def test_an_api_that_does_not_filter_or_sort_cannot_be_read() -> None:
    found = examine(ignores_filters=True)
    assert found.run.status == 1
    assert found.value("filters_created") is found.value("filters_updated") is False
    assert found.status("filters_created") == "failed"
    found = examine(ignores_sort=True)
    assert found.run.status == 1
    assert found.value("sorts_created") is found.value("sorts_updated") is False


@pytest.mark.parametrize(
    ("size", "value", "status"),
    [
        (50, {"50": 50, "500": 50}, 0),
        (100, {"50": 50, "500": 100}, 0),
        (500, {"50": 50, "500": 500}, 0),
        (25, {"50": 25, "500": 25}, 1),
    ],
)
def test_page_sizes(size: int, value: dict[str, int], status: int) -> None:
    found = examine(Account(600, 700, declines=800), page_size=size)
    assert [found.value("page_size", stream) for stream in LISTS] == [value] * 3
    assert found.status("page_size") == ("failed" if status else "ok")
    assert found.run.status == status
    assert found.value("rows")["about"] == pytest.approx(700, rel=0.1)


@pytest.mark.parametrize(
    ("past_last_page", "answer", "http_status"),
    [
        ("400", "error", 400),
        ("404", "error", 404),
        ("error list", "error", 200),
        ("empty", "empty", 200),
        ("rows", "rows", 200),
    ],
)
def test_what_page_31_answers(past_last_page: str, answer: str, http_status: int) -> None:
    found = examine(past_last_page=past_last_page)
    assert [found.value("last_page", stream) for stream in LISTS] == [
        {"answer": answer, "http_status": http_status}
    ] * 3


@pytest.mark.parametrize("whole_seconds", [True, False])
def test_whether_timestamps_are_finer_than_shown(*, whole_seconds: bool) -> None:
    found = examine(whole_seconds=whole_seconds)
    assert [found.value("subsecond", stream) for stream in LISTS] == [not whole_seconds] * 3


@pytest.mark.parametrize("shuffle_ties", [True, False])
def test_whether_ties_are_stable(*, shuffle_ties: bool) -> None:
    account = Account(40, 40, declines=40)
    for table in account.tables.values():
        account.crowd(table, 30, created_too=True)
    found = examine(account, whole_seconds=True, shuffle_ties=shuffle_ties)
    assert [found.value("stable_ties", stream) for stream in LISTS] == [not shuffle_ties] * 3
    assert found.status("stable_ties") == ("warning" if shuffle_ties else "ok")
    assert found.run.status == 0


@pytest.mark.parametrize("shared", [True, False])
def test_a_limit_and_whether_it_is_shared(*, shared: bool) -> None:
    found = examine(clock=Clock(BEGIN / SECOND, step=0.01), limit=1_000, shared_limit=shared)
    for stream in LISTS:
        value = found.value("rate_limit", stream)
        assert value["limit"] == 1_000
        assert 900 < value["remaining"] < 1_000
        assert value["shared"] is shared


def test_a_limit_of_one_list_only() -> None:
    found = examine(clock=Clock(BEGIN / SECOND, step=0.01), limit=1_000, limited=["responses"])
    assert [found.value("rate_limit", stream)["limit"] for stream in LISTS] == [None, 1_000, None]
    assert found.value("rate_limit")["shared"] is False


@pytest.mark.parametrize("shared", [True, False])
def test_it_keeps_to_the_limit(*, shared: bool) -> None:
    with Sandbox(
        Account(60, 60, declines=60), limit=30 if shared else 10, limit_seconds=3, shared_limit=shared
    ) as sandbox:
        found = doctor(sandbox)
    assert found.run.status == 0
    assert 429 not in {request.status for request in sandbox.requests}


@pytest.mark.parametrize("ends_before", [True, False])
def test_whether_ranges_include_their_last_day(*, ends_before: bool) -> None:
    found = examine(ends_before=ends_before)
    assert found.value("end_inclusive", "nps_summary") is not ends_before
    assert found.value("end_inclusive", "email_stats") is not ends_before


@pytest.mark.parametrize("skew", [-3_600, 0, 45])
def test_how_far_the_clocks_are_apart(skew: int) -> None:
    found = examine(clock=Clock(skew=skew))
    assert found.value("clock", None) == pytest.approx(skew, abs=1)
    assert found.status("clock", None) == ("warning" if skew else "ok")


def test_new_fields_and_odd_values_are_named_without_any_data() -> None:
    account = Account(60, 60, declines=60)
    for table in account.tables.values():
        for row in table.rows.values():
            row.body |= {"color": "secret-red", "ada@example.com": 1, "end_user_id": "secret-id"}
    found = examine(account)
    assert found.run.status == 0
    assert found.value("fields") == {
        "unknown": {"(hidden)": ["integer"], "color": ["string"]},
        "misfit": {"end_user_id": ["string"]},
        "converted": {},
    }
    assert found.status("fields") == "warning"


def test_no_output_has_anything_of_a_customer_or_the_account() -> None:
    account = Account(60, 60, declines=60, emails=30)
    for row in account.responses.rows.values():
        row.body["new_field"] = {"persona_color": "secret-value"}
    with Sandbox(account) as sandbox:
        sandbox.rewrite = lambda text: text.replace("There is nothing here", "secret-account ada@example.com")
        found = doctor(sandbox, account_token="NPS-secret-token")  # noqa: S106 - It opens nothing.
        text = tap(config=sandbox.config, runner="tap_wootric.doctor")
    printed = found.run.out + found.run.log + text.out + text.log
    for secret in (
        "@",
        "secret-",
        "sandbox-",
        "persona",
        "revenue",
        "Department",
        "external-",
        "Marketing",
        "127.0.0.1/",
    ):
        assert secret not in printed
    assert "new_field" in printed


@pytest.mark.parametrize("fault", ["403", "404", "500"])
def test_a_stream_that_cannot_be_read_fails(fault: str) -> None:
    with Sandbox(Account(60, 60, declines=60)) as sandbox:
        sandbox.fault = lambda path, _number: fault if path == "/v1/declines" else ""
        found = doctor(sandbox)
        assert found.run.status == 1
        assert found.value("access", "declines") is False
        assert found.trouble == {("declines", "access", "failed")}
        sandbox.fault = lambda path, _number: fault if path == "/v1/segments" else ""
        found = doctor(sandbox)
        assert found.run.status == 0  # The stream is not selected by default.
        assert found.trouble == {("segments", "access", "failed")}


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 49, 50, 51])
@pytest.mark.parametrize("live", [0, 1])
def test_short_lists_show_nothing_wrong(rows: int, live: int) -> None:
    found = examine(Account(rows, rows, declines=rows), updates=live, inserts=live / 4)
    assert found.run.status == 0
    assert found.trouble == set()
    assert found.value("rows")["about"] == pytest.approx(rows, abs=20 * live)
    for stream in LISTS:
        assert found.value("subsecond", stream) in {True, None}
        assert found.value("page_size", stream) in ({"50": 50, "500": 50}, {"50": 50, "500": None}, None)
        assert found.value("last_page", stream) == {"answer": "error", "http_status": 400}


def test_facts_that_all_rows_hide_are_unknown() -> None:
    account = Account(100, 100, declines=100)
    for table in account.tables.values():
        for row in table.rows.values():
            row.created = row.updated = BEGIN
    found = examine(account, whole_seconds=True)
    for stream in LISTS:
        assert found.value("filters_created", stream) is found.value("filters_updated", stream) is True
        for check in ("sorts_created", "sorts_updated", "subsecond", "stable_ties"):
            assert found.value(check, stream) is None
    assert found.run.status == 0


def test_a_password_and_the_environment_serve_as_well() -> None:
    with Sandbox(Account(3, 3, declines=3)) as sandbox:
        settings = {"api_url": sandbox.url, "username": "sandbox@example.com", "password": "sandbox-password"}
        env = {f"TAP_WOOTRIC_{name.upper()}": value for name, value in settings.items()}
        run = tap("--format", "json", "--config", "ENV", env=env, runner="tap_wootric.doctor")
    assert Findings(run).value("credentials", None)["grant"] == "password"
    assert "sandbox" not in run.out + run.log


# The documentation


def test_the_report_in_the_documentation_is_a_real_one() -> None:
    with documented() as sandbox:
        run = tap(config=sandbox.config, runner="tap_wootric.doctor")
    assert _without_numbers(run.out) == _without_numbers(block("Ready: "))


def test_the_json_in_the_documentation_is_a_part_of_a_real_one() -> None:
    shown = json.loads(block('"estimate"'))
    with documented() as sandbox:
        found = doctor(sandbox)
    assert shown.keys() == found.report.keys()
    assert shown["estimate"].keys() == found.report["estimate"].keys()
    for check in shown["checks"]:
        assert check.keys() == found.report["checks"][0].keys()
        assert check["value"] == found.value(check["id"], check["stream"])
        assert check["status"] == found.status(check["id"], check["stream"])


def test_the_documentation_explains_each_check() -> None:
    page = (DOCS / "doctor.md").read_text()
    explained = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert explained == list(dict.fromkeys(check for _, check in IDS))


def _without_numbers(report: str) -> str:
    return re.sub(r"\S*\d\S*", "N", re.sub(r" (seconds|minutes?)", " time", report))


# Where nothing can be read


def test_refused_credentials_fail_at_once() -> None:
    with Sandbox(Account(3, 3)) as sandbox:
        found = doctor(sandbox, client_secret="wrong-secret")  # noqa: S106 - It opens nothing.
    assert found.run.status == 1
    assert [(check["stream"], check["id"]) for check in found.report["checks"]] == IDS
    assert found.trouble == {(None, "credentials", "failed")}
    assert found.report["estimate"] == {"first_sync": None, "later_sync": None}
    assert "wrong-secret" not in found.run.out + found.run.log
    assert len(sandbox.requests) == 1


def test_an_api_that_nobody_serves_fails_soon() -> None:
    began = time.monotonic()
    run = tap(
        config={"client_id": "a", "client_secret": "b", "api_url": "http://127.0.0.1:9"}, runner="tap_wootric.doctor"
    )
    assert time.monotonic() - began < 30
    assert run.status == 1
    assert "Not ready: http://127.0.0.1:9/oauth/token could not be reached (Connection refused)." in run.out


def test_an_api_that_never_answers_fails_within_half_a_minute() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        config = {"client_id": "a", "client_secret": "b", "api_url": url, "request_timeout": 1}
        began = time.monotonic()
        run = tap(config=config, runner="tap_wootric.doctor")
    assert time.monotonic() - began < 30
    assert run.status == 1
    assert f"{url}/oauth/token did not answer in time" in run.out


@pytest.mark.parametrize(
    ("arguments", "config", "line"),
    [
        ([], {"client_id": "a"}, "client_secret is not set: set client_id and client_secret, or username and password"),
        ([], {"client_id": "a", "client_secret": "b", "region": "xx"}, "region must be one of us, eu, au"),
        (["--config", "missing.json"], None, "Invalid --config file: File at 'missing.json' was not found."),
        (["--config", "{}"], None, "--config expects the path of a file or ENV, not the settings themselves"),
    ],
)
def test_wrong_settings_are_one_line(arguments: list[str], config: Mapping[str, Any] | None, line: str) -> None:
    run = tap(*arguments, config=config, runner="tap_wootric.doctor")
    assert (run.status, run.out, run.log.count("\n")) == (2, "", 1)
    assert run.log.startswith(line)


def test_wrong_options_exit_with_2() -> None:
    assert tap("--format", "xml", runner="tap_wootric.doctor").status == 2
    assert tap("--check", runner="tap_wootric.doctor").status == 2


def test_stdout_that_is_not_utf_8_gets_ascii() -> None:
    with Sandbox(Account(60, 60, declines=60)) as sandbox:
        env = {f"TAP_WOOTRIC_{name.upper()}": value for name, value in sandbox.config.items()}
        done = subprocess.run(
            [sys.executable, "-m", "tap_wootric.doctor", "--config", "ENV"],
            capture_output=True,
            check=False,
            env={**environment(), **env, "PYTHONIOENCODING": "ascii"},
        )
    assert done.returncode == 0, done.stderr
    assert b"+ access" in done.stdout
    assert b"Ready: `meltano run tap-wootric target-postgres`" in done.stdout
    assert b"\x1b" not in done.stdout


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="There are no terminals")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_colors_are_for_terminals(no_color: str) -> None:
    with Sandbox(Account(3, 3, declines=3)) as sandbox:
        env = {f"TAP_WOOTRIC_{name.upper()}": value for name, value in sandbox.config.items()}
        main, terminal = os.openpty()
        command = [sys.executable, "-m", "tap_wootric.doctor", "--config", "ENV"]
        env |= {"TERM": "xterm", "NO_COLOR": no_color, "PYTHONIOENCODING": "utf-8"}
        with subprocess.Popen(command, stdout=terminal, stderr=subprocess.DEVNULL, env={**environment(), **env}):
            os.close(terminal)
            printed = b""
            while chunk := _read(main):
                printed += chunk
    assert ("✓".encode() in printed, b"\x1b[32m" in printed) == (True, not no_color)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux's way to end.
        return b""
