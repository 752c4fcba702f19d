"""The tap: its settings and what they must be, and its streams with one authenticator and one governor for all."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import version
from io import StringIO
from typing import IO, Any
from urllib.parse import urlsplit

from singer_sdk import Tap
from singer_sdk import typing as th
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.singerlib import Catalog

from tap_wootric import state as states
from tap_wootric.auth import WootricAuthenticator
from tap_wootric.client import WootricStream
from tap_wootric.governor import Governor
from tap_wootric.rows import utc
from tap_wootric.streams import STREAMS


class TapWootric(Tap):
    """Extracts end users and survey responses from Wootric (InMoment), and loses none of them."""

    name = "tap-wootric"

    config_jsonschema = th.PropertiesList(
        th.Property(
            "client_id",
            th.StringType,
            secret=True,
            title="Client ID",
            description="The client id of the account's API credentials (in Wootric: Settings, API).",
        ),
        th.Property(
            "client_secret",
            th.StringType,
            secret=True,
            title="Client Secret",
            description="The client secret that belongs to the client id.",
        ),
        th.Property(
            "api_url",
            th.StringType,
            default="https://api.wootric.com",
            title="API URL",
            description="The API's base URL. Accounts in Europe use https://api.wootric.eu, in Australia "
            "https://api.wootric.au.",
        ),
        th.Property(
            "start_date",
            th.DateTimeType,
            title="Start Date",
            description="Rows last updated before this time are not read, for instance 2024-01-01 or "
            "2024-01-01T00:00:00Z. Everything is read where it is not set.",
        ),
        th.Property(
            "lookback_window",
            th.IntegerType,
            default=300,
            title="Lookback Window",
            description="Seconds before its start from which a sync leaves the rows to be read once more by the "
            "next one, because a row may appear that long after the time it is stamped with.",
        ),
        th.Property(
            "request_timeout",
            th.IntegerType,
            default=60,
            title="Request Timeout",
            description="Seconds to wait for an answer of the API before the request is made again.",
        ),
        th.Property(
            "user_agent",
            th.StringType,
            title="User Agent",
            description="The User-Agent header of the requests; tap-wootric/VERSION where it is not set.",
        ),
    ).to_dict()

    def __init__(
        self,
        *,
        catalog: Any = None,
        parse_env_config: bool = False,
        **kwargs: Any,
    ) -> None:
        if parse_env_config:
            self._check_environment()
        super().__init__(catalog=_completed(catalog), parse_env_config=parse_env_config, **kwargs)

    def discover_streams(self) -> list[WootricStream]:
        """Return all streams; the API has the same ones for every account."""
        return [stream(self) for stream in STREAMS]

    @cached_property
    def governor(self) -> Governor:
        """The pace of all requests."""
        return Governor()

    @cached_property
    def authenticator(self) -> WootricAuthenticator:
        """The token of all requests."""
        return WootricAuthenticator(self.config, self.governor)

    def load_state(self, state: dict[str, Any]) -> None:
        """Take over a state, also one of singer-io's tap.

        Raises:
            ConfigValidationError: It is not a state.
        """
        try:
            super().load_state(states.understand(state, [stream.name for stream in STREAMS]))
        except ValueError as error:
            raise ConfigValidationError(str(error), errors=[f"The state cannot be used: {error}"]) from error

    # The command

    @classmethod
    def cb_config(cls, ctx: Any, param: Any, value: tuple[str, ...]) -> Any:
        """Read the files of settings.

        Raises:
            ConfigValidationError: One is missing, or is not a JSON object.
        """
        try:
            return super().cb_config(ctx, param, value)
        except (OSError, TypeError, ValueError) as error:
            raise _unusable("--config", str(error)) from error

    @classmethod
    def invoke(cls, *, state: IO[str] | None = None, catalog: IO[str] | None = None, **options: Any) -> None:
        """Run a sync.

        Raises:
            ConfigValidationError: A setting is wrong, or a file of state or catalog is not a JSON object.
        """
        super().invoke(state=_checked("--state", state), catalog=_checked("--catalog", catalog), **options)

    # Settings

    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        """Check the settings; nothing that is written about one ever holds its value.

        This overrides a private method of the SDK, whose own check prints a secret that is of a wrong type, and
        lets pass what is empty, misspelt or no date.

        Raises:
            ConfigValidationError: A setting is wrong, and `raise_errors` is set.
        """
        for name in [name for name, value in self._config.items() if value is None]:
            del self._config[name]
        self.append_builtin_config(self.config_jsonschema)
        errors = _problems(self._config, self.config_jsonschema["properties"]) if raise_errors else []
        if errors:
            raise ConfigValidationError("Config validation failed", errors=errors)
        errors = super()._validate_config(raise_errors=raise_errors)
        if raise_errors:
            self._config["api_url"] = self._config["api_url"].rstrip("/")
            if start_date := self._config.get("start_date"):
                self._config["start_date"] = utc(start_date)
        self._config.setdefault("user_agent", f"{self.name}/{version(self.name)}")
        return errors

    @classmethod
    def _check_environment(cls) -> None:
        """See to it that numbers in the environment are numbers: the SDK's reading of them ends in a traceback."""
        cls.append_builtin_config(cls.config_jsonschema)
        for name, schema in cls.config_jsonschema["properties"].items():
            variable = f"{cls.name}_{name}".replace("-", "_").upper()
            if "integer" in schema.get("type", ()) and not _is_integer(os.environ.get(variable, "0")):
                raise ConfigValidationError(
                    "Config validation failed", errors=[f"{name} (from {variable}) must be a whole number"]
                )


