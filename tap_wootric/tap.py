"""The tap: from settings, a state and a catalog to streams that share one client."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar, cast

from singer_sdk.exceptions import ConfigValidationError, SingerSDKError
from singer_sdk.helpers.capabilities import CapabilitiesEnum, PluginCapabilities
from singer_sdk.singerlib import Catalog
from singer_sdk.tap_base import CliTestOptionValue
from typing_extensions import override

from tap_wootric import account, settings, stream_maps
from tap_wootric import catalog as catalogs
from tap_wootric import state as states
from tap_wootric.api.client import HASTY, Client
from tap_wootric.api.redact import hide
from tap_wootric.api.responses import ApiUnavailableError, safe_message
from tap_wootric.messages import MessageWriter
from tap_wootric.progress import Effort, log_total
from tap_wootric.records.timestamps import normalize_timestamp
from tap_wootric.signals import Terminated, kill_on_repeat
from tap_wootric.streams import STREAMS
from tap_wootric.streams.base import ConnectedTap, WootricStream


class FailedStreamsError(SingerSDKError):
    """Streams failed. The others were read, unless the last line says what ended the sync.

    Attributes:
        errors: What is wrong, a line for each stream.
    """

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class TapWootric(ConnectedTap):
    """Copies the surveys of a Wootric (InMoment) account to a warehouse or to files.

    These are end users, responses, declines, and statistics of NPS and emails: all of them, or what has changed since
    the last run. No row is lost while the account is in use.
    """

    # `--about` prints the docstring.
    name = "tap-wootric"
    config_jsonschema: ClassVar[dict[str, Any]] = settings.SCHEMA
    # The SDK moves the bookmark before it writes a BATCH message: a state could be ahead of its rows.
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        capability for capability in ConnectedTap.capabilities if capability is not PluginCapabilities.BATCH
    ]

    def __init__(
        self, *, config: Any = None, catalog: Any = None, parse_env_config: bool = False, **options: Any
    ) -> None:
        self.message_writer = MessageWriter()  # The SDK handles signals before it creates one.
        self.append_builtin_config(self.config_jsonschema)  # The checks must know the SDK's own settings.
        properties = self.config_jsonschema["properties"]
        if parse_env_config:  # The SDK's parser reads a misspelled boolean as false, and fails on an empty integer.
            config = {**(config or {}), **settings.from_environment(os.environ, properties)}
        catalog = catalog.to_dict() if isinstance(catalog, Catalog) else catalog
        with _refusing("Invalid catalog: "):
            completed = catalogs.complete(catalog, STREAMS)
        for warning in (*catalogs.warnings(catalog, STREAMS), *settings.environment_warnings(os.environ, properties)):
            self.logger.warning(warning)
        super().__init__(config=config, catalog=completed, message_writer=self.message_writer, **options)

    @override
    def discover_streams(self) -> list[WootricStream]:
        """Return all streams. They are the same for every account."""
        return [stream(self) for stream in STREAMS.values()]

    # A sync

    @override  # type: ignore[misc]  # Final, but the SDK has no hook before or after a sync.
    def sync_all(self) -> None:
        """Sync all selected streams. Whatever ends it, the state of what was emitted is written.

        Raises:
            ConfigValidationError: No stream is selected.
            FailedStreamsError: Some streams failed, or the API cannot be used at all.
            Terminated: A signal arrived.
        """
        effort = Effort(self.client.rate_limiter)
        with self._selected_streams() as selected:
            try:
                super().sync_all()
                self.message_writer.raise_if_terminated()
            except Terminated:
                self.state_writer.write_state(self.state)
                raise
            finally:
                log_total(self.logger, effort, {stream.name: stream.progress for stream in selected})

    @override  # type: ignore[misc]  # Final, but the SDK would sync all streams, also those that are not selected.
    def run_connection_test(self) -> bool:
        """Read a row of each selected stream with one request, without Singer messages, and log what works.

        Retries and timeouts are shorter than in a sync.

        Raises:
            ConfigValidationError, FailedStreamsError: As with a sync.
        """
        self.client = Client(self.settings, HASTY)
        with self._selected_streams() as selected:
            for stream in selected:
                stream.test()
        return True

    @contextmanager
    def _selected_streams(self) -> Iterator[list[WootricStream]]:
        """Yield the selected streams, and raise at the end what made some of them fail.

        Raises:
            ConfigValidationError: No stream is selected.
            FailedStreamsError: Streams failed, or no stream can be read (the last line).
        """
        selected = [stream for stream in self._wootric_streams if stream.selected]
        if not selected:
            raise _config_error(
                'No stream is selected: set "selected": true in the metadata of streams in the catalog (with Meltano: '
                "select), or omit the catalog"
            )
        for stream in selected:
            stream.error = stream.progress = None  # Of an earlier sync.
        unavailable: ApiUnavailableError | None = None
        try:
            yield selected
        except ApiUnavailableError as error:
            unavailable = error
        lines = [stream.error_line for stream in selected if stream.error]
        if unavailable:
            lines.append(safe_message(unavailable))
        if lines:
            raise FailedStreamsError(lines) from unavailable

    @override
    def move_bookmarks(self) -> None:
        for stream in self._wootric_streams:
            stream.move_bookmark()
            if stream.sync_range:  # The API has accepted the credentials, so this is the account's host.
                self._whole_state[account.KEY] = self._account

    @override
    def on_signal(self, signum: int) -> None:
        """End the sync after the message that is being written, if any."""
        kill_on_repeat()
        self.message_writer.terminate(Terminated(signum))

    @property
    def _wootric_streams(self) -> list[WootricStream]:
        return cast("list[WootricStream]", list(self.streams.values()))

    # Settings and state

    @property
    def _whole_state(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.state)  # The SDK's type only has the bookmarks.

    @cached_property
    def _account(self) -> dict[str, str]:
        return account.account_of(self.settings, self._whole_state)

    @override
    def prepare_config(self, config: Mapping[str, Any], *, validate: bool) -> dict[str, Any]:
        """Return the known settings that are set, with `start_date` in UTC.

        Raises:
            ConfigValidationError: A setting is wrong, and `validate` is set.
        """
        properties = self.config_jsonschema["properties"]
        hide(settings.secrets(config))
        set_config = settings.normalized(config, properties)
        if validate:
            _raise_if_any(settings.errors(set_config, properties, now=time.time()))
            _raise_if_any(stream_maps.type_errors(set_config.get("stream_maps", {})))
            for warning in settings.warnings(set_config, properties):
                self.logger.warning(warning)
            if "start_date" in set_config:  # The SDK puts it into states as it is.
                set_config["start_date"] = normalize_timestamp(set_config["start_date"])
        return {name: value for name, value in set_config.items() if name in properties}

    @override
    def setup_mapper(self) -> None:
        """Set up the stream maps.

        Raises:
            ConfigValidationError: They name a stream or property that does not exist, or flattening gives two columns
                the same name.
        """
        _raise_if_any(stream_maps.errors(self.config, {name: stream.schema for name, stream in STREAMS.items()}))
        with _refusing("Flattening gives two columns the same name; choose another flattening_separator: "):
            super().setup_mapper()

    @override
    def load_state(self, state: dict[str, Any]) -> None:
        """Load a state, which may be one of singer-io's tap. Warn if it may be that of another account.

        Raises:
            ConfigValidationError: It is not a state, or that of another host.
        """
        with _refusing("Invalid state: "):
            migrated = states.migrate(state, STREAMS)
        super().load_state(migrated)
        warnings = states.warnings(state, STREAMS)
        if account.KEY in migrated:  # The SDK only loads the bookmarks.
            self._whole_state[account.KEY] = migrated[account.KEY]
            with _refusing():
                warnings += account.warnings(self._account, migrated)
        for warning in warnings:
            self.logger.warning(warning)

    # The command

    @classmethod
    @override
    def cb_config(cls, ctx: Any, param: Any, value: tuple[str, ...]) -> Any:
        """Read the config files, and warn of those that others may read.

        Meltano writes its own for each run, and only the umask decides who may read them.

        Raises:
            ConfigValidationError: A file is missing, or it is not a JSON object.
        """
        if any("{" in path for path in value):
            raise _config_error("--config expects the path of a file or ENV, not the settings themselves")
        files = [path for path in value if path != "ENV"]
        result = super().cb_config(ctx, param, ("ENV",) * (len(files) < len(value)))
        for path in files:
            result.config.update(_json_object("--config", Path(path).read_bytes))
        if any(settings.secrets(result.config)) and "MELTANO_EXTRACTOR_NAME" not in os.environ:
            for file in map(Path, files):
                mode = stat.S_IMODE(file.stat().st_mode)
                if file.is_file() and mode & (stat.S_IRGRP | stat.S_IROTH):
                    cls.logger.warning("Other users may read %s (mode %o): run chmod 600", file, mode)
        return result

    @classmethod
    @override
    def invoke(  # type: ignore[override]  # As in the SDK's own taps: these are the options of the command.
        cls,
        *,
        config: Any,
        state: IO[str] | None = None,
        catalog: IO[str] | None = None,
        test: str = CliTestOptionValue.Disabled.value,
        about: bool = False,
        about_format: str | None = None,
    ) -> None:
        """Run a sync or a test, or print information about the tap.

        Raises:
            ConfigValidationError: A setting is wrong, or the state or the catalog is not valid.
        """
        if about:
            cls.print_about(about_format)
            return
        try:
            tap = cls(
                config=config.config,
                parse_env_config=config.parse_env,
                state=state and _json_object("--state", state.read),
                catalog=catalog and _json_object("--catalog", catalog.read),
            )
        except RecursionError as error:  # It comes from what the tap was given.
            raise _config_error("Invalid settings, state or catalog: nested too deeply") from error
        match test:
            case CliTestOptionValue.Disabled.value:
                tap.sync_all()
            case CliTestOptionValue.Schema.value:
                tap.write_schemas()
            case CliTestOptionValue.All.value:
                tap.run_connection_test()
            case _:
                raise _config_error(f"--test must be all or schema, not {test!r:.60}")

    @classmethod
    @override
    def get_singer_command(cls) -> Any:
        """Return the command. Its option `--test` is passed to `invoke`: the SDK would test without the catalog."""
        command = super().get_singer_command()
        for option in command.params:
            if option.name == "test":
                option.callback, option.expose_value = None, True
        return command


def _config_error(*lines: str) -> ConfigValidationError:
    return ConfigValidationError("Config validation failed", errors=list(lines))


def _raise_if_any(lines: list[str]) -> None:
    """Raise a ConfigValidationError with some lines, if there are any."""
    if lines:
        raise _config_error(*lines)


@contextmanager
def _refusing(prefix: str = "") -> Iterator[None]:
    """Turn an error about what the tap was given into a ConfigValidationError, with its message behind a prefix."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise _config_error(f"{prefix}{safe_message(error)}") from error


def _json_object(option: str, read: Callable[[], str | bytes]) -> dict[str, Any]:
    """Return the content of the file that an option names.

    Raises:
        ConfigValidationError: It cannot be read, or it is not a JSON object.
    """
    with _refusing(f"Invalid {option} file: "):
        content = settings.parse_json(read())
    if not isinstance(content, dict):
        raise _config_error(f"Invalid {option} file: it is not a JSON object")
    return content
