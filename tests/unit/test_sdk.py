"""Contract tests: `tap_wootric.sdk` relies on this in the SDK. If one fails after an upgrade, adapt the override."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pytest
import singer_sdk
from singer_sdk import Stream, Tap
from singer_sdk.exceptions import StreamMapConfigError
from singer_sdk.helpers.types import Context
from singer_sdk.singerlib import Catalog

from tap_wootric.messages import MessageWriter
from tap_wootric.sdk import SdkStream, SdkTap, StreamMapError, is_worth_logging
from tests.unit.fakes import messages

UPDATES = ["2025-01-01T00:00:00Z", "2025-01-03T00:00:00Z", "2025-01-02T00:00:00Z"]


class Rows(SdkStream):
    """A stream with a few records, which may fail after them."""

    name = "rows"
    primary_keys = ("id",)
    replication_key = "updated_at"
    schema: ClassVar[dict[str, Any]] = {
        "properties": {"id": {"type": "integer"}, "updated_at": {"type": "string", "format": "date-time"}}
    }
    STATE_MSG_FREQUENCY = 2

    def __init__(self, tap: Tap) -> None:
        super().__init__(tap)
        self.error: Exception | None = None
        self.handled: list[Exception] = []

    def get_records(self, context: Context | None) -> Iterable[dict[str, Any]]:  # noqa: ARG002
        for number, timestamp in enumerate(UPDATES):
            yield {"id": number, "updated_at": timestamp}
        if self.error:
            self.write_state()
            raise self.error

    def on_error(self, error: Exception) -> None:
        self.handled.append(error)
        if isinstance(error, KeyError):
            super().on_error(error)


class Others(Rows):
    name = "others"


class FakeTap(SdkTap):
    name = "tap-fake"
    config_jsonschema: ClassVar[dict[str, Any]] = {
        "properties": {"given": {"type": ["string", "null"]}, "default": {"type": ["integer", "null"], "default": 5}}
    }
    message_writer_class = MessageWriter

    def __init__(self, **options: Any) -> None:
        self.calls: list[Any] = []
        super().__init__(**options)

    def discover_streams(self) -> list[Stream]:
        return [Rows(self), Others(self)]

    def prepare_config(self, config: Mapping[str, Any], *, validate: bool) -> dict[str, Any]:
        self.calls.append(("prepare_config", dict(config), validate))
        return {**config, "given": "prepared"}

    def on_signal(self, signum: int) -> None:
        self.calls.append(("on_signal", signum))


def make_tap(**config: Any) -> Any:
    tap: Any = FakeTap(config=config)
    tap.streams["others"].selected = False
    return tap


def types(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [message["type"] for message in messages(capsys.readouterr().out)]


def test_the_sdk_uses_the_prepared_config_and_adds_the_defaults() -> None:
    tap = make_tap(given="raw")
    assert tap.calls[0] == ("prepare_config", {"given": "raw"}, True)
    assert tap.config["given"] == "prepared"
    assert tap.config["default"] == 5
    assert tap.streams["rows"].config["given"] == "prepared"
    assert FakeTap(validate_config=False).calls[0][2] is False


def test_bookmarks_move_before_each_state(capsys: pytest.CaptureFixture[str]) -> None:
    tap = make_tap()
    moved: list[list[str]] = []
    tap.move_bookmarks = lambda: moved.append(types(capsys))
    tap.sync_all()
    assert moved == [["SCHEMA"], ["RECORD", "RECORD", "STATE"], ["RECORD", "STATE"]]
    assert types(capsys) == ["STATE"]


def test_records_do_not_move_the_bookmark_even_if_they_are_out_of_order() -> None:
    tap = make_tap()
    tap.sync_all()
    assert tap.state == {"bookmarks": {"rows": {}}}


def test_a_state_that_is_the_same_as_the_last_one_is_written_if_records_came_in_between(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = make_tap().streams["rows"]
    stream.STATE_MSG_FREQUENCY = 100
    for _ in range(2):
        stream.sync()
    assert types(capsys) == ["SCHEMA", *["RECORD"] * 3, "STATE"] * 2


def test_a_stream_that_fails_writes_its_state_and_the_others_go_on_if_the_error_is_handled(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tap: Any = FakeTap()
    tap.streams["others"].error = error = ValueError("unreadable")
    tap.sync_all()
    assert tap.streams["others"].handled == [error]
    written = messages(capsys.readouterr().out)
    assert [message["type"] for message in written][:6] == ["SCHEMA", "RECORD", "RECORD", "STATE", "RECORD", "STATE"]
    assert sum(message.get("stream") == "rows" for message in written) == 4
    assert "An unhandled error occurred while syncing 'others'" in caplog.messages
    assert worth_logging(caplog) == []
    tap.streams["others"].error = KeyError("not handled")
    with pytest.raises(KeyError):
        tap.sync_all()
    capsys.readouterr()
    tap.streams["rows"].write_state()  # No record came since the last one.
    assert types(capsys) == []


def test_records_carry_the_table_version_and_its_activation_is_sent_on_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tap = make_tap()
    stream = tap.streams["rows"]
    stream.forced_replication_method = "FULL_TABLE"
    stream.set_table_version(7)
    stream.sync()
    stream.activate_table_version()
    written = messages(capsys.readouterr().out)
    assert [message["version"] for message in written if message["type"] in {"RECORD", "ACTIVATE_VERSION"}] == [7] * 4
    assert written[-1]["type"] == "ACTIVATE_VERSION"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_sdk_passes_all_signals_to_the_override(signum: signal.Signals) -> None:
    signal.signal(signum, signal.SIG_DFL)  # The tests may run under nohup.
    tap = make_tap()
    handler = signal.getsignal(signum)
    assert callable(handler)
    handler(signum, None)
    assert tap.calls[-1] == ("on_signal", signum)


def test_a_hangup_stays_ignored_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    make_tap()
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN


def worth_logging(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if is_worth_logging(record)]


def test_the_sdks_lines_are_worth_logging_at_debug_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    make_tap().sync_all()
    assert "Beginning sync of 'rows' in incremental mode" in caplog.messages
    assert sum(message.startswith("METRIC") for message in caplog.messages) == 2
    assert worth_logging(caplog) == []
    caplog.set_level(logging.DEBUG)
    assert worth_logging(caplog) == caplog.messages


def test_the_sdks_warnings_are_worth_logging() -> None:
    record = {"levelno": logging.WARNING, "pathname": singer_sdk.__file__, "msg": "No such key"}
    assert is_worth_logging(logging.makeLogRecord(record))


def mapped(stream_map: Any) -> list[dict[str, Any] | None]:
    """Return the records as a stream map transforms them; None for those that it drops."""
    stream: Any = FakeTap(config={"stream_maps": {"rows": stream_map}}).streams["rows"]
    return [stream.stream_maps[0].transform(record) for record in stream.get_records(None)]


@pytest.mark.parametrize(
    ("field", "expression", "error"),
    [
        ("extra", "int(updated_at)", "ValueError"),
        ("extra", "md5(config['salt'])", "KeyError: 'salt'"),
        ("extra", "{'a': 1}[updated_at]", "KeyError"),
        ("extra", "md5(unknown)", "NameNotDefined: unknown"),
        ("extra", "nofunc(id)", "FunctionNotDefined: nofunc"),
        ("extra", "fake.ipv5()", "AttributeDoesNotExist: ipv5"),
        ("extra", "lambda: 1", "FeatureNotAvailable"),
        ("__filter__", "int(updated_at)", "ValueError"),
    ],
)
def test_an_expression_that_fails_is_named_without_values_of_the_record(
    field: str, expression: str, error: str
) -> None:
    with pytest.raises(StreamMapError) as raised:
        mapped({field: expression})
    assert str(raised.value) == f"stream_maps: the expression for rows.{field} failed on a record ({error})"


def test_expressions_that_do_not_fail_are_evaluated() -> None:
    records = mapped({"id": "id + 1", "__filter__": "id != 1"})
    assert [record and record["id"] for record in records] == [1, None, 3]


def test_maps_see_the_selected_fields_and_all_of_a_deselected_stream() -> None:
    tap = make_tap()
    for stream in tap.streams.values():
        stream.metadata["properties", "updated_at"].inclusion = None
        stream.metadata["properties", "updated_at"].selected = False
    tap.streams["rows"].selected = True
    tap.setup_mapper()
    fields = {name: [*maps[0].raw_schema["properties"]] for name, maps in tap.mapper.stream_maps.items()}
    assert fields == {"rows": ["id"], "others": ["id", "updated_at"]}


DESELECTED = {"tap_stream_id": "others", "schema": Rows.schema, "key_properties": ["id"]}
OTHERS_DESELECTED = Catalog.from_dict(
    {
        "streams": [
            {**DESELECTED, "tap_stream_id": name, "metadata": [{"breadcrumb": [], "metadata": {"selected": selected}}]}
            for name, selected in (("rows", True), ("others", False))
        ]
    }
)


@pytest.mark.parametrize("name", ["others", "*"])
def test_a_stream_that_is_not_selected_may_have_a_map(name: str) -> None:
    tap: Any = FakeTap(config={"stream_maps": {name: {"updated_at": None}}}, catalog=OTHERS_DESELECTED)
    assert [*tap.streams["others"].stream_maps[0].transformed_schema["properties"]] == ["id"]


def test_a_map_that_only_fits_the_selected_streams_is_fine_unless_another_one_is_read() -> None:
    class Named(FakeTap):
        def discover_streams(self) -> list[Stream]:
            others: Any = Others(self)
            others.primary_keys = ["updated_at"]
            return [Rows(self), others]

    maps = {"*": {"updated_at": None}}
    catalog = Catalog.from_dict({"streams": [{**DESELECTED, "tap_stream_id": "rows"}]})
    tap: Any = Named(config={"stream_maps": maps}, catalog=catalog)
    assert [*tap.streams["rows"].stream_maps[0].transformed_schema["properties"]] == ["id"]
    with pytest.raises(KeyError):
        _ = tap.streams["others"].stream_maps
    with pytest.raises(StreamMapConfigError):
        Named(config={"stream_maps": maps})