def _checked(option: str, file: IO[str] | None) -> IO[str] | None:
    """Return a file again, once it is sure that it holds a JSON object."""
    if file is None:
        return None
    try:
        text = file.read()
        content = json.loads(text)
    except ValueError as error:
        raise _unusable(option, str(error)) from error
    if not isinstance(content, dict):
        raise _unusable(option, "it is not a JSON object")
    return StringIO(text)


def _unusable(option: str, why: str) -> ConfigValidationError:
    return ConfigValidationError("Config validation failed", errors=[f"What {option} names cannot be used: {why}"])


def _is_integer(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _completed(catalog: Any) -> Any:
    """Return a catalog with what the SDK needs to find in it.

    That is the keys of each stream, which a catalog made by hand may lack and cannot change, and the replication
    method, which the Singer specification lets people choose in the metadata, where the SDK does not look.
    """
    if isinstance(catalog, Catalog):
        catalog = catalog.to_dict()
    if not isinstance(catalog, Mapping):
        return catalog
    classes = {stream.name: stream for stream in STREAMS}
    streams = [dict(entry) for entry in catalog["streams"]]
    for entry in streams:
        if stream := classes.get(entry["tap_stream_id"]):
            entry["key_properties"] = list(stream.primary_keys)
            entry["replication_key"] = stream.replication_key
        for item in entry.get("metadata", []):
            if not item["breadcrumb"] and (method := item["metadata"].get("replication-method")):
                entry["replication_method"] = method
    return {**catalog, "streams": streams}


def _problems(config: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the settings, a line each, in words that hold none of their values."""
    return [*_misspelt(config, known), *_mistyped(config)] or [*_missing(config), *_malformed(config)]


def _misspelt(config: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    for name in config:
        if name not in known and (close := difflib.get_close_matches(name, known, n=1, cutoff=0.75)):
            yield f"The setting {name} is unknown: did you mean {close[0]}?"


def _mistyped(config: Mapping[str, Any]) -> Iterator[str]:
    for name in ("client_id", "client_secret", "api_url", "start_date", "user_agent"):
        if not isinstance(config.get(name, ""), str):
            yield f"{name} must be text: put it in quotes"
    for name, least in (("lookback_window", 0), ("request_timeout", 1)):
        value = config.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            yield f"{name} must be a whole number of seconds, {least} or more"


def _missing(config: Mapping[str, Any]) -> Iterator[str]:
    missing = [
        f"{name} {'is empty' if name in config else 'is not set'}"
        for name in ("client_id", "client_secret")
        if not config.get(name, "").strip()
    ]
    if missing:
        yield f"{' and '.join(missing)}: the tap needs both parts of the account's API credentials"


def _malformed(config: Mapping[str, Any]) -> Iterator[str]:
    if not _is_base_url(config.get("api_url", "https://api.wootric.com")):
        yield "api_url must be like https://api.wootric.com: a scheme, a host, and nothing behind but a path"
    if config.get("start_date") and not _is_date(config["start_date"]):
        yield "start_date must be a date or a time, like 2024-01-01 or 2024-01-01T00:00:00Z"


def _is_base_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - Raises where it is no number.
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.hostname) and not (url.query or url.fragment or url.username)


def _is_date(text: str) -> bool:
    try:
        return utc(text).startswith(text[:3]) and text[4:5] == "-"
    except ValueError:
        return False
