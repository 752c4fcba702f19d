"""The settings, and what they must be."""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from singer_sdk import typing as th

from tap_wootric.records.timestamps import SECONDS_PER_DAY, normalize_timestamp, unix_seconds

HOSTS = {
    "us": "https://api.wootric.com",
    "eu": "https://api.wootric.eu",
    "au": "https://api.wootric.au",
}
"""The API's base URL for each region (documented)."""

GRANTS = (("client_id", "client_secret"), ("username", "password"))
"""The ways to get a token: exactly one of these pairs is set."""

_TEXTS = (*GRANTS[0], *GRANTS[1], "account_token", "region", "api_url", "start_date", "user_agent")
_NUMBERS = {
    "lookback_window": (" of seconds", 0, 365 * SECONDS_PER_DAY),
    "request_timeout": (" of seconds", 1, 3_600),
    "concurrency": ("", 1, 16),
}
"""Settings that are numbers, with the least and the most that they may be."""

SCHEMA: dict[str, Any] = th.PropertiesList(
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
        "username",
        th.StringType,
        title="Username",
        description="The e-mail address of a Wootric user, to log in with instead of the client id and secret.",
    ),
    th.Property(
        "password",
        th.StringType,
        secret=True,
        title="Password",
        description="The password that belongs to the username.",
    ),
    th.Property(
        "account_token",
        th.StringType,
        secret=True,
        title="Account Token",
        description="The account's token, NPS-…: it tells the region, and with username and password it picks the "
        "account of a user who has several.",
    ),
    th.Property(
        "region",
        th.StringType,
        allowed_values=[*HOSTS],
        title="Region",
        description="Where the account is: us, eu or au. If it is not set, the account token tells; else it is us.",
    ),
    th.Property(
        "api_url",
        th.StringType,
        title="API URL",
        description="Another base URL for the API than the region's: a proxy, or a test server.",
    ),
    th.Property(
        "start_date",
        th.DateTimeType,
        title="Start Date",
        description="Rows last updated before this time are not read, for instance 2024-01-01 or "
        "2024-01-01T00:00:00Z; with an older deployment of the API, responses and declines created before it. If it is "
        "not set, everything is read; nps_summary needs it, as its first day.",
    ),
    th.Property(
        "lookback_window",
        th.IntegerType,
        default=300,
        title="Lookback Window",
        description="Seconds before a sync's start whose rows the next sync reads once more, because a row may appear "
        "that long after the time it is stamped with.",
    ),
    th.Property(
        "concurrency",
        th.IntegerType,
        default=4,
        title="Concurrency",
        description="How many parts of a long list, or days of nps_summary, are read at a time, where the API "
        "announces no limit. 1 turns it off.",
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
        description="The User-Agent header of the requests. If it is not set, it is tap-wootric/VERSION.",
    ),
).to_dict()


