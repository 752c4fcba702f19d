"""The settings: their schema, their checks, and the typed object that the rest of the tap uses."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from singer_sdk import typing as th

from tap_wootric.records.timestamps import SECONDS_PER_DAY, normalize_timestamp, unix_seconds

API_URLS = {
    "us": "https://api.wootric.com",
    "eu": "https://api.wootric.eu",
    "au": "https://api.wootric.au",
}
"""The base URL of the API in each region (documented)."""

ENVIRONMENT_PREFIX = "TAP_WOOTRIC_"
"""Environment variables with this prefix are settings."""

GRANTS = (("client_id", "client_secret"), ("username", "password"))
"""The pairs of settings that obtain a token. Exactly one pair must be set."""

_UNITS = {"lookback_window": " of seconds", "recheck_days": " of days", "request_timeout": " of seconds"}
"""The units of integers, as error messages put them."""

_BOOLEANS = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(("false", "0", "no", "off"), False)
"""How an environment variable spells a boolean: as in the SDK, which takes any other text for false."""

_MAX_INTEGER = 10**9
"""The largest value of an integer whose schema has no maximum."""

_SECRETS = {*GRANTS[0], *GRANTS[1], "account_token"}
"""Settings whose values are never logged. The username is one of them, because people paste their password into it."""

_HIDDEN = {*_SECRETS, "api_url"}
"""Settings whose values no error shows. A URL may hold a secret."""

_MAX_VALUE_LENGTH = 60
"""Characters of a value that an error quotes."""

_LOOPBACK = re.compile(r"(.+\.)?localhost|127(\.\d+){3}|::1")

_REGION_PREFIXES = {"NPS-EU-": "eu", "NPS-AU-": "au"}
"""Prefixes of account tokens (documented). Tokens without one of these belong to the region `us`."""

SCHEMA: dict[str, Any] = th.PropertiesList(
    th.Property(
        "client_id",
        th.StringType,
        secret=True,
        title="Client ID",
        description="Client ID of the account's API credentials (in Wootric: Settings > API).",
    ),
    th.Property(
        "client_secret",
        th.StringType,
        secret=True,
        title="Client Secret",
        description="Client secret that belongs to the client ID.",
    ),
    th.Property(
        "username",
        th.StringType,
        title="Username",
        description="Email address of a Wootric user, as an alternative to the client ID and secret.",
    ),
    th.Property(
        "password",
        th.StringType,
        secret=True,
        title="Password",
        description="Password that belongs to the username.",
    ),
    th.Property(
        "account_token",
        th.StringType,
        secret=True,
        title="Account Token",
        description="The account's token (NPS-…). It determines the region. With username and password, it also "
        "selects the account if the user has several.",
    ),
    th.Property(
        "region",
        th.StringType,
        allowed_values=[*API_URLS],
        title="Region",
        description="Region of the account: us, eu or au. By default, the region of the account token, else us.",
    ),
    th.Property(
        "api_url",
        th.StringType,
        title="API URL",
        description="Base URL of the API, if it is not the region's: a proxy or a test server, for example.",
    ),
    th.Property(
        "start_date",
        th.DateTimeType,
        title="Start Date",
        description="Date or time, such as 2024-01-01 or 2024-01-01T00:00:00Z, before which rows are skipped: end "
        "users by their last update, responses and declines by their creation. By default, everything is read. "
        "nps_summary and email_stats require it, as their first day.",
    ),
    th.Property(
        "lookback_window",
        th.IntegerType(minimum=0, maximum=365 * SECONDS_PER_DAY),
        default=300,
        title="Lookback Window",
        description="How many seconds before the last sync's start to read again, because a row can appear some time "
        "after its own timestamp.",
    ),
    th.Property(
        "recheck_days",
        th.IntegerType(minimum=0, maximum=36_500),
        default=30,
        title="Recheck Days",
        description="How many days of responses and declines the first sync of each day (UTC) reads again, because the "
        "API cannot say which of them have changed. Notes, tags and other late changes arrive that way. 0 turns it "
        "off.",
    ),
    th.Property(
        "request_timeout",
        th.IntegerType(minimum=1, maximum=3_600),
        default=60,
        title="Request Timeout",
        description="How many seconds to wait for a response before the request is retried.",
    ),
    th.Property(
        "user_agent",
        th.StringType,
        title="User Agent",
        description="User-Agent header of the requests. Defaults to tap-wootric/VERSION.",
    ),
).to_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one tap.

    Attributes:
        api_url: The base URL of the API, without a slash at its end.
        credentials: The two settings of the grant, by their names.
        account_token: The account's token, if it is set.
        start_date: Unix second before which rows are skipped, or None to read everything.
        lookback_seconds: How far behind the start of a sync the bookmarks of lists stay.
        recheck_days: How many days of responses and declines the first sync of a day reads again.
        request_timeout_seconds: How long to wait for a response.
        user_agent: The User-Agent header of the requests.
    """

    api_url: str
    credentials: Mapping[str, str] = field(repr=False)
    account_token: str | None = field(repr=False)
    start_date: int | None
    lookback_seconds: int
    recheck_days: int
    request_timeout_seconds: int
    user_agent: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, default_user_agent: str) -> Self:
        """Return the settings in a config for which `errors` finds nothing, defaults included."""
        account_token = config.get("account_token")
        region = config.get("region") or _region(account_token)
        start_date = config.get("start_date")
        return cls(
            api_url=(config.get("api_url") or API_URLS[region]).rstrip("/"),
            credentials={name: config[name] for name in _grants_in_use(config)[0]},
            account_token=account_token,
            start_date=None if start_date is None else unix_seconds(normalize_timestamp(start_date)),
            lookback_seconds=config["lookback_window"],
            recheck_days=config["recheck_days"],
            request_timeout_seconds=config["request_timeout"],
            user_agent=config.get("user_agent", default_user_agent),
        )


