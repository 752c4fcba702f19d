"""The tap: its settings, its streams, one authenticator and one rate_limiter for all of them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from functools import cached_property
from io import StringIO
from types import FrameType
from typing import IO, Any, ClassVar, NoReturn, cast

from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.capabilities import CapabilitiesEnum, PluginCapabilities
from singer_sdk.mapper import CustomStreamMap

from tap_wootric import catalog as catalogs
from tap_wootric import settings
from tap_wootric import state as states
from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.client import Client
from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import AccessDeniedError
from tap_wootric.messages import MessageWriter, silence_stdout
from tap_wootric.signals import Terminated
from tap_wootric.streams import STREAMS
from tap_wootric.streams.base import WootricStream

_PREFIX = "TAP_WOOTRIC_"
_SAME_WISH = 1.0
"""Seconds within which a second signal is taken for the first one, which a shell has forwarded."""


class TapWootric(Tap):
    """Extracts end users, survey responses and more from Wootric (InMoment), and loses none of them.

    Attributes:
        left_out: For each stream that the account may not read, what the API says.
    """

    name = "tap-wootric"
    config_jsonschema: ClassVar[dict[str, Any]] = settings.SCHEMA
    capabilities: ClassVar[list[CapabilitiesEnum]] = [
        one for one in Tap.capabilities if one is not PluginCapabilities.BATCH
    ]
    message_writer_class = MessageWriter
    message_writer: MessageWriter

    def __init__(self, *, catalog: Any = None, parse_env_config: bool = False, **kwargs: Any) -> None:
        self.append_builtin_config(self.config_jsonschema)  # The checks are to know the SDK's own settings.
        if parse_env_config:
            _refuse(settings.environment_errors(self.config_jsonschema["properties"], _PREFIX))
        try:
            catalog = catalogs.complete(catalog)
        except ValueError as error:
            _refuse([f"The catalog cannot be used: {error}"])
        self.left_out: dict[str, str] = {}
        super().__init__(catalog=catalog, parse_env_config=parse_env_config, **kwargs)
        if parse_env_config:
            for doubt in settings.environment_warnings(self.config_jsonschema["properties"], _PREFIX):
                self.logger.warning(doubt)

    def discover_streams(self) -> list[WootricStream]:
        """Return all streams; the API has the same ones for every account."""
        return [stream(self) for stream in STREAMS.values()]

    @cached_property
    def rate_limiter(self) -> RateLimiter:
        """The pace of all requests."""
        return RateLimiter()

    @cached_property
    def authenticator(self) -> WootricAuthenticator:
        """The token of all requests."""
        return WootricAuthenticator(
            api_url=self.config["api_url"],
            credentials={name: self.config[name] for name in settings.grant(self.config)},
            account_token=self.config.get("account_token"),
            user_agent=self.config["user_agent"],
            timeout_seconds=self.config["request_timeout"],
            rate_limiter=self.rate_limiter,
        )

    @cached_property
    def client(self) -> Client:
        """What sends all requests."""
        return Client(
            api_url=self.config["api_url"],
            authenticator=self.authenticator,
            rate_limiter=self.rate_limiter,
            timeout_seconds=self.config["request_timeout"],
        )

    def sync_all(self) -> None:  # type: ignore[misc]
        """Sync all selected streams, and name in the end those that the account may not read.

        To the SDK this method is final; it has no hook for what is to be done at a sync's end.

        Raises:
            ConfigValidationError: A setting is missing that only some streams need.
            AccessDeniedError: A selected stream was left out.
        """
        self._prepare()
        super().sync_all()
        self._report_left_out()

    def run_connection_test(self) -> bool:  # type: ignore[misc]
        """Read a row of each selected stream, which the SDK does of each there is; final to it as well.

        Raises:
            ConfigValidationError, AccessDeniedError: As with `sync_all`.
        """
        self._prepare()
        done = self.run_sync_dry_run(1, self._selected)
        self._report_left_out()
        return done

    @property
    def _selected(self) -> list[WootricStream]:
        return [cast("WootricStream", stream) for stream in self.streams.values() if stream.selected]

    def _prepare(self) -> None:
        """See that each selected stream has what it needs, before the first request of any."""
        self.left_out = {}
        for stream in self._selected:
            stream.check_settings()

    def _report_left_out(self) -> None:
        if self.left_out:
            streams = ", ".join(f"{name} ({reason})" for name, reason in self.left_out.items())
            raise AccessDeniedError(
                f"The account may not read {streams}: deselect it, or ask Wootric to open it. No other stream failed"
            )

    def move_bookmarks(self) -> None:
        """Have the state say how far all streams are."""
        for stream in self.streams.values():
            cast("WootricStream", stream).move_bookmark()

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a state, also one of singer-io's tap.

        Raises:
            ConfigValidationError: It is not a state.
        """
        try:
            super().load_state(states.understand(state, STREAMS))
        except ValueError as error:
            _refuse([f"The state cannot be used: {error}"])
        if names := states.unknown(state, STREAMS):
            self.logger.warning("The state names what is no stream of this tap: %s", ", ".join(names))

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings and complete them; no line about one ever holds its value.

        This overrides a private method of the SDK, whose own check prints a secret that is of a wrong type, and
        lets pass what is empty, misspelt or no date.

        Raises:
            ConfigValidationError: A setting is wrong, and `raise_errors` is set.
        """
        self._config = settings.without_empty(self._config)
        if raise_errors:
            _refuse(settings.errors(self._config, self.config_jsonschema["properties"]))
        errors = super()._validate_config(raise_errors=raise_errors)
        if raise_errors:
            for warning in settings.warnings(self._config, self.config_jsonschema["properties"], STREAMS):
                self.logger.warning(warning)
            self._config = settings.resolve(self._config)
        self._config.setdefault("user_agent", f"{self.name}/{self.plugin_version}")
        return errors

    # The command

    @classmethod
    def cb_config(cls, ctx: Any, param: Any, value: tuple[str, ...]) -> Any:
        """Read the files of settings.

        Raises:
            ConfigValidationError: One is missing, or is not a JSON object.
        """
        if any("{" in path for path in value):
            _refuse(["--config takes the path of a file, or ENV, and not the settings themselves"])
        try:
            return super().cb_config(ctx, param, value)
        except (OSError, TypeError, ValueError) as error:
            _refuse([f"What --config names cannot be used: {error}"])

    @classmethod
    def invoke(cls, *, state: IO[str] | None = None, catalog: IO[str] | None = None, **options: Any) -> None:
        """Run a sync.

        Raises:
            ConfigValidationError: A setting is wrong, or a file of state or catalog is not a JSON object.
        """
        try:
            try:
                super().invoke(state=_checked("--state", state), catalog=_checked("--catalog", catalog), **options)
            except Terminated as stop:
                stop.finish()
        except ConfigValidationError as error:  # Before the SDK adds that the validation failed, which is no help.
            cls.fail(error.errors)
        except BrokenPipeError:
            silence_stdout()
            cls.fail(["The target stopped reading. The next sync goes on from the last state it confirmed"])
        except Exception as error:
            if not (what := _failed_expression(error)):
                raise
            cls.fail([what])

    @classmethod
    def fail(cls, problems: Iterable[str]) -> NoReturn:
        """End the command with status 1, and with a line for each problem instead of a traceback."""
        for problem in problems:
            cls.logger.error(problem)
        sys.exit(1)

    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """End the sync with the state of what was emitted.

        This overrides a private method of the SDK. That one writes the state whatever the signal interrupts, another
        message as well, and exits with 0, which a scheduler takes for success.
        """
        begun = time.monotonic()

        def again(signum: int, _: FrameType | None) -> None:
            # One that follows at once is the same wish, from a shell that forwards it. A later one kills.
            if time.monotonic() - begun > _SAME_WISH:
                os._exit(128 + signum)

        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, again)
        self.message_writer.terminate(Terminated(signum, self))


def _refuse(errors: list[str]) -> None:
    """Raise an error whose lines are printed without a traceback; nothing where there are none."""
    if errors:
        raise ConfigValidationError("Config validation failed", errors=errors)


def _failed_expression(error: Exception) -> str | None:
    """Return which expression of stream_maps failed on a row, or None where it was none.

    The text of the error itself may hold what is in the row.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        mapper, expression = frame.f_locals.get("self"), frame.f_locals.get("expr")
        if isinstance(mapper, CustomStreamMap) and isinstance(expression, str):
            missing = isinstance(error, KeyError) and repr(error.args[0]) in expression
            reason = f"{type(error).__name__}: {error}" if missing else type(error).__name__
            where = f"{frame.f_locals.get('property_name')} of {mapper.stream_alias}"
            return f"An expression of stream_maps, for {where}, fails on a row ({reason})"
    return None


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _checked(option: str, file: IO[str] | None) -> IO[str] | None:
    """Return a file again, once it is sure that it holds a JSON object."""
    if file is None:
        return None
    try:
        text = file.read()
        problem = "" if isinstance(json.loads(text, parse_constant=_no_json), dict) else "it is not a JSON object"
    except ValueError as error:
        problem = str(error)
    if problem:
        _refuse([f"What {option} names cannot be used: {problem}"])
    return StringIO(text)
