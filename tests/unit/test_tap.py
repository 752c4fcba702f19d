"""The tap checks what it is given before the first request, and writes a state whatever ends a sync."""

from __future__ import annotations

import io
import json
import logging
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import PluginCapabilities

from tap_wootric.api.responses import AccessDeniedError
from tap_wootric.signals import Terminated
from tap_wootric.tap import InvalidInputError, TapWootric
from tests.unit.api.fakes import response
from tests.unit.fakes import CONFIG, NOW, catalog_of, make_tap, messages, row, serving


def test_discovery_needs_neither_settings_nor_credentials_nor_a_client() -> None:
    tap = TapWootric(config={}, validate_config=False)
    assert {stream["tap_stream_id"] for stream in tap.catalog_dict["streams"]} == tap.streams.keys()
    assert len(tap.streams) == 8
    assert not {"settings", "client", "authenticator"} & vars(tap).keys()


def test_settings_are_read_once_and_reach_the_client_and_the_authenticator() -> None:
    tap = TapWootric(config={**CONFIG, "account_token": "NPS-EU-1a2b"})
    assert tap.settings is tap.settings
    assert tap.client.url == "https://api.wootric.eu"
    assert tap.client is tap.client
    assert tap.settings.user_agent == f"tap-wootric/{tap.plugin_version}"
    assert tap.authenticator.headers["User-Agent"] == tap.settings.user_agent


def test_the_sdk_sees_its_own_settings_and_the_defaults_and_the_start_date_in_utc() -> None:
    config = {
        **CONFIG,
        "flattening_enabled": True,
        "flattening_max_depth": 2,
        "start_date": "2024-01-01",
        "region": None,
    }
    tap = TapWootric(config=config)
    assert tap.config["flattening_enabled"] is True
    assert tap.config["start_date"] == "2024-01-01T00:00:00Z"
    assert tap.config["lookback_window"] == 300
    assert "region" not in tap.config


def test_batches_are_not_offered() -> None:
    assert PluginCapabilities.BATCH not in TapWootric.capabilities
    assert "batch_config" not in TapWootric.config_jsonschema["properties"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"config": {"client_id": "the-id"}}, "client_secret is not set: "),
        ({"config": {**CONFIG, "stream_maps": "x"}}, "'x' is not of type 'object'"),
        ({"config": CONFIG, "state": {"bookmarks": [1]}}, "Invalid state: bookmarks must be a JSON object"),
        ({"config": CONFIG, "state": {"streams": []}}, "Invalid state: it is a catalog"),
        (
            {"config": {**CONFIG, "stream_maps": {"end_users": {"emial": None}}}},
            "stream_maps: end_users.emial cannot be removed: emial is not a property of end_users; did you mean email?",
        ),
        (
            {"config": {**CONFIG, "stream_maps": {"responses": {"end_user": {"email": None}}}}},
            "stream_maps: responses.end_user must be an expression in quotes",
        ),
        ({"config": CONFIG, "catalog": {}}, "Invalid catalog: it does not have the structure that --discover prints"),
    ],
)
def test_invalid_input_is_rejected_when_the_tap_is_created(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigValidationError) as raised:
        TapWootric(**options)
    (line,) = raised.value.errors
    assert line.startswith(error)


def test_the_environment_is_checked_and_misspelt_variables_are_warned_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TAP_WOOTRIC_STRAT_DATE", "2024-01-01")
    monkeypatch.setenv("TAP_WOOTRIC_REGION", "eu")
    assert TapWootric(config=dict(CONFIG), parse_env_config=True).settings.api_url == "https://api.wootric.eu"
    assert "Ignoring unknown setting TAP_WOOTRIC_STRAT_DATE; did you mean" in caplog.text
    monkeypatch.setenv("TAP_WOOTRIC_CONCURRENCY", "four")
    with pytest.raises(ConfigValidationError) as raised:
        TapWootric(config=dict(CONFIG), parse_env_config=True)
    assert raised.value.errors == ["concurrency (from TAP_WOOTRIC_CONCURRENCY) must be a whole number, not 'four'"]


def test_settings_and_streams_without_effect_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    make_tap(
        comment="nightly",
        state={"bookmarks": {"end_user": {}}},
        catalog={"streams": [{"tap_stream_id": "response"}, {"tap_stream_id": "declines"}]},
    )
    assert "Ignoring unknown setting comment" in caplog.messages
    assert "Ignoring unknown stream in the state: end_user" in caplog.messages
    assert "Ignoring unknown stream in the catalog: response" in caplog.messages


# A sync


def test_a_setting_that_a_selected_stream_lacks_is_reported_before_any_request() -> None:
    tap = make_tap(catalog=catalog_of(make_tap(), "end_users", "nps_summary"))
    with pytest.raises(ConfigValidationError) as raised:
        tap.sync_all()
    assert raised.value.errors == ["start_date is not set: nps_summary needs it as its first day"]


@pytest.mark.parametrize("how", ["sync_all", "run_connection_test"])
@pytest.mark.parametrize("catalog", [{"streams": []}, {"streams": [{"tap_stream_id": "end_user"}]}, "deselected"])
def test_it_is_an_error_if_no_stream_is_selected(how: str, catalog: Any) -> None:
    tap = make_tap(catalog=catalog_of(make_tap()) if catalog == "deselected" else catalog)
    with pytest.raises(ConfigValidationError) as raised:
        getattr(tap, how)()
    (line,) = raised.value.errors
    assert line.startswith("No stream is selected: ")