def normalized(config: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the region in lower case, and numbers such as 4.0 as integers where these are expected.

    Nulls and empty strings, which Meltano passes for settings that are not set, are dropped.
    """
    result = {name: value for name, value in config.items() if value is not None and value != ""}
    for name, value in result.items():
        if name == "region" and isinstance(value, str):
            result[name] = value.lower()
        elif isinstance(value, float) and value.is_integer() and "integer" in properties.get(name, {}).get("type", ()):
            result[name] = int(value)
    return result


def errors(config: Mapping[str, Any], properties: Mapping[str, Any], *, now: float) -> list[str]:
    """Return one line for each mistake in a config. It shows the value, unless that is a secret.

    Args:
        config: The settings that are set.
        properties: The properties of the settings' schema, including the SDK's own.
        now: The current Unix time in seconds.
    """
    misspelt = [
        f"Unknown setting {name}; did you mean {meant}?" for name in config if (meant := _meant(name, properties, 0.75))
    ]
    return [*misspelt, *_mistyped(config, properties)] or [
        *_credential_errors(config),
        *_region_errors(config),
        *_url_errors(config),
        *_start_date_errors(config, now),
    ]


def warnings(config: Mapping[str, Any], properties: Mapping[str, Any]) -> list[str]:
    """Return one line for each setting that has no effect, or that shows the credentials to others."""
    lines = [f"Ignoring unknown setting {name}" for name in config if name not in properties]
    url = urlsplit(config.get("api_url", ""))
    if url.scheme == "http" and not _LOOPBACK.fullmatch(url.hostname or ""):
        lines.append("api_url begins with http://, so the credentials and all rows are sent unencrypted; use https://")
    return lines


def secrets(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the credentials, and all texts and numbers of `stream_map_config`, such as salts."""
    values = [value for name, value in config.items() if name in {*_SECRETS, "stream_map_config"}]
    while values:
        match values.pop():
            case str() | int() | float() as value:
                yield str(value)
            case Mapping() as mapping:
                values += mapping.values()
            case list() as items:
                values += items


def from_environment(environment: Mapping[str, str], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in environment variables. Empty variables count as not set.

    A text that does not have the type of its setting stays text, for `errors` to report.
    """
    config: dict[str, Any] = {}
    for name, schema in properties.items():
        text = environment.get(f"{ENVIRONMENT_PREFIX}{name.upper()}")
        if not text:
            continue
        config[name] = text
        if "boolean" in schema["type"]:
            config[name] = _BOOLEANS.get(text.lower(), text)
        elif "string" not in schema["type"]:
            with suppress(ValueError):
                config[name] = parse_json(text)
    return config


def environment_warnings(environment: Iterable[str], properties: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line for each environment variable that looks like a misspelled setting.

    Fields of settings (TAP_WOOTRIC_STREAM_MAP_CONFIG_SALT), settings of other accounts (TAP_WOOTRIC_ACME_REGION) and
    Meltano's own variables (TAP_WOOTRIC__SELECT) look similar, too.
    """
    objects = tuple(f"{name}_" for name, schema in properties.items() if "object" in schema["type"])
    endings = tuple(f"_{name}" for name in properties)
    for variable in environment:
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" in variable:
            continue
        if not name.startswith(objects) and not name.endswith(endings) and (meant := _meant(name, properties, 0.6)):
            yield f"Ignoring unknown setting {variable}; did you mean {ENVIRONMENT_PREFIX}{meant.upper()}?"


def _meant(name: str, properties: Iterable[str], cutoff: float) -> str:
    """Return the setting that an unknown name resembles most, or an empty string if none reaches the cutoff."""
    return "" if name in properties else next(iter(difflib.get_close_matches(name, properties, n=1, cutoff=cutoff)), "")


def _mistyped(config: Mapping[str, Any], properties: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in properties.items():
        if name not in config:
            continue
        value, types = config[name], schema["type"]
        if "string" in types:
            yield from _string_errors(name, value)
        elif "integer" in types:
            minimum, maximum = schema.get("minimum", 0), schema.get("maximum", _MAX_INTEGER)
            if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
                unit = _UNITS.get(name, "")
                yield f"{name} must be a whole number{unit} between {minimum} and {maximum}{_not(name, value)}"
        elif "boolean" in types and not isinstance(value, bool):
            yield f"{name} must be true or false{_not(name, value)}"
        elif "object" in types and not isinstance(value, Mapping):  # It may hold a secret.
            yield f"{name} must be a JSON object{_json_error(value)}"


def _string_errors(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, str):
        yield f"{name} must be a string{_not(name, value)}; put it in quotes"
    elif not value.isprintable():
        shown = "" if name in _HIDDEN else f": {_shown(value)}"
        yield f"{name} contains a non-printable character, such as a line break{shown}"
    elif value != value.strip():
        yield f"{name} begins or ends with a space{_not(name, value)}; remove it"
    elif name in _SECRETS and value.endswith("…"):
        yield f"{name} is the placeholder from an example; replace it with the account's own"
    elif name == "user_agent" and not value.isascii():
        yield f"{name} must contain ASCII characters only{_not(name, value)}"


def _grants_in_use(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the grants of which any setting is set; the usual one if there are none."""
    return [grant for grant in GRANTS if not config.keys().isdisjoint(grant)] or [GRANTS[0]]


def _credential_errors(config: Mapping[str, Any]) -> Iterator[str]:
    grant, *others = _grants_in_use(config)
    if others:
        yield "Set either client_id and client_secret or username and password, not both"
        return
    if missing := [f"{name} is not set" for name in grant if name not in config]:
        yield f"{' and '.join(missing)}: set client_id and client_secret, or username and password"


def _region_errors(config: Mapping[str, Any]) -> Iterator[str]:
    region, account_token = config.get("region"), config.get("account_token")
    if region is not None and region not in API_URLS:
        yield f"region must be one of {', '.join(API_URLS)}{_not('region', region)}"
    if account_token is None:
        return
    if not account_token.startswith("NPS-"):
        yield "account_token must start with NPS-"
    elif region in API_URLS and region != _region(account_token):
        yield f"region is {region}, but account_token belongs to region {_region(account_token)}; remove one of the two"


def _url_errors(config: Mapping[str, Any]) -> Iterator[str]:
    try:
        url = urlsplit(config.get("api_url", API_URLS["us"]))
        url.port  # noqa: B018 - Raises if it is not a number.
        host = (url.hostname or "").encode("idna")  # Raises if a label is too long.
        is_base_url = url.scheme in {"http", "https"} and host and not (url.query or url.fragment or "@" in url.netloc)
    except ValueError:
        is_base_url = False
    if not is_base_url:
        yield "api_url must be a URL such as https://api.wootric.com, with a scheme, a host and, if needed, a path"


def _start_date_errors(config: Mapping[str, Any], now: float) -> Iterator[str]:
    if "start_date" not in config:
        return
    text = config["start_date"]
    try:
        second = unix_seconds(normalize_timestamp(text)) if text[4:5] == "-" else None  # 20240101 is no Unix second.
    except ValueError:
        second = None
    if second is None:
        expected = "a date or time such as 2024-01-01 or 2024-01-01T00:00:00Z"
        yield f"start_date must be {expected}{_not('start_date', text)}"
    elif second > now + SECONDS_PER_DAY:
        yield f"start_date is in the future, so nothing would be read: {_shown(text)}"


def _not(name: str, value: object) -> str:
    """Return the end of an error about a value: `, not 'uk'`, or nothing if it may hold a secret."""
    return "" if name in _HIDDEN else f", not {_shown(value)}"


def _shown(value: object) -> str:
    """Return a value as an error quotes it: on one line, and not too long."""
    if isinstance(value, list | Mapping):  # It may hold anything.
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:_MAX_VALUE_LENGTH]}…"


def parse_json(text: str | bytes) -> Any:
    """Return the value of a JSON document.

    Raises:
        ValueError: It is empty, not JSON or nested too deeply, or has a lone surrogate, which no message can hold.
    """
    if not text.strip():
        raise ValueError("it is empty")
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return content


def _json_error(value: object) -> str:
    """Return why a text is not JSON, as the end of an error, without quoting it. Empty for any other value."""
    try:
        if isinstance(value, str):
            parse_json(value)
    except ValueError as error:
        return f": {error}"
    return ""


def _region(account_token: str | None) -> str:
    """Return the region that the prefix of an account token stands for."""
    return _REGION_PREFIXES.get((account_token or "")[: len("NPS-EU-")], "us")
