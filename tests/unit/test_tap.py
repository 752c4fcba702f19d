"""The tap checks what it is given before the first request, and writes a state whatever ends a sync."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import ConfigValidationError

from tap_wootric.api.responses import ApiUnavailableError
from tap_wootric.messages import OutputError
from tap_wootric.streams import STREAMS
from tap_wootric.tap import FailedStreamsError, TapWootric
from tests.unit.api.fakes import response
from tests.unit.fakes import CONFIG, NOW, Answer, catalog_of, make_tap, messages, row, serving


def test_settings_are_read_once_and_seen_by_the_sdk_with_their_defaults() -> None:
    given: dict[str, Any] = {
        "account_token": "NPS-EU-1a2b",
        "start_date": "2024-01-01",
        "region": None,
        "batch_config": {},
    }
    tap = TapWootric(config={**CONFIG, **given})
    assert tap.settings is tap.settings
    assert tap.client is tap.client
    assert tap.settings.api_url == "https://api.wootric.eu"
    assert tap.settings.user_agent == f"tap-wootric/{tap.plugin_version}"
    assert tap.config["start_date"] == "2024-01-01T00:00:00Z"
    assert tap.config["lookback_window"] == 300
    assert not {"region", "batch_config"} & tap.config.keys()  # A state could be ahead of the rows of a batch.


def test_a_catalog_may_be_the_one_of_another_tap() -> None:
    catalog = make_tap().catalog
    catalog["end_users"].replication_method = "FULL_TABLE"
    tap = make_tap(catalog=catalog)
    assert [tap.streams[name].replication_method for name in ("end_users", "responses")] == [
        "FULL_TABLE",
        "INCREMENTAL",
    ]


def test_a_dotenv_file_above_the_package_does_not_override_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    file.write_text("TAP_WOOTRIC_REGION=au")
    monkeypatch.setattr("singer_sdk.configuration._dict_config.find_dotenv", lambda: str(file))
    monkeypatch.setenv("TAP_WOOTRIC_REGION", "eu")
    tap = TapWootric(config=dict(CONFIG), parse_env_config=True)
    assert tap.config["region"] == "eu"


# A sync


@pytest.mark.parametrize("how", ["sync_all", "run_connection_test"])
def test_it_is_an_error_if_no_stream_is_selected(how: str) -> None:
    tap = make_tap(catalog=catalog_of(make_tap()))
    with pytest.raises(ConfigValidationError) as raised:
        getattr(tap, how)()
    (line,) = raised.value.errors
    assert line.startswith("No stream is selected: ")


INNER = {"id": 2, "survey": {"channel": "web"}, "properties": {"plan": {"seats": 5}}, "email_nps": True, "new": [1]}
OBJECTS: dict[str, Any] = dict.fromkeys(("end_user", "last_response", "settings", "properties"), INNER)
ROWS: list[dict[str, Any]] = [
    {**row(number, NOW - 1_000), "name": f"name {number}", **objects}
    for number, objects in enumerate((OBJECTS, dict.fromkeys(OBJECTS), {}))
]
"""Rows with nested objects, with nulls in their place, and without them."""


def all_streams(path: str, params: Mapping[str, Any]) -> requests.Response:
    """Return a response of an API that has rows of each stream."""
    match path:
        case "/v1/nps_summary":
            return response(content={"responses": 1, **OBJECTS})
        case "/v2/email_stats":
            return response(content={"email_stats": {"emails_sent": 1, **OBJECTS}, "initial_send": INNER})
        case "/v2/email_stats/sources":
            return response(content={"ongoing": ROWS, "sends": []})
        case "/v1/segments":
            return response(content=ROWS)
        case "/v1/survey_templates":
            return response(content={"survey_templates": ROWS})
        case _ if "sort_key" in params:
            return serving(ROWS)(path, params)
        case _:
            pytest.fail(f"all_streams has no response for {path}: add one")


NEEDED = ("created_at", "updated_at", "responses", "send_requests", "emails_sent")


@pytest.mark.parametrize("levels", [None, 0, 1, 2])
@pytest.mark.parametrize(("method", "lacks"), [("INCREMENTAL", ()), ("INCREMENTAL", NEEDED), ("FULL_TABLE", NEEDED)])
def test_every_record_has_the_fields_of_its_schema_and_no_others_even_if_the_catalog_lacks_some_or_they_are_flattened(
    levels: int | None, method: str, lacks: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = catalog_of(make_tap(), *STREAMS, **{"replication-method": method})
    for entry in catalog["streams"]:
        for name in lacks:
            entry["schema"]["properties"].pop(name, None)
    flattening = {} if levels is None else {"flattening_enabled": True, "flattening_max_depth": levels}
    make_tap(all_streams, catalog=catalog, start_date="2025-01-15", **flattening).sync_all()
    written = messages(capsys.readouterr().out)
    schemas = {found["stream"]: found["schema"]["properties"] for found in written if found["type"] == "SCHEMA"}
    records = [(found["stream"], found["record"]) for found in written if found["type"] == "RECORD"]
    assert {stream for stream, _ in records} == schemas.keys() == STREAMS.keys()
    for stream, record in records:
        assert record.keys() == schemas[stream].keys()
        assert not {*lacks} & record.keys() - {STREAMS[stream].replication_key}
    nested = [name for schema in schemas.values() for name in schema if "__" in name]
    assert ("last_response__survey__channel" in nested) == (levels == 2)  # Otherwise nothing was flattened.


def failing(**errors: requests.Response | Exception) -> Answer:
    """Return an API with three rows in each list, except that some streams meet an error."""
    rows = [row(number, NOW - 1_000 - number) for number in range(3)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        error = errors.get(path.removeprefix("/v1/"))
        if isinstance(error, Exception):
            raise error
        return serving(rows)(path, params) if error is None else error

    return answer


def denied(stream: str, status: int = 403) -> str:
    shown = {403: "403 Forbidden", 404: "404 Not Found"}[status]
    return f"{stream}: the account cannot read it ({shown} for /v1/responses): deselect it, or ask Wootric for access"


@pytest.mark.parametrize(
    ("errors", "lines"),
    [
        ({"declines": response(403, {})}, [denied("declines")]),
        (
            {"declines": response(404, {}), "end_users": response(400, {})},
            [denied("declines", 404), "end_users: 400 Bad Request for /v1/responses"],
        ),
    ],
)
def test_streams_that_fail_have_a_line_each_when_the_others_are_done(
    errors: dict[str, requests.Response],
    lines: list[str],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    tap = make_tap(failing(**errors))
    with pytest.raises(FailedStreamsError) as raised:
        tap.sync_all()
    assert raised.value.errors == lines
    written = messages(capsys.readouterr().out)
    rows = sum(message["type"] == "RECORD" for message in written)
    assert rows == 3 * (3 - len(errors))
    assert written[-1]["type"] == "STATE"
    bookmarks = written[-1]["value"]["bookmarks"].items()
    assert {name for name, bookmark in bookmarks if not bookmark} == errors.keys()
    line = (
        f"Sync incomplete: {3 - len(errors)} of 3 streams done, {rows} rows in {len(tap.client.requests)} requests and"
    )
    assert caplog.messages[-1] == f"{line} less than 1 s; not done: {', '.join(errors)}"


def test_a_setting_that_a_stream_lacks_only_fails_that_stream() -> None:
    tap = make_tap(failing(), catalog=catalog_of(make_tap(), "responses", "nps_summary"))
    with pytest.raises(FailedStreamsError) as raised:
        tap.sync_all()
    assert raised.value.errors == ["start_date is not set: nps_summary needs it as its first day"]
    assert {path for path, _ in tap.client.requests} == {"/v1/responses"}


def test_an_expression_that_fails_on_a_record_only_fails_its_stream_and_writes_its_state(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [row(number, NOW - 10_000 + number) for number in range(120)]
    maps = {"declines": {"extra": "1 // (id - 70)"}}
    tap = make_tap(serving(rows), stream_maps=maps, catalog=catalog_of(make_tap(), "declines", "end_users"))
    with pytest.raises(FailedStreamsError) as raised:
        tap.sync_all()
    [line] = raised.value.errors
    assert line.startswith("declines: stream_maps: the expression for declines.extra failed on a record (")
    written = messages(capsys.readouterr().out)
    of_declines = [message for message in written if message.get("stream") == "declines"]
    assert len([message for message in of_declines if message["type"] == "RECORD"]) == 70
    assert len([message for message in written if message["type"] == "RECORD"]) == 190
    after = written[written.index(of_declines[-1]) + 1]
    assert after["type"] == "STATE"
    assert after["value"]["bookmarks"]["declines"]["replication_key_value"] == rows[70]["updated_at"]


def test_an_api_that_cannot_be_used_ends_the_sync_at_once_after_the_lines_of_the_streams_that_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tap = make_tap(failing(declines=response(403, {}), end_users=ApiUnavailableError("Wootric rejected you")))
    with pytest.raises(FailedStreamsError) as raised:
        tap.sync_all()
    assert raised.value.errors == [denied("declines"), "Wootric rejected you"]
    assert {path for path, _ in tap.client.requests} == {"/v1/declines", "/v1/end_users"}
    assert messages(capsys.readouterr().out)[-1]["type"] == "SCHEMA"


@pytest.mark.parametrize("error", [ZeroDivisionError(), OutputError(BrokenPipeError())], ids=repr)
def test_a_bug_and_a_target_that_closes_its_pipe_end_the_sync_at_once(error: Exception) -> None:
    tap = make_tap(failing(declines=error))
    with pytest.raises(type(error)):
        tap.sync_all()
    assert len(tap.client.requests) == 1


def test_a_sync_that_fails_keeps_the_bookmarks_and_the_next_one_of_the_same_tap_can_succeed() -> None:
    tap = make_tap(failing())
    tap.sync_all()
    state = copy.deepcopy(tap.state)
    tap.client = make_tap(failing(declines=response(403, {}))).client
    with pytest.raises(FailedStreamsError):
        tap.sync_all()
    assert tap.state == state
    tap.client = make_tap(failing()).client
    tap.sync_all()


def test_the_state_names_the_account_once_the_api_has_accepted_the_credentials(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    tap = make_tap(all_streams, state={"end_users": "2025-01-01"})

    def refuse() -> None:
        raise ApiUnavailableError("Wrong region")

    tap.client.authenticate, accept = refuse, tap.client.authenticate
    with pytest.raises(FailedStreamsError):
        tap.sync_all()
    assert "account" not in tap.state
    tap.client.authenticate = accept
    tap.sync_all()
    *_, last = [message for message in messages(capsys.readouterr().out) if message["type"] == "STATE"]
    assert last["value"]["account"]["host"] == "api.wootric.com"

    rotated = make_tap(all_streams, state=copy.deepcopy(last["value"]), client_id="new")
    rotated.sync_all()
    assert "another client_id" in caplog.text
    assert rotated.state["account"]["login"] != last["value"]["account"]["login"]


# --test


def connection_test(tap: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run the connection test of a tap with the tap's client instead of a hasty one."""
    client = tap.client
    monkeypatch.setattr("tap_wootric.tap.Client", lambda *_: client)
    is_passed: bool = tap.run_connection_test()
    return is_passed