def test_an_entry_without_metadata_keeps_the_keys_in_its_records(capsys: pytest.CaptureFixture[str]) -> None:
    tap = make_tap(serving([row(7, NOW - 1_000)]), catalog={"streams": [{"tap_stream_id": "end_users"}]})
    tap.sync_all()
    (record,) = [message["record"] for message in messages(capsys.readouterr().out) if message["type"] == "RECORD"]
    assert (record["id"], record["updated_at"]) == (7, "2025-01-15T07:43:20Z")


def denying(*paths: str) -> Any:
    rows = [row(number, NOW - 1_000 - number) for number in range(3)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return response(403, {}) if path in paths else serving(rows)(path, params)

    return answer


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["/v1/declines"], r"declines \(403.*\): deselect it, or ask Wootric for access. No other stream failed$"),
        (["/v1/declines", "/v1/end_users"], r"declines \(.*\), end_users \(.*\): deselect them, or ask"),
    ],
)
def test_streams_that_the_account_may_not_read_are_named_when_the_others_are_done(
    paths: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tap = make_tap(denying(*paths))
    with pytest.raises(AccessDeniedError, match=f"^The account may not read {message}"):
        tap.sync_all()
    written = messages(capsys.readouterr().out)
    assert sum(message["type"] == "RECORD" for message in written) == 3 * (3 - len(paths))
    assert written[-1]["type"] == "STATE"


def test_a_sync_ends_with_a_line_about_all_streams(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tap = make_tap(denying())
    tap.rate_limiter.requests_sent = 3  # By a sync before.
    tap.sync_all()
    assert caplog.messages[-1] == "Sync done: 3 streams, 9 rows in 0 requests and less than 1 s"


def test_the_last_line_of_a_sync_names_the_streams_that_are_not_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tap = make_tap(denying("/v1/declines"))
    for rows in (6, 2):  # The second sync repeats the rows at the bookmarks.
        with pytest.raises(AccessDeniedError):
            tap.sync_all()
        line = f"Sync incomplete: 2 of 3 streams done, {rows} rows in 0 requests and less than 1 s"
        assert caplog.messages[-1] == f"{line}; not done: declines"


def test_access_that_was_given_since_the_last_sync_is_no_error() -> None:
    tap = make_tap(denying("/v1/declines"))
    with pytest.raises(AccessDeniedError):
        tap.sync_all()
    tap.client = make_tap(denying()).client
    tap.sync_all()


def test_the_connection_test_reads_one_record_of_each_selected_stream(capsys: pytest.CaptureFixture[str]) -> None:
    tap = make_tap(denying(), catalog=catalog_of(make_tap(), "end_users", "responses"))
    assert tap.run_connection_test()
    records = [message["stream"] for message in messages(capsys.readouterr().out) if message["type"] == "RECORD"]
    assert records == ["end_users", "responses"]


def test_the_connection_test_names_streams_that_the_account_may_not_read() -> None:
    with pytest.raises(AccessDeniedError, match="may not read responses"):
        make_tap(denying("/v1/responses")).run_connection_test()


def test_a_signal_ends_a_sync_with_the_state_of_the_records_that_were_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [row(number, 1_700_000_000 + number) for number in range(120)]
    tap: Any = None

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        if params.get("updated[gte]") == 1_700_000_098:  # The third page.
            tap.on_signal(signal.SIGTERM)
        return serving(rows)(path, params)

    tap = make_tap(answer, catalog=catalog_of(make_tap(), "end_users"))
    with pytest.raises(Terminated):
        tap.sync_all()
    written = messages(capsys.readouterr().out)
    records = [message["record"] for message in written if message["type"] == "RECORD"]
    assert 0 < len(records) < 120
    assert written[-1]["type"] == "STATE"
    bookmark = written[-1]["value"]["bookmarks"]["end_users"]["replication_key_value"]
    assert bookmark == records[-1]["updated_at"]


def test_after_a_signal_the_tap_no_longer_handles_the_next_one() -> None:
    tap = make_tap()
    ours = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated):
        tap.on_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) != ours


# The command


def invoke(**options: Any) -> list[str]:
    """Invoke the command, and return what is wrong with its input."""
    with pytest.raises(InvalidInputError) as raised:
        TapWootric.invoke(**options)
    return raised.value.lines


@pytest.mark.parametrize("option", ["state", "catalog"])
@pytest.mark.parametrize(
    ("content", "error"),
    [("[1]", "it is not a JSON object"), ('{"end_users": NaN}', "NaN is not JSON"), ("{", "Expecting property name")],
)
def test_a_file_that_is_not_a_json_object_is_refused(option: str, content: str, error: str) -> None:
    (line,) = invoke(**{option: io.StringIO(content)})
    assert line.startswith(f"Invalid --{option} file: {error}")


def test_valid_files_are_accepted() -> None:
    tap = make_tap()
    files = {"state": {"end_users": "2025-01-01"}, "catalog": tap.catalog_dict}
    lines = invoke(**{option: io.StringIO(json.dumps(content)) for option, content in files.items()})
    assert [line.partition(":")[0] for line in lines] == ["client_id is not set and client_secret is not set"]


def test_the_command_reports_settings_in_lines_of_its_own() -> None:
    assert invoke() == [
        "client_id is not set and client_secret is not set: set client_id and client_secret, or username and password"
    ]


def test_a_config_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    for path, error in (
        (str(file), "Invalid --config file: "),
        (json.dumps(CONFIG), "--config expects the path of a file or ENV, not the settings themselves"),
    ):
        with pytest.raises(ConfigValidationError) as raised:
            TapWootric.cb_config(None, None, (path,))
        assert raised.value.errors[0].startswith(error)
    file.write_text(json.dumps(CONFIG))
    assert TapWootric.cb_config(None, None, (str(file), "ENV")).config == CONFIG
