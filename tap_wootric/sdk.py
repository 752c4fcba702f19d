"""Every private or final member of the SDK that this tap touches, and why. The tap and its streams use the seams.

Only `TapWootric.sync_all` and `run_connection_test` override final methods elsewhere: they are the seams themselves.

`tests/unit/test_sdk.py` fails if an upgrade of the SDK changes one of these members.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import singer_sdk
from singer_sdk import Stream, Tap
from singer_sdk.exceptions import MapExpressionError, SingerSDKError, StreamMapConfigError
from singer_sdk.helpers._catalog import get_selected_schema
from singer_sdk.helpers._state import StateWriter
from singer_sdk.helpers.types import Context
from singer_sdk.mapper import CustomStreamMap, PluginMapper
from singer_sdk.singerlib import StateMessage
from typing_extensions import override

_SDK_FOLDER = str(Path(singer_sdk.__file__).parent)


class StreamMapError(SingerSDKError):
    """An expression in `stream_maps` failed on a record.

    The message never holds values of the record, which the original error may.
    """

    def __init__(self, stream: str, field: str | None, expression: str, error: Exception) -> None:
        cause = error.__cause__ if isinstance(error, MapExpressionError) and error.__cause__ else error
        super().__init__(
            f"stream_maps: the expression for {stream}.{field or '__filter__'} failed on a record "
            f"({': '.join([type(cause).__name__, *_culprit(cause, expression)])})"
        )


def _culprit(error: BaseException, expression: str) -> list[str]:
    """Return the key, function or attribute that an error names, if it is in the expression, so not customer data."""
    # The attributes are those of simpleeval's errors about a function, a variable or an attribute.
    names = [getattr(error, attribute, None) for attribute in ("func_name", "name", "attr")]
    key = repr(error.args[0]) if isinstance(error, KeyError) else None
    return [name for name in (key, *names) if isinstance(name, str) and name in expression]


def expression_evaluator(faker_config: Mapping[str, Any] | None = None) -> Any:
    """Return a new evaluator of the expressions in `stream_maps`, which is one of simpleeval.

    Raises:
        StreamMapConfigError: Faker does not know the locale in `faker_config`, or cannot use the seed.
    """
    try:
        return CustomStreamMap("", {}, dict(faker_config or {}), {}, None, {}, None).expr_evaluator
    except (AttributeError, ValueError) as error:
        raise StreamMapConfigError(f"faker_config: {error}") from error


def is_alias(expression: str) -> bool:
    """Return whether an `__alias__` in `stream_maps` gives the name of a stream."""
    with suppress(Exception):  # `_eval_stream` is private. It lets most errors of an expression through.
        alias = PluginMapper._eval_stream(expression, "stream")  # noqa: SLF001
        return isinstance(alias, str) and alias != ""
    return False


def is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether to log a record: the SDK's lines at level INFO only matter when debugging.

    There are many, such as two to three metrics for each stream; the tap logs what they say in fewer lines.
    """
    if not record.pathname.startswith(_SDK_FOLDER) or logging.getLogger().isEnabledFor(logging.DEBUG):
        return True
    # These two do not say which error; other lines do.
    vague = ("An unhandled error", "Config validation failed")
    return record.levelno != logging.INFO and not str(record.msg).startswith(vague)