def test_the_connection_test_has_a_line_for_each_stream_that_fails(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    maps = {"end_users": {"extra": "1 // 0"}}
    tap = make_tap(failing(responses=response(403, {})), stream_maps=maps)
    with pytest.raises(FailedStreamsError) as raised:
        connection_test(tap, monkeypatch)
    [of_end_users, of_responses] = raised.value.errors
    assert of_end_users.startswith("end_users: stream_maps: the expression for end_users.extra failed on a record")
    assert of_responses == denied("responses")
    assert "declines: works, read 1 row" in caplog.messages
    assert not [record for record in caplog.records if record.levelno > logging.INFO]  # The command logs the lines.


# The command


def test_a_config_file_that_others_may_read_is_warned_about_unless_meltano_has_written_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MELTANO_EXTRACTOR_NAME", raising=False)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(CONFIG))
    file.chmod(0o640)
    assert TapWootric.cb_config(None, None, (str(file), "ENV")).config == CONFIG
    assert caplog.messages == [f"Other users may read {file} (mode 640): run chmod 600"]
    monkeypatch.setenv("MELTANO_EXTRACTOR_NAME", "tap-wootric")
    TapWootric.cb_config(None, None, (str(file),))
    monkeypatch.delenv("MELTANO_EXTRACTOR_NAME")
    file.chmod(0o600)
    TapWootric.cb_config(None, None, (str(file),))
    assert len(caplog.messages) == 1
