"""A wrong setting is reported in a line that names it, with its value unless that is a secret."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from tap_wootric import settings
from tap_wootric.settings import SCHEMA, Settings

SECRET = "s3cr3t-in-any-form"  # noqa: S105 - It opens nothing.
VALID = {"client_id": "the-id", "client_secret": SECRET}
DEFAULTS = {"lookback_window": 300, "recheck_days": 30, "request_timeout": 60}
PROPERTIES = {**SCHEMA["properties"], "stream_maps": {"type": ["object", "null"]}}
NOW = 1_700_000_000


def errors(**changed: Any) -> list[str]:
    return settings.errors({**VALID, **changed}, PROPERTIES, now=NOW)


def built(**changed: Any) -> Settings:
    return Settings.from_config({**VALID, **DEFAULTS, **changed}, default_user_agent="tap-wootric/1.2.3")


def test_every_property_has_a_title_and_a_description() -> None:
    for name, schema in SCHEMA["properties"].items():
        assert schema["title"], name
        assert schema["description"].endswith("."), name


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"account_token": "NPS-EU-1", "region": "eu"},
        {"api_url": "http://localhost:8080/wootric/"},
        {"start_date": "2023-11-15T14:00:00-08:00"},
        {"lookback_window": 0, "recheck_days": 36_500, "request_timeout": 3_600},
        {"unknown_and_unlike_any": 1},
    ],
)
def test_valid_settings_have_no_errors(changed: dict[str, Any]) -> None:
    assert errors(**changed) == []


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"start_date": "2023-11-16"}, "start_date is in the future, so nothing would be read: '2023-11-16'"),
        (
            {"start_date": "20230101"},
            "start_date must be a date or time such as 2024-01-01 or 2024-01-01T00:00:00Z, not '20230101'",
        ),
        ({"start_date": 20230101}, "start_date must be a string, not 20230101; put it in quotes"),
        (
            {"start_date": "2023-01-01\n"},
            "start_date contains a non-printable character, such as a line break: '2023-01-01\\n'",
        ),
        ({"recheck_days": True}, "recheck_days must be a whole number of days between 0 and 36500, not true"),
        ({"recheck_days": [SECRET]}, "recheck_days must be a whole number of days between 0 and 36500, not a list"),
        ({"recheck_days": {}}, "recheck_days must be a whole number of days between 0 and 36500, not an object"),
        (
            {"lookback_window": "300"},
            "lookback_window must be a whole number of seconds between 0 and 31536000, not '300'",
        ),
        ({"user_agent": "日本"}, "user_agent must contain ASCII characters only, not '日本'"),
        ({"username": "ada"}, "Set either client_id and client_secret or username and password, not both"),
        ({"account_token": SECRET}, "account_token must start with NPS-"),
        (
            {"account_token": "NPS-1", "region": "eu"},
            "region is eu, but account_token belongs to region us; remove one of the two",
        ),
        ({"region": "x" * 100}, f"region must be one of us, eu, au, not '{'x' * 59}…"),
        ({"client_secert": SECRET}, "Unknown setting client_secert; did you mean client_secret?"),
        ({"startdate": "2024-01-01"}, "Unknown setting startdate; did you mean start_date?"),
        ({"stream_maps_": {}}, "Unknown setting stream_maps_; did you mean stream_maps?"),
        ({"my_stream_maps": {}}, "Unknown setting my_stream_maps; did you mean stream_maps?"),
    ],
)
def test_a_mistake_is_one_line_with_the_value_unless_it_is_a_secret(changed: dict[str, Any], error: str) -> None:
    assert errors(**changed) == [error]
    assert SECRET not in error


@pytest.mark.parametrize(
    "url",
    [
        "api.wootric.eu",
        "https://api.wootric.com:port",
        f"https://user:{SECRET}@api.wootric.com/wootric",
        f"https://api.wootric.com?access_token={SECRET}",
        f"https://api.wootric.com/#{SECRET}",
        f"https://{'a' * 70}.com",
    ],
)
def test_a_wrong_url_is_not_shown_as_it_may_hold_a_secret(url: str) -> None:
    start = "api_url must be a URL such as https://api.wootric.com"
    assert errors(api_url=url) == [f"{start}, with a scheme, a host and, if needed, a path"]


@pytest.mark.parametrize("name", ["client_id", "client_secret", "username", "password", "account_token", "api_url"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([SECRET], "must be a string; put it in quotes"),
        (12345678, "must be a string; put it in quotes"),
        (f"{SECRET}\n", "contains a non-printable character, such as a line break"),
        (f"{SECRET}\ud800", "contains a non-printable character, such as a line break"),
        (f" {SECRET}", "begins or ends with a space; remove it"),
        (" ", "begins or ends with a space; remove it"),
    ],
)
def test_a_secret_is_never_shown(name: str, value: object, error: str) -> None:
    assert errors(**{name: value}) == [f"{name} {error}"]


def test_the_placeholder_from_an_example_is_no_credential() -> None:
    [error] = errors(account_token="NPS-…")  # noqa: S106
    assert error == "account_token is the placeholder from an example; replace it with the account's own"


def test_mistakes_are_reported_together() -> None:
    assert len(errors(region="asia", api_url="x", start_date="yesterday")) == 3


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ({}, "client_id is not set and client_secret is not set: "),
        ({"password": SECRET}, "username is not set: "),
    ],
)
def test_missing_credentials_are_named(config: dict[str, Any], error: str) -> None:
    (line,) = settings.errors(config, PROPERTIES, now=NOW)
    assert line.startswith(error)


def test_nulls_and_empty_strings_count_as_not_set() -> None:
    config = {"start_date": None, "region": "", "client_id": "", "password": None, "recheck_days": 4.0}
    assert settings.normalized(config, PROPERTIES) == {"recheck_days": 4}
    assert settings.normalized({"region": "EU"}, PROPERTIES) == {"region": "eu"}


@pytest.mark.parametrize(
    ("changed", "api_url"),
    [
        ({}, "https://api.wootric.com"),
        ({"account_token": "NPS-1a2b"}, "https://api.wootric.com"),
        ({"account_token": "NPS-EU-1a2b"}, "https://api.wootric.eu"),
        ({"region": "au"}, "https://api.wootric.au"),
        ({"region": "au", "api_url": "http://localhost:8080/wootric/"}, "http://localhost:8080/wootric"),
    ],
)
def test_the_api_url_is_the_setting_or_that_of_the_region_or_account_token(
    changed: dict[str, Any], api_url: str
) -> None:
    assert built(**changed).api_url == api_url


def test_settings_are_typed_frozen_and_keep_their_secrets() -> None:
    typed = built(start_date="2024-01-01", account_token="NPS-EU-1a2b")  # noqa: S106 - Made up.
    assert typed.start_date == 1_704_067_200
    assert typed.credentials == VALID
    assert (typed.lookback_seconds, typed.recheck_days, typed.request_timeout_seconds) == (300, 30, 60)
    assert typed.user_agent == "tap-wootric/1.2.3"
    assert SECRET not in repr(typed)
    assert "NPS-EU" not in repr(typed)
    with pytest.raises(FrozenInstanceError):
        typed.recheck_days = 5  # type: ignore[misc]


def test_the_password_grant_and_a_user_agent_are_accepted() -> None:
    config = {"username": "ada", "password": SECRET, "user_agent": "ours/2", **DEFAULTS}
    typed = Settings.from_config(config, default_user_agent="tap-wootric/1.2.3")
    assert typed.credentials == {"username": "ada", "password": SECRET}
    assert (typed.start_date, typed.account_token, typed.user_agent) == (None, None, "ours/2")


@pytest.mark.parametrize("name", ["lookback_window", "recheck_days", "request_timeout"])
def test_the_schema_has_the_limits_of_whole_numbers_and_their_defaults(name: str) -> None:
    property_ = SCHEMA["properties"][name]
    assert property_["default"] == DEFAULTS[name]
    for limit, beyond in ((property_["minimum"], -1), (property_["maximum"], 1)):
        assert errors(**{name: limit}) == []
        assert len(errors(**{name: limit + beyond})) == 1


def test_settings_without_effect_are_warned_about() -> None:
    assert settings.warnings({**VALID, "comment": 1}, PROPERTIES) == ["Ignoring unknown setting comment"]


def test_a_url_without_encryption_is_warned_about_except_on_this_machine() -> None:
    for url in ("http://api.wootric.com", "HTTP://127.evil.example"):
        [line] = settings.warnings({**VALID, "api_url": url}, PROPERTIES)
        assert line.startswith("api_url begins with http://, so the credentials")
    for url in ("https://api.wootric.com", "http://127.0.0.1:8080", "http://LOCALHOST", "http://[::1]/api"):
        assert settings.warnings({**VALID, "api_url": url}, PROPERTIES) == []


def test_secrets_are_found_in_wrong_settings_too() -> None:
    config = {
        "client_secret": ["a"],
        "password": 1,
        "region": "us",
        "stream_map_config": {"salts": {"old": ["b", "c"]}},
    }
    assert sorted(settings.secrets(config)) == ["1", "a", "b", "c"]


def test_the_environment_is_parsed_by_type_and_empty_variables_count_as_not_set() -> None:
    properties = {**PROPERTIES, "flattening_enabled": {"type": ["boolean", "null"]}}
    environment = {
        "TAP_WOOTRIC_RECHECK_DAYS": "four",
        "TAP_WOOTRIC_STREAM_MAPS": '{"a": secret}',
        "TAP_WOOTRIC_LOOKBACK_WINDOW": "300",
        "TAP_WOOTRIC_REQUEST_TIMEOUT": "",
        "TAP_WOOTRIC_FLATTENING_ENABLED": "yep",
    }
    config = settings.from_environment(environment, properties)
    assert (config["lookback_window"], "request_timeout" in config) == (300, False)
    assert settings.errors({**VALID, **config}, properties, now=NOW) == [
        "recheck_days must be a whole number of days between 0 and 36500, not 'four'",
        "stream_maps must be a JSON object: Expecting value: line 1 column 7 (char 6)",
        "flattening_enabled must be true or false, not 'yep'",
    ]


def test_misspelled_variables_are_warned_about_and_others_are_not() -> None:
    names = (
        "STRAT_DATE",
        "START_DATE_",
        "START",
        "LOGLEVEL",
        "REGION",
        "ACME_CLIENT_ID",
        "STREAM_MAPS_SALT",
        "_SELECT",
    )
    variables = ("STRAT_DATE", *(f"TAP_WOOTRIC_{name}" for name in names))
    assert [*settings.environment_warnings(variables, PROPERTIES)] == [
        f"Ignoring unknown setting TAP_WOOTRIC_{name}; did you mean TAP_WOOTRIC_START_DATE?" for name in names[:3]
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (" ", "it is empty"),
        ("{", "Expecting property name"),
        ('["\\ud800"]', "'utf-8' codec"),
        ("[" * 100_000, "it is nested too deeply"),
    ],
)
def test_text_that_is_not_json_is_refused(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=f"^{error}"):
        settings.parse_json(text)