class SdkTap(Tap):
    """A tap with seams that the SDK lacks. The methods up to `on_signal` are for subclasses to override."""

    def prepare_config(self, config: Mapping[str, Any], *, validate: bool) -> dict[str, Any]:  # noqa: ARG002
        """Return the config that the SDK is to use, before it checks it and adds defaults.

        Args:
            config: The settings as they were given.
            validate: Whether mistakes are to be raised.

        Raises:
            ConfigValidationError: A setting is wrong, and `validate` is set.
        """
        return dict(config)

    def move_bookmarks(self) -> None:
        """Bring the state up to date. Called before each STATE, except for the first one of a sync."""

    def on_signal(self, signum: int) -> None:
        """React to SIGTERM, SIGINT or SIGHUP."""

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        # Private, and it reads the private `_config`. The SDK's own check would print a secret that has the wrong type,
        # and it accepts empty settings, misspelled ones and invalid dates.
        self._config = self.prepare_config(self._config, validate=raise_errors)
        return super()._validate_config(raise_errors=raise_errors)

    @property
    @override
    def state_writer(self) -> StateWriter:
        # Public, but its class is not. Streams write all their STATE messages with it.
        return _BookmarkWriter(self)

    @override
    def setup_mapper(self) -> None:
        # Public, but `get_selected_schema` is private: the SDK registers its result. For a deselected stream, that has
        # no properties, so the SDK would refuse a map because the key is missing. So such a stream is registered whole,
        # and dropped if a map for all streams does not fit it.
        super(Tap, self).setup_mapper()
        for name, stream in self.streams.items():
            schema = stream.effective_schema
            if stream.selected:
                schema = get_selected_schema(name, schema, stream.mask)
            try:
                self.mapper.register_raw_stream_schema(name, schema, stream.primary_keys)
            except (StreamMapConfigError, ValueError):  # ValueError: flattened columns share a name.
                if stream.selected:
                    raise
                self.mapper.stream_maps.pop(name, None)
        # CustomStreamMap._eval is private: the only place that knows which expression failed.
        for stream_maps in self.mapper.stream_maps.values():
            for stream_map in stream_maps:
                if isinstance(stream_map, CustomStreamMap):
                    evaluate = partial(_evaluate, stream_map._eval, stream_map.stream_alias)  # noqa: SLF001
                    setattr(stream_map, "_eval", evaluate)  # noqa: B010 - To mypy, methods are not assignable.

    @override
    def _setup_signal_handlers(self) -> None:
        # Private. The SDK leaves out SIGHUP, which would cut a message in two. It stays ignored under nohup.
        super()._setup_signal_handlers()
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._handle_termination)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        # Private. The SDK would write the state in the middle of another message, and exit with status 0, which
        # schedulers take for success.
        self.on_signal(signum)


class _BookmarkWriter(StateWriter):
    """Writes the state with all bookmarks moved, even if it is the same as the last one.

    Some targets forget a state when a record follows it. Without another STATE, they would confirm none at the end.
    """

    def __init__(self, tap: SdkTap) -> None:
        super().__init__(tap.message_writer)
        self._tap = tap

    @override
    def write_state(self, state: Mapping[str, Any]) -> None:
        self._tap.move_bookmarks()
        self._tap.write_message(StateMessage(dict(state)))


def _evaluate(evaluate: Any, stream: str, *, expr: str, property_name: str | None, **arguments: Any) -> Any:
    """Evaluate an expression of a stream map.

    Raises:
        StreamMapError: It failed.
    """
    try:
        return evaluate(expr=expr, property_name=property_name, **arguments)
    except Exception as error:
        raise StreamMapError(stream, property_name, expr, error) from error


class SdkStream(Stream):
    """A stream with seams that the SDK lacks."""

    replication_key: str | None
    is_sorted = True
    """Otherwise the SDK keeps progress markers instead of a bookmark until the end of the stream."""

    def on_error(self, error: Exception) -> None:
        """Handle an error that ended the sync of this stream, or raise it to end the sync of all streams.

        For subclasses to override.
        """
        raise error

    def set_table_version(self, version: int) -> None:
        """Let RECORD messages carry a version from now on."""
        # Private, and so is the method for the message. The SDK would send ACTIVATE_VERSION before the rows, and if the
        # sync then fails, the target is left with an empty table.
        self._stream_version = version

    def activate_table_version(self) -> None:
        """Let the target drop the rows of other versions."""
        if self._stream_version is not None:
            self._write_activate_version_message(self._stream_version)

    def write_state(self) -> None:
        """Write a STATE if there are records that the last one does not cover."""
        # Private. The SDK writes none if a stream fails.
        self._write_state_message()

    @override  # type: ignore[misc]
    def sync(self, context: Context | None = None) -> None:
        # Final. The SDK has no hook for errors, and one failing stream ends the sync of all.
        try:
            super().sync(context)
        except Exception as error:  # noqa: BLE001 - `on_error` raises it, or knows better.
            self.on_error(error)

    @override
    def _increment_stream_state(self, latest_record: dict[str, Any], *, context: Context | None = None) -> None:
        # Private. Bookmarks move when a STATE is written: the public limit, `get_replication_key_signpost`, has no
        # effect on sorted streams. A `state_manager` of our own would be public, but cost more for each record.
        pass

    @property
    @override
    def emit_activate_version_messages(self) -> bool:
        # Public. See `set_table_version`.
        return False