def without_empty(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that are set: not null, and no empty text, but for credentials, where that is reported."""
    credentials = (*GRANTS[0], *GRANTS[1])
    return {name: value for name, value in config.items() if value is not None and (value != "" or name in credentials)}


def errors(config: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the settings, a line each, in words that hold none of their values.

    Args:
        config: The settings that are set.
        known: The properties of the settings' schema, the SDK's among them.
    """
    return [*_misspelt(config, known), *_mistyped(config)] or [*_credentials(config), *_malformed(config)]


def warnings(config: Mapping[str, Any], known: Mapping[str, Any], streams: Collection[str]) -> list[str]:
    """Return what is likely a mistake in settings that can be used, a line each."""
    maps = config.get("stream_maps")
    unmapped = [name for name in maps if name not in streams and name != "__else__"] if isinstance(maps, dict) else []
    return [
        *(f"The setting {name} is unknown, and has no effect" for name in config if name not in known),
        *(f"stream_maps names {name}, which is no stream: it has no effect" for name in unmapped),
    ]


def environment_errors(known: Mapping[str, Any], prefix: str) -> list[str]:
    """Return which settings in the environment cannot be read; the SDK's reading of them ends in a traceback."""
    problems = []
    for name, schema in known.items():
        variable = f"{prefix}{name.upper()}"
        text, types = os.environ.get(variable), schema.get("type", ())
        if text is not None and "integer" in types and not _can_be_read(text, int):
            problems.append(f"{name} (from {variable}) must be a whole number")
        if text is not None and "object" in types and not _can_be_read(text, json.loads):
            problems.append(f"{name} (from {variable}) must be JSON")
    return problems


def environment_warnings(known: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield what is likely a misspelt setting in the environment, of which the SDK reads no others than it knows."""
    for variable in os.environ:
        name = variable.removeprefix(prefix).lower()
        if variable.startswith(prefix) and name not in known and (close := difflib.get_close_matches(name, known, n=1)):
            yield f"{variable} is no setting, and has no effect: did you mean {prefix}{close[0].upper()}?"


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which nothing is wrong, with `api_url` set, and with `start_date` in UTC."""
    url = config.get("api_url") or HOSTS[config.get("region") or _region(config.get("account_token")) or "us"]
    start_date = {"start_date": normalize_timestamp(config["start_date"])} if "start_date" in config else {}
    return {**config, "api_url": url.rstrip("/"), **start_date}


def grant(config: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the two settings that a token is got with."""
    return GRANTS[0] if config.get(GRANTS[0][0]) else GRANTS[1]


def _misspelt(config: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    for name in config:
        if name not in known and (close := difflib.get_close_matches(name, known, n=1, cutoff=0.75)):
            yield f"The setting {name} is unknown: did you mean {close[0]}?"


def _mistyped(config: Mapping[str, Any]) -> Iterator[str]:
    for name in _TEXTS:
        value = config.get(name, "")
        if not isinstance(value, str):
            yield f"{name} must be text: put it in quotes"
        elif not value.isprintable():
            yield f"{name} holds a character that cannot be printed, such as the end of a line"
        elif name == "user_agent" and not value.isascii():
            yield f"{name} must be plain ASCII"
    for name, (unit, least, most) in _NUMBERS.items():
        value = config.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            yield f"{name} must be a whole number{unit} from {least} to {most}"


def _credentials(config: Mapping[str, Any]) -> Iterator[str]:
    given = [names for names in GRANTS if any(config.get(name) for name in names)] or GRANTS[:1]
    if len(given) > 1:
        yield "client_id and client_secret are set, and username or password too: one of the two ways is enough"
        return
    missing = [
        f"{name} {'is empty' if name in config else 'is not set'}"
        for name in given[0]
        if not config.get(name, "").strip()
    ]
    if missing:
        yield f"{' and '.join(missing)}: set client_id and client_secret, or username and password"


def _malformed(config: Mapping[str, Any]) -> Iterator[str]:
    region, token = config.get("region"), config.get("account_token")
    if region is not None and region not in HOSTS:
        yield f"region must be one of {', '.join(HOSTS)}"
    if token is not None and not token.startswith("NPS-"):
        yield "account_token must begin with NPS-"
    elif token is not None and region in HOSTS and region != _region(token):
        yield f"region is {region}, but account_token is one of the region {_region(token)}: leave one of them out"
    if "api_url" in config and not _is_base_url(config["api_url"]):
        yield "api_url must be like https://api.wootric.com: a scheme, a host, and nothing behind but a path"
    if "start_date" in config and not _is_date(config["start_date"]):
        yield "start_date must be a date or a time, like 2024-01-01 or 2024-01-01T00:00:00Z"
    elif (
        "start_date" in config
        and unix_seconds(normalize_timestamp(config["start_date"])) > time.time() + SECONDS_PER_DAY
    ):
        yield "start_date lies in the future: nothing would be read"


def _region(account_token: str | None) -> str | None:
    """Return the region that an account token tells by its prefix (documented)."""
    if account_token is None:
        return None
    return {"NPS-EU-": "eu", "NPS-AU-": "au"}.get(account_token[:7], "us")


def _is_base_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - Raises where it is no number.
        (url.hostname or "").encode("idna")  # Raises where a part of it is too long.
    except ValueError:
        return False
    has_more = url.query or url.fragment or url.username is not None
    return url.scheme in {"http", "https"} and bool(url.hostname) and not has_more


def _is_date(text: str) -> bool:
    # Not 20240101 and the like, which would be read as Unix seconds.
    return text[4:5] == "-" and _can_be_read(text, normalize_timestamp)


def _can_be_read(text: str, read: Callable[[str], Any]) -> bool:
    try:
        read(text)
    except ValueError:
        return False
    return True
