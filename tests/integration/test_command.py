"""The command prints what its options promise, and refuses invalid input with one line before the first request."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class

from tap_wootric.streams import STREAMS
from tap_wootric.tap import TapWootric
from tests.programs import run as run_program
from tests.tap import Run, selecting, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW
from tools.sandbox.server import Clock

SECRET = "s3cr3t-in-any-form"  # noqa: S105 - It opens nothing.
VALID = {"client_id": "id", "client_secret": SECRET, "api_url": "http://127.0.0.1:9"}
"""Valid settings, except that nothing listens at that address."""


def test_discover_needs_neither_settings_nor_the_api() -> None:
    run = tap("--discover")
    assert run.status == 0
    assert run.errors == []
    keys = ("tap_stream_id", "key_properties", "replication_key", "replication_method")
    catalog = json.loads(run.out)
    assert [
        (*(entry.get(key) for key in keys), is_selected_by_default(entry["metadata"])) for entry in catalog["streams"]
    ] == [
        ("declines", ["id"], "updated_at", "INCREMENTAL", True),
        ("email_sources", ["kind", "id"], None, "FULL_TABLE", False),
        ("email_stats", ["date"], "date", "INCREMENTAL", False),
        ("end_users", ["id"], "updated_at", "INCREMENTAL", True),
        ("nps_summary", ["date"], "date", "INCREMENTAL", False),
        ("responses", ["id"], "updated_at", "INCREMENTAL", True),
        ("segments", ["name"], None, "FULL_TABLE", False),
        ("survey_templates", ["id"], None, "FULL_TABLE", False),
    ]
    assert json.loads(tap("--discover", config=VALID).out) == catalog


def is_selected_by_default(metadata: list[dict[str, Any]]) -> bool:
    (root,) = [item["metadata"] for item in metadata if not item["breadcrumb"]]
    assert root["selected"] == root["selected-by-default"]
    return bool(root["selected"])


def test_about_lists_every_setting_in_every_format() -> None:
    text = tap("--about").out
    markdown = tap("--about", "--format", "markdown").out
    about = json.loads(tap("--about", "--format", "json").out)
    assert about["description"]
    assert "batch" not in about["capabilities"]  # Signals would lose rows.
    for name in TapWootric.config_jsonschema["properties"]:
        assert name in text
        assert f"| {name} " in markdown
        assert about["settings"]["properties"][name]["description"]


def test_the_installed_command_and_the_package_can_be_run() -> None:
    installed = run_program("tap-wootric", "--version")
    package = run_program(sys.executable, "-m", "tap_wootric", "--version")
    assert (installed.returncode, package.returncode) == (0, 0)
    assert installed.stdout.startswith("tap-wootric v")
    assert package.stdout == installed.stdout == tap("--version").out


# --test


def test_test_reads_a_row_of_each_selected_stream_with_one_request() -> None:
    usual = ["declines", "end_users", "responses"]
    others = [name for name in sorted(STREAMS) if name not in usual]
    with Sandbox(Account(60, 60, emails=60)) as sandbox:
        for names, catalog in ((usual, None), (others, selecting(*others))):
            run = tap("--test", config=sandbox.config, catalog=catalog)
            assert (run.status, run.out) == (0, "")
            rows = {name: "but has no rows" if name == "declines" else "read 1 row" for name in names}
            assert logged(run) == [f"{name}: works, {found}" for name, found in rows.items()]
            asked = [request.path for request in sandbox.requests[-len(names) :]]
            assert asked == [STREAMS[name].path for name in names]
    assert len(sandbox.requests) == len(STREAMS) + 2  # For the tokens.


def test_test_of_the_schemas_prints_them_without_a_request() -> None:
    run = tap("--test=schema", config=VALID)
    assert run.status == 0
    assert [message["type"] for message in run.messages] == ["SCHEMA"] * 8


def test_test_fails_soon_if_the_connection_is_refused() -> None:
    run = tap("--test", config=VALID, sleepless=True)
    assert run.status == 1
    assert sum(run.slept) < 10
    [error] = run.errors
    assert error.startswith("Access token: http://127.0.0.1:9/oauth/token could not be reached (Connection refused). ")


# The log


def logged(run: Run) -> list[str]:
    """Return the lines of a log without their times, levels and loggers."""
    return [line.split(" | ", 3)[-1] for line in run.log.splitlines()]


def counted(requests: int) -> str:
    return f"{requests} request{'' if requests == 1 else 's'}"


def newest(run: Run, stream: str, key: str) -> str:
    return f"{max(record[key] for record in run.records(stream))[:19]}Z"


def test_a_sync_logs_two_lines_for_each_stream_and_one_for_all() -> None:
    with Sandbox(Account(60, 1, declines=0)) as sandbox:
        run = tap(config=sandbox.config)
    users, responses = newest(run, "end_users", "updated_at"), newest(run, "responses", "created_at")
    spent = "and less than 1 s"
    requests = {name: len(sandbox.pages(name)) for name in ("declines", "end_users", "responses")}
    total = len(sandbox.requests)
    assert total == sum(requests.values()) + 1  # For the token.
    assert logged(run) == [
        "declines: incremental sync from 2024-01-01T00:00:00Z",
        f"declines: done, 0 rows in {counted(requests['declines'])} {spent}",
        "end_users: incremental sync from 2024-01-01T00:00:00Z",
        f"end_users: done, 60 rows in {counted(requests['end_users'])} {spent}, up to {users}",
        "responses: incremental sync from 2024-01-01T00:00:00Z",
        f"responses: done, 1 row in {counted(requests['responses'])} {spent}, up to {responses}",
        f"Sync done: 3 streams, 61 rows in {counted(total)} {spent}",
    ]


def test_each_line_of_a_stream_names_it_even_when_requests_are_retried_or_limited() -> None:
    with Sandbox(Account(300), Clock(NOW, step=15), limit=2) as sandbox:
        sandbox.fault = lambda path, n: "502" if path == "/v1/end_users" and n == 2 else ""
        run = tap(config=sandbox.config, catalog=selecting("end_users"), sleepless=True, now=NOW)
    lines = [line for line in logged(run) if not line.startswith("SLEPT")]
    assert any("Retrying in" in line for line in lines)
    assert any(line.startswith("/v1/end_users: waiting ") for line in lines)
    assert all(line.removeprefix("/v1/").startswith("end_users: ") for line in lines[:-1])
    assert lines[-1].startswith(f"Sync done: 1 stream, 300 rows in {len(sandbox.requests)} requests")


def test_the_sdks_own_lines_and_metrics_appear_at_level_debug() -> None:
    with Sandbox(Account(1)) as sandbox:
        run = tap(config=sandbox.config, env={"TAP_WOOTRIC_LOGLEVEL": "DEBUG"})
    for line in ("Beginning sync of 'end_users'", "Skipping deselected stream", 'METRIC: {"type":"counter"'):
        assert line in run.log


def test_a_logging_config_sends_the_metrics_into_a_file(tmp_path: Path) -> None:
    metrics = {"class": "logging.FileHandler", "filename": str(tmp_path / "metrics.log")}
    loggers = {"singer_sdk.metrics": {"handlers": ["metrics"], "level": "INFO", "propagate": False}}
    config = {"version": 1, "disable_existing_loggers": False, "handlers": {"metrics": metrics}, "loggers": loggers}
    (tmp_path / "logging.yml").write_text(json.dumps(config))
    with Sandbox(Account(120)) as sandbox:
        run = tap(config=sandbox.config, env={"SINGER_SDK_LOG_CONFIG": str(tmp_path / "logging.yml")})
    assert "METRIC" not in run.log
    assert '"metric":"record_count"' in (tmp_path / "metrics.log").read_text()


# Settings, states and catalogs: the unit tests cover every mistake


def test_settings_come_from_files_and_the_environment_and_misspelled_ones_are_logged() -> None:
    with Sandbox(Account(3)) as sandbox:
        settings: dict[str, Any] = {**sandbox.config, "region": None, "comment": "nightly"}
        env = {"TAP_WOOTRIC_CLIENT_SECRET": settings.pop("client_secret"), "TAP_WOOTRIC_STRAT_DATE": "2025-01-01"}
        catalog = {"streams": [{"tap_stream_id": name} for name in ("response", "end_users")]}
        run = tap("--config", "ENV", config=settings, env=env, state={"bookmarks": {"end_user": {}}}, catalog=catalog)
    assert len(run.records("end_users")) == 3
    assert sorted(line for line in logged(run) if line.startswith("Ignoring")) == [
        "Ignoring unknown setting TAP_WOOTRIC_STRAT_DATE; did you mean TAP_WOOTRIC_START_DATE?",
        "Ignoring unknown setting comment",
        "Ignoring unknown stream in the catalog: response",
        "Ignoring unknown stream in the state: end_user",
    ]


MAY = {**VALID, "start_date": "2025-05-01"}
JANUARY = 1_735_689_600
EMIAL = {"end_users": {"emial": "__NULL__"}}
BY_LOG = {"streams": [{"tap_stream_id": "end_users", "replication_method": "LOG_BASED"}]}


@pytest.mark.parametrize(
    ("arguments", "options", "reason"),
    [
        ([], {"config": {**VALID, "client_secret": f"{SECRET}\n"}}, "client_secret contains a non-printable"),
        ([], {"config": MAY, "now": JANUARY}, "start_date is in the future"),
        (["--test"], {"config": {**VALID, "client_secert": SECRET}}, "Unknown setting client_secert; did you mean"),
        (["--config", "ENV"], {"env": {"TAP_WOOTRIC_STREAM_MAPS": "{"}}, "stream_maps must be a JSON object: "),
        (["--test=shcema"], {"config": VALID}, "--test must be all or schema, not 'shcema'"),
        (["--config", json.dumps(VALID)], {}, "--config expects the path of a file or ENV, not the settings"),
        ([], {"config": VALID, "state": VALID}, 'Invalid state: it has neither "bookmarks" nor a stream\'s name'),
        ([], {"config": VALID, "state": [1]}, "Invalid --state file: it is not a JSON object"),
        ([], {"config": VALID, "catalog": BY_LOG}, "Invalid catalog: the replication method of end_users must be"),
        ([], {"config": VALID, "catalog": {"streams": []}}, "No stream is selected: "),
        ([], {"config": {**VALID, "stream_maps": EMIAL}}, "stream_maps: end_users.emial cannot be removed: "),
    ],
)
def test_invalid_input_is_refused_with_one_line(arguments: list[str], options: dict[str, Any], reason: str) -> None:
    run = tap(*arguments, **options)
    assert run.status == 1
    assert run.out == ""
    (error,) = run.errors
    assert error.startswith(reason)
    assert "Traceback" not in run.log
    assert SECRET not in run.log


@pytest.mark.parametrize(("option", "status"), [("--config", 1), ("--state", 2)])
def test_a_missing_file_is_named(option: str, status: int, tmp_path: Path) -> None:
    run = tap(option, str(tmp_path / "missing.json"), config=VALID)
    assert run.status == status
    assert "missing.json" in run.log.splitlines()[-1]
    assert "Traceback" not in run.log


def test_a_sync_continues_from_a_state_of_another_tap() -> None:
    with Sandbox(Account(100)) as sandbox:
        run = tap(config=sandbox.config, state={"end_users": "2025-06-01T02:00:00+02:00"})
    updates = [updated_at for updated_at, _ in sandbox.account.end_users.versions().values()]
    expected = sorted(updated_at for updated_at in updates if updated_at >= "2025-06-01T00:00:00Z")
    assert [record["updated_at"] for record in run.records("end_users")] == expected


def test_a_state_of_another_host_is_refused_without_a_request_until_it_is_removed() -> None:
    catalog = selecting("end_users")
    with Sandbox(Account(10)) as sandbox:
        state = tap(config=sandbox.config, catalog=catalog).state
        asked = len(sandbox.requests)
        config = {**sandbox.config, "api_url": sandbox.url.replace("127.0.0.1", "localhost")}
        refused = tap(config=config, state=state, catalog=catalog)
        assert (refused.status, refused.out, len(refused.log.splitlines())) == (1, "", 1)
        assert "The state belongs to 127.0.0.1, but the settings name localhost. If that is" in refused.log
        assert len(sandbox.requests) == asked
        del state["account"]
        assert tap(config=config, state=state, catalog=catalog).state["account"]["host"] == "localhost"


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


# Stream maps


def test_an_expression_that_reads_a_deselected_property_fails_on_the_first_record_without_showing_it() -> None:
    catalog = selecting("end_users", "responses")
    metadata = next(entry["metadata"] for entry in catalog["streams"] if entry["tap_stream_id"] == "end_users")
    email = next(item["metadata"] for item in metadata if item["breadcrumb"] == ["properties", "email"])
    email["selected"] = False
    maps = {"end_users": {"hash": "md5(record['email'])"}}
    with Sandbox(Account(3, 3)) as sandbox:
        run = tap(config={**sandbox.config, "stream_maps": maps}, catalog=catalog)
    line = "end_users: stream_maps: the expression for end_users.hash failed on a record"
    assert (run.status, run.errors) == (1, [f"{line} (KeyError: 'email')"])
    assert (len(run.records("end_users")), len(run.records("responses"))) == (0, 3)
    assert "@example.com" not in run.log


def test_a_nested_field_can_be_hashed_and_flattened() -> None:
    email = "sha256(config['salt'] + end_user['email']) if end_user['email'] else None"
    settings = {
        "stream_maps": {"responses": {"end_user": f"{{**end_user, 'email': {email}}} if end_user else None"}},
        "stream_map_config": {"salt": "pepper"},
        "flattening_enabled": True,
        "flattening_max_depth": 2,
    }
    with Sandbox(Account(3, 20)) as sandbox:
        run = tap(config={**sandbox.config, **settings}, catalog=selecting("responses"))
    assert run.status == 0
    assert "@example.com" not in run.out
    emails = {row.id: row.body["end_user"]["email"] for row in sandbox.account.responses.rows.values()}
    assert {record["id"]: record["end_user__email"] for record in run.records("responses")} == {
        row_id: mail and hashlib.sha256(f"pepper{mail}".encode()).hexdigest() for row_id, mail in emails.items()
    }


# The SDK's own tests of taps

pytest_plugins = ["singer_sdk.testing.pytest_plugin"]
_ACCOUNT = Sandbox(Account(60, 60, declines=60), Clock(NOW))


@pytest.fixture(scope="session", autouse=True)  # Processes of pytest may come back to a module: a server starts once.
def _served() -> Any:
    with _ACCOUNT:
        yield


_EVERYTHING = TapWootric(config=VALID).catalog_dict
for _entry in _EVERYTHING["streams"]:
    _entry["metadata"] = [{"breadcrumb": [], "metadata": {"selected": True}}]

TestSdk = get_tap_test_class(
    TapWootric,
    catalog=_EVERYTHING,
    config={**_ACCOUNT.config, "start_date": "2025-10-01"},  # Some days and some rows.
    parse_env_config=False,
    suite_config=SuiteConfig(max_records_limit=20),
)
# No row of the account has fields for extra_fields.
TestSdk = pytest.mark.filterwarnings("ignore:No records were available to test")(TestSdk)
