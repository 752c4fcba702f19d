"""The command prints what its options promise, and refuses invalid input with one line before the first request."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from tap_wootric.tap import TapWootric
from tests.tap import Run, catalog_of, selecting, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import END, SECOND
from tools.sandbox.server import Clock

SECRET = "s3cr3t-in-any-form"  # noqa: S105 - It opens nothing.
VALID = {"client_id": "id", "client_secret": SECRET, "api_url": "http://127.0.0.1:9"}
"""Valid settings, except that nothing listens at that address."""


def test_discover_needs_neither_settings_nor_the_api() -> None:
    run = tap("--discover")
    assert run.status == 0
    assert run.errors == []
    catalog = json.loads(run.out)
    keys = ("tap_stream_id", "key_properties", "replication_key", "replication_method")
    assert [tuple(entry.get(key) for key in keys) for entry in catalog["streams"]] == [
        ("declines", ["id"], "updated_at", "INCREMENTAL"),
        ("email_sources", ["kind", "id"], None, "FULL_TABLE"),
        ("email_stats", ["date"], "date", "INCREMENTAL"),
        ("end_users", ["id"], "updated_at", "INCREMENTAL"),
        ("nps_summary", ["date"], "date", "INCREMENTAL"),
        ("responses", ["id"], "updated_at", "INCREMENTAL"),
        ("segments", ["name"], None, "FULL_TABLE"),
        ("survey_templates", ["id"], None, "FULL_TABLE"),
    ]


def test_discover_prints_the_same_catalog_with_settings() -> None:
    assert json.loads(tap("--discover", config=VALID).out) == catalog_of()


def test_about_lists_every_setting_in_every_format() -> None:
    names = [*TapWootric.config_jsonschema["properties"]]
    text = tap("--about").out
    markdown = tap("--about", "--format", "markdown").out
    about = json.loads(tap("--about", "--format", "json").out)
    for name in names:
        assert name in text
        assert f"| {name} " in markdown
        assert about["settings"]["properties"][name]["description"]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ([], "\nDescription: {}\n"),
        (["--format", "json"], '\n  "description": "{}",\n'),
        (["--format", "markdown"], "# `tap-wootric`\n\n{}\n\n"),
    ],
    ids=["text", "json", "markdown"],
)
def test_about_says_what_the_tap_is_for_also_where_python_drops_docstrings(options: list[str], shown: str) -> None:
    run = tap("--about", *options, env={"PYTHONOPTIMIZE": "2"})
    assert shown.format(TapWootric.purpose) in run.out
    assert str(TapWootric.__doc__) not in run.out


def test_version_names_the_tap() -> None:
    assert tap("--version").out.startswith("tap-wootric v")


def test_test_reads_a_row_of_each_stream_that_is_selected_by_default() -> None:
    with Sandbox(Account(60, 60, declines=60)) as sandbox:
        run = tap("--test", config=sandbox.config)
    assert run.status == 0, run.log
    assert run.out == ""
    assert run.errors == []
    assert "failed" not in run.log
    names = ["declines", "end_users", "responses"]
    assert [f"{name}: works, read 1 row" in run.log for name in names] == [True] * 3
    assert [request.path for request in sandbox.requests] == ["/oauth/token", *(f"/v1/{name}" for name in names)]


def test_test_reads_the_streams_that_the_catalog_selects() -> None:
    names = ["nps_summary", "segments", "survey_templates"]
    with Sandbox(Account(3)) as sandbox:
        run = tap("--test", config=sandbox.config, catalog=selecting(*names))
    assert run.status == 0, run.log
    assert [request.path for request in sandbox.requests] == ["/oauth/token", *(f"/v1/{name}" for name in names)]


def test_test_of_the_schemas_prints_them_without_a_request() -> None:
    run = tap("--test=schema", config=VALID)
    assert run.status == 0
    assert [message["type"] for message in run.messages] == ["SCHEMA"] * 8


@contextmanager
def silence() -> Iterator[str]:
    """Yield the URL of a server to which no connection comes about: its queue is full."""
    with socket.socket() as server, ExitStack() as clients:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = clients.enter_context(socket.socket())
            client.settimeout(0)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_test_fails_within_half_a_minute_where_nobody_answers() -> None:
    with silence() as url:
        begun = time.monotonic()
        run = tap("--test", config={**VALID, "api_url": url})
    assert time.monotonic() - begun < 30
    assert run.status == 1
    [error] = run.errors
    assert error.startswith(f"Access token: {url}/oauth/token did not answer in time. Giving up after ")


def test_test_fails_soon_where_the_connection_is_refused() -> None:
    run = tap("--test", config=VALID, sleepless=True)
    assert run.status == 1
    assert sum(run.slept) < 10
    [error] = run.errors
    assert error.startswith("Access token: http://127.0.0.1:9/oauth/token could not be reached (Connection refused). ")


def logged(run: Run) -> list[str]:
    """Return the lines of a log without their times, levels and loggers."""
    return [line.split(" | ", 3)[-1] for line in run.log.splitlines()]


def counted(requests: int) -> str:
    return f"{requests} request{'' if requests == 1 else 's'}"


def newest(run: Run, stream: str) -> str:
    return f"{max(record['updated_at'] for record in run.records(stream))[:19]}Z"


def test_a_sync_logs_two_lines_for_each_stream_and_one_for_all() -> None:
    with Sandbox(Account(60, 1, declines=0)) as sandbox:
        run = tap(config=sandbox.config)
    spent = "and less than 1 s"
    requests = {name: len(sandbox.pages(name)) for name in ("declines", "end_users", "responses")}
    total = len(sandbox.requests)
    assert total == sum(requests.values()) + 1  # For the token.
    versions, *lines = logged(run)
    assert re.fullmatch(r"tap-wootric v.*, Meltano SDK v.*, Python v[\d.]+", versions)
    assert lines == [
        "declines: incremental sync from 2024-01-01T00:00:00Z",
        f"declines: done, 0 rows in {counted(requests['declines'])} {spent}",
        "end_users: incremental sync from 2024-01-01T00:00:00Z",
        f"end_users: done, 60 rows in {counted(requests['end_users'])} {spent}, up to {newest(run, 'end_users')}",
        "responses: incremental sync from 2024-01-01T00:00:00Z",
        f"responses: done, 1 row in {counted(requests['responses'])} {spent}, up to {newest(run, 'responses')}",
        f"Sync done: 3 streams, 61 rows in {counted(total)} {spent}",
    ]


def test_each_line_of_a_stream_names_it_also_when_requests_are_retried_or_limited() -> None:
    with Sandbox(Account(300), Clock(END / SECOND, step=15), limit=2) as sandbox:
        sandbox.fault = lambda path, n: "502" if path == "/v1/end_users" and n == 2 else ""
        run = tap(config=sandbox.config, catalog=selecting("end_users"), sleepless=True)
    lines = [line for line in logged(run) if not line.startswith("SLEPT")]
    assert any("Retrying in" in line for line in lines)
    assert any(line.startswith("end_users: waiting ") for line in lines)
    assert all(line.startswith("end_users: ") for line in lines[1:-1])
    assert lines[-1].startswith(f"Sync done: 1 stream, 300 rows in {len(sandbox.requests)} requests")


def test_the_sdks_own_lines_and_metrics_come_with_debug() -> None:
    with Sandbox(Account(1)) as sandbox:
        run = tap(config=sandbox.config, env={"TAP_WOOTRIC_LOGLEVEL": "DEBUG"})
    for line in ("Beginning sync of 'end_users'", "Skipping deselected stream", 'METRIC: {"type":"counter"'):
        assert line in run.log


def test_metrics_go_where_a_logging_config_sends_them(tmp_path: Path) -> None:
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"metrics": {"class": "logging.FileHandler", "filename": str(tmp_path / "metrics.log")}},
        "loggers": {"singer_sdk.metrics": {"handlers": ["metrics"], "propagate": False}},
    }
    (tmp_path / "logging.yml").write_text(json.dumps(config))
    with Sandbox(Account(1)) as sandbox:
        run = tap(config=sandbox.config, env={"SINGER_SDK_LOG_CONFIG": str(tmp_path / "logging.yml")})
    assert "METRIC" not in run.log
    assert '"metric":"record_count"' in (tmp_path / "metrics.log").read_text()


def test_a_sync_that_fails_says_in_its_last_line_what_is_not_done() -> None:
    with Sandbox(Account(60, 60)) as sandbox:
        sandbox.fault = lambda path, _: "403" if path == "/v1/end_users" else ""
        run = tap(config=sandbox.config)
    (line,) = [line for line in logged(run) if line.startswith("Sync ")]
    assert re.fullmatch(
        r"Sync incomplete: 2 of 3 streams done, 60 rows in \d+ requests and .*; not done: end_users", line
    )


def test_settings_come_from_files_and_the_environment() -> None:
    with Sandbox(Account(3)) as sandbox:
        settings = dict(sandbox.config)
        secret = settings.pop("client_secret")
        run = tap("--config", "ENV", config=settings, env={"TAP_WOOTRIC_CLIENT_SECRET": secret})
    assert len(run.records("end_users")) == 3


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"client_id": None, "client_secret": None}, "client_id is not set and client_secret is not set"),
        ({"client_secret": [SECRET]}, "client_secret must be a string"),
        ({"client_secret": f"{SECRET}\ud800"}, "client_secret contains a non-printable character"),
        ({"client_secert": SECRET}, "Unknown setting client_secert; did you mean client_secret?"),
        ({"start_date": "yesterday"}, "start_date must be a date or time such as 2024-01-01"),
        ({"lookback_window": "300"}, "lookback_window must be a whole number of seconds between 0 and 31536000"),
    ],
)
def test_an_invalid_setting_is_refused_with_one_line(settings: dict[str, Any], reason: str) -> None:
    config = {key: value for key, value in {**VALID, **settings}.items() if value is not None}
    refused(tap(config=config), reason)


def test_an_invalid_setting_ends_a_connection_test_with_the_same_line() -> None:
    refused(tap("--test", config={**VALID, "region": "asia"}), "region must be one of us, eu, au, not 'asia'")


def refused(run: Run, reason: str) -> None:
    """Check that a run ended before its first request, with one line that says why, and without the secret."""
    assert run.status == 1
    assert run.out == ""
    (error,) = run.errors
    assert error.startswith(reason)
    assert "Traceback" not in run.log
    assert SECRET not in run.log


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "https://api.wootric.com"),
        ({"region": "eu"}, "https://api.wootric.eu"),
        ({"account_token": "NPS-AU-1a2b"}, "https://api.wootric.au"),
        ({"account_token": "NPS-EU-1a2b", "region": "eu"}, "https://api.wootric.eu"),
        ({"account_token": "NPS-1a2b"}, "https://api.wootric.com"),
        ({"region": "au", "api_url": "http://localhost:8080/wootric/"}, "http://localhost:8080/wootric"),
    ],
)
def test_region_or_account_token_selects_the_host_unless_api_url_is_set(settings: dict[str, Any], host: str) -> None:
    tap_ = TapWootric(config={"client_id": "id", "client_secret": SECRET, **settings})
    assert tap_.client.url == host
    assert tap_.authenticator.auth_endpoint == f"{host}/oauth/token"


def test_an_invalid_number_in_the_environment_is_refused_with_one_line() -> None:
    run = tap("--config", "ENV", config=VALID, env={"TAP_WOOTRIC_LOOKBACK_WINDOW": "five"})
    refused(run, "lookback_window (from TAP_WOOTRIC_LOOKBACK_WINDOW) must be a whole number")


def test_a_misspelt_setting_in_the_environment_is_logged() -> None:
    with Sandbox(Account(1)) as sandbox:
        run = tap("--config", "ENV", config=sandbox.config, env={"TAP_WOOTRIC_STRAT_DATE": "2025-01-01"})
    warning = "Ignoring unknown setting TAP_WOOTRIC_STRAT_DATE; did you mean TAP_WOOTRIC_START_DATE?"
    assert warning in run.log
    assert run.log.count("Ignoring") == 1


def test_invalid_json_in_the_environment_is_refused_with_one_line() -> None:
    run = tap("--config", "ENV", config=VALID, env={"TAP_WOOTRIC_STREAM_MAPS": "{"})
    refused(run, "stream_maps (from TAP_WOOTRIC_STREAM_MAPS) must be JSON")


@pytest.mark.parametrize("unset", [{"start_date": None, "lookback_window": None}, {"start_date": "", "region": ""}])
def test_a_null_or_empty_setting_counts_as_not_set(unset: dict[str, Any]) -> None:
    with Sandbox(Account(1)) as sandbox:
        run = tap(config={**sandbox.config, **unset})
    assert len(run.records("end_users")) == 1


@pytest.mark.parametrize("option", ["--config", "--state", "--catalog"])
@pytest.mark.parametrize("content", ["{", "", "[1]", '{"end_users": NaN}'])
def test_a_file_without_a_json_object_is_refused_with_one_line(option: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / "given.json"
    file.write_text(content)
    refused(tap(option, str(file), config=VALID), f"Invalid {option} file: ")


@pytest.mark.parametrize("option", ["--config", "--state", "--catalog"])
def test_a_missing_file_is_named(option: str, tmp_path: Path) -> None:
    run = tap(option, str(tmp_path / "missing.json"), config=VALID)
    assert run.status == (1 if option == "--config" else 2)
    assert "missing.json" in run.log.splitlines()[-1]
    assert "Traceback" not in run.log


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"bookmarks": [1]}, "Invalid state: bookmarks must be a JSON object"),
        ({"bookmarks": {"end_users": "x"}}, "Invalid state: the bookmark of end_users must be a JSON object"),
        ({"end_users": "lately"}, "Invalid state: the bookmark of end_users is not a timestamp"),
        (
            {"bookmarks": {"end_users": {"replication_key_value": "lately"}}},
            "Invalid state: the bookmark of end_users is not a timestamp",
        ),
        (
            {"bookmarks": {"end_users": {"replication_key": "id", "replication_key_value": 7}}},
            "Invalid state: the bookmark of end_users is not a value of updated_at",
        ),
        (VALID, 'Invalid state: it has neither "bookmarks" nor a stream\'s name, but '),
        ({"streams": []}, "Invalid state: it is a catalog"),
    ],
)
def test_an_invalid_state_is_refused_with_one_line(state: Any, reason: str) -> None:
    refused(tap(config=VALID, state=state), reason)


@pytest.mark.parametrize(
    "state",
    [
        {"end_users": "2025-06-01T02:00:00+02:00"},
        {"bookmarks": {"end_users": {"updated_at": "2025-06-01T00:00:00.000000Z"}}},
        {"bookmarks": {"end_users": {"replication_key": "updated_at", "replication_key_value": "2025-06-01"}}},
        {"type": "STATE", "value": {"end_users": "2025-06-01"}},
        {"singer_state": {"bookmarks": {"end_users": {"updated_at": "2025-06-01"}}}},
    ],
    ids=["singer-io's tap", "singer-python", "the SDK", "a STATE message", "Meltano"],
)
def test_a_sync_continues_from_a_state_in_any_known_format(state: Any) -> None:
    with Sandbox(Account(100)) as sandbox:
        run = tap(config=sandbox.config, state=state)
    updates = [updated_at for updated_at, _ in sandbox.account.end_users.versions().values()]
    expected = sorted(updated_at for updated_at in updates if updated_at >= "2025-06-01T00:00:00Z")
    assert [record["updated_at"] for record in run.records("end_users")] == expected


@pytest.mark.parametrize("is_message", [False, True])
def test_a_misspelt_stream_in_a_state_is_logged(is_message: bool) -> None:  # noqa: FBT001
    state: dict[str, Any] = {"end_user": "2025-06-01", "bookmarks": {"response": {}}}
    with Sandbox(Account(1)) as sandbox:
        run = tap(config=sandbox.config, state={"type": "STATE", "value": state} if is_message else state)
    assert "Ignoring unknown streams in the state: end_user, response" in run.log


@pytest.mark.parametrize(
    "catalog",
    [
        {},
        {"streams": None},
        {"streams": [1]},
        {"streams": [{"stream": "end_users"}]},
        {"streams": [{"tap_stream_id": "end_users", "metadata": 7}]},
        {"streams": [{"tap_stream_id": "end_users", "metadata": [{"metadata": {}}]}]},
        {"streams": [{"tap_stream_id": "end_users", "schema": 7}]},
        {"streams": [{"tap_stream_id": "end_users", "replication_method": "LOG_BASED"}]},
        {
            "streams": [
                {
                    "tap_stream_id": "end_users",
                    "metadata": [{"breadcrumb": [], "metadata": {"replication-method": "full_table"}}],
                }
            ]
        },
    ],
)
def test_an_invalid_catalog_is_refused_with_one_line(catalog: Any) -> None:
    refused(tap(config=VALID, catalog=catalog), "Invalid catalog: ")


def test_an_unknown_setting_is_logged() -> None:
    with Sandbox(Account(1)) as sandbox:
        run = tap(config={**sandbox.config, "comment": "nightly"})
    assert run.status == 0
    assert "Ignoring unknown setting comment" in run.log


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (
            {"stream_maps": {"end_users": {"emial": "__NULL__"}}},
            "stream_maps: end_users.emial cannot be removed: emial is not a property of end_users; did you mean email?",
        ),
        (
            {"stream_maps": {"responses": {"end_user.email": "__NULL__"}}},
            "stream_maps: responses.end_user.email is a field inside of end_user, and maps only reach whole properties",
        ),
        (
            {"stream_maps": {"end_users": {"hash": "md5(emial)"}}},
            "stream_maps: the expression for end_users.hash names",
        ),
        ({"stream_maps": {"end_userz": {"email": None}}}, "stream_maps: end_userz is not a stream; did you mean"),
        ({"faker_config": {"locale": "xx_XX"}}, "faker_config: Invalid configuration for faker locale `xx_XX`"),
    ],
)
def test_a_stream_map_that_names_what_is_not_there_is_refused(settings: dict[str, Any], complaint: str) -> None:
    refused(tap(config={**VALID, **settings}), complaint)


@pytest.mark.parametrize(
    ("expression", "reason"), [("md5(email)", "NameNotDefined: email"), ("md5(record['email'])", "KeyError: 'email'")]
)
def test_an_expression_that_reads_a_deselected_property_fails_on_the_first_record(expression: str, reason: str) -> None:
    catalog = selecting("end_users")
    metadata = next(entry["metadata"] for entry in catalog["streams"] if entry["tap_stream_id"] == "end_users")
    email = next(item["metadata"] for item in metadata if item["breadcrumb"] == ["properties", "email"])
    email["selected"] = False
    with Sandbox(Account(3)) as sandbox:
        run = tap(config={**sandbox.config, "stream_maps": {"end_users": {"hash": expression}}}, catalog=catalog)
    line = "end_users: stream_maps: the expression for end_users.hash failed on a record"
    assert (run.status, run.errors) == (1, [f"{line} ({reason})"])
    assert run.records("end_users") == []
    assert "@example.com" not in run.log


@pytest.mark.parametrize("name", ["declines", "*"])
def test_a_map_may_be_for_streams_that_are_not_selected(name: str) -> None:
    with Sandbox(Account(3, 3, declines=3)) as sandbox:
        config = {**sandbox.config, "stream_maps": {name: {"created_at": None}}}
        default, one = tap(config=config), tap(config=config, catalog=selecting("end_users"))
    for run in (default, one):
        assert (run.status, run.errors) == (0, [])
        assert len(run.records("end_users")) == 3
        assert all(("created_at" in record) == (name != "*") for record in run.records("end_users"))
    assert not any("created_at" in record for record in default.records("declines"))


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        ("None", lambda _: None),
        (
            "sha256(config['salt'] + end_user['email']) if end_user['email'] else None",
            lambda email: hashlib.sha256(f"pepper{email}".encode()).hexdigest(),
        ),
    ],
)
@pytest.mark.parametrize("is_flattened", [False, True])
def test_a_nested_field_can_be_emptied_or_hashed(
    email: str,
    expected: Callable[[str], Any],
    is_flattened: bool,  # noqa: FBT001
) -> None:
    maps = {"responses": {"end_user": f"{{**end_user, 'email': {email}}} if end_user else None"}}
    with Sandbox(Account(3, 20)) as sandbox:
        settings = {
            "stream_maps": maps,
            "stream_map_config": {"salt": "pepper"},
            "flattening_enabled": is_flattened,
            "flattening_max_depth": 2,
        }
        run = tap(config={**sandbox.config, **settings}, catalog=selecting("responses"))
        plain = tap(config=sandbox.config, catalog=selecting("responses"))
    assert run.status == 0
    assert "@example.com" not in run.out
    emails = {record["id"]: record["end_user"]["email"] for record in plain.records("responses")}
    assert len(run.records("responses")) == len(emails) == 20
    for record in run.records("responses"):
        value = record["end_user__email"] if is_flattened else record["end_user"]["email"]
        assert value == expected(emails[record["id"]])


def test_a_catalog_can_leave_out_a_nested_field() -> None:
    catalog = selecting("responses")
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if item["breadcrumb"] == ["properties", "end_user", "properties", "email"]:
                item["metadata"]["selected"] = False
    with Sandbox(Account(3, 20)) as sandbox:
        run = tap(config=sandbox.config, catalog=catalog)
    assert len(run.records("responses")) == 20
    assert "@example.com" not in run.out
    assert "email" not in run.of_type("SCHEMA", "responses")[0]["schema"]["properties"]["end_user"]["properties"]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("int(email) if email else None", "ValueError"),
        ("properties['nothing']", "KeyError: 'nothing'"),
        ("email.none", "AttributeDoesNotExist: none"),
        ("fake.random.ipv5()", "AttributeDoesNotExist: ipv5"),
    ],
)
def test_a_stream_map_that_fails_on_a_row_ends_its_stream_without_showing_the_row(expression: str, why: str) -> None:
    with Sandbox(Account(3, 3)) as sandbox:
        run = tap(config={**sandbox.config, "stream_maps": {"end_users": {"external_id": expression}}})
    assert run.status == 1
    assert run.errors == [
        f"end_users: stream_maps: the expression for end_users.external_id failed on a record ({why})"
    ]
    assert len(run.records("responses")) == 3
    assert "Traceback" not in run.log
    assert "@example.com" not in run.log


@pytest.mark.parametrize("metadata", [None, [], [{"breadcrumb": ["properties", "email"], "metadata": {}}]])
def test_a_catalog_entry_without_metadata_keeps_all_fields(metadata: Any) -> None:
    entry = {"tap_stream_id": "end_users", "metadata": metadata}
    with Sandbox(Account(3)) as sandbox:
        run = tap(config=sandbox.config, catalog={"streams": [entry]})
        assert run.records("end_users") == tap(config=sandbox.config).records("end_users")
    assert len(run.records("end_users")) == 3


def test_an_unknown_stream_in_a_catalog_is_logged_and_no_selected_stream_is_an_error() -> None:
    typo = {"tap_stream_id": "end_user", "metadata": []}
    with Sandbox(Account(3)) as sandbox:
        run = tap(config=sandbox.config, catalog={"streams": [typo, {"tap_stream_id": "declines"}]})
        nothing = tap(config=sandbox.config, catalog={"streams": [typo]})
        deselected = tap(config=sandbox.config, catalog=selecting())
    assert run.status == 0
    for one in (run, nothing):
        assert "Ignoring unknown stream in the catalog: end_user" in one.log
    for one in (nothing, deselected):
        refused(one, "No stream is selected: ")


def test_get_records_starts_where_a_sync_starts() -> None:
    with Sandbox(Account(0, 300)) as sandbox:
        config = {**sandbox.config, "start_date": "2025-06-01"}
        streams: Any = TapWootric(config=config, state={"nps_summary": "2025-12-30"}).streams
        responses = [*streams["responses"].get_records(None)]
        first_day = next(iter(streams["nps_summary"].get_records(None)))
        synced = tap(config=config).records("responses")
    assert [record["id"] for record in responses] == [record["id"] for record in synced]
    assert 0 < len(responses) < 300
    assert first_day["date"] == "2025-12-30"


def test_inline_settings_are_refused_without_being_printed() -> None:
    refused(tap("--config", json.dumps(VALID)), "--config expects the path of a file or ENV, not the settings")


def test_a_future_bookmark_is_refused_with_one_line() -> None:
    with Sandbox(Account(1, 1)) as sandbox:
        run = tap(config=sandbox.config, state={"end_users": "2099-01-01T00:00:00Z"})
    assert run.status == 1
    [error] = run.errors
    assert error.startswith("end_users: the bookmark 2099-01-01T00:00:00Z is in the future")
    assert "Traceback" not in run.log
    assert run.records("end_users") == []
    assert run.bookmark("end_users") == "2099-01-01T00:00:00Z"
    assert len(run.records("responses")) == 1


def test_the_catalog_equals_its_snapshot() -> None:
    """A changed schema is a changed table: the snapshot makes it a diff that somebody reads."""
    snapshot = Path(__file__).parent / "catalog.json"
    assert json.dumps(catalog_of(), indent=2, sort_keys=True) + "\n" == snapshot.read_text()


_ACCOUNT = Sandbox(Account(20, 20, declines=20))


@pytest.fixture(scope="module", autouse=True)
def _served() -> Any:
    with _ACCOUNT:
        yield


_EVERYTHING = TapWootric(config=VALID).catalog_dict
for _entry in _EVERYTHING["streams"]:
    _entry["metadata"] = [{"breadcrumb": [], "metadata": {"selected": True}}]

TestSdk = get_tap_test_class(
    TapWootric,
    catalog=_EVERYTHING,
    config=_ACCOUNT.config,
    parse_env_config=False,
    suite_config=SuiteConfig(max_records_limit=20),
)
