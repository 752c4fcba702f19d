"""A state remembers the account that it was read from, and is not continued with another one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tap_wootric import account
from tap_wootric.settings import Settings
from tests.unit.fakes import CONFIG, make_tap

USER = {"client_id": None, "client_secret": None, "username": "jane@example.test", "password": "x"}


def settings(**config: Any) -> Settings:
    found: Settings = make_tap(**config).settings
    return found


def state_of(**config: Any) -> dict[str, Any]:
    """Return the state of a sync with some settings."""
    return {"bookmarks": {}, "account": account.account_of(settings(**config), {})}


def warnings(state: Any, **config: Any) -> list[str]:
    """Return what is logged of a sync that continues from a state."""
    return [*account.warnings(account.account_of(settings(**config), state), state)]


def test_a_state_names_the_host_and_neither_its_port_nor_the_login() -> None:
    text = json.dumps([state_of(**USER, api_url="http://LOCALHOST:8080/path"), state_of()])
    assert '"host": "localhost"' in text
    assert '"host": "api.wootric.com"' in text
    assert not any(part in text for part in ("8080", "jane", CONFIG["client_id"], CONFIG["client_secret"]))


def test_a_login_keeps_its_hash_within_a_state_and_has_another_one_in_every_other_state() -> None:
    state = state_of()
    assert account.account_of(settings(), state) == state["account"]
    assert state_of()["account"]["login"] != state["account"]["login"]


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"region": "us"}, {}),
        ({"region": "us"}, {"api_url": "https://API.wootric.com:443/"}),
        ({"api_url": "http://localhost:1"}, {"api_url": "http://localhost:2"}),
        ({"client_secret": "old"}, {"client_secret": "new"}),
        ({}, {"account_token": "NPS-1"}),  # With a client_id, it only determines the region.
    ],
)
def test_a_state_of_the_same_account_is_continued_without_a_warning(before: Any, now: Any) -> None:
    assert warnings(state_of(**before), **now) == []


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({}, {"client_id": "another"}),
        ({}, USER),
        (USER, {**USER, "username": "joe@example.test"}),
        ({**USER, "account_token": "NPS-1"}, {**USER, "account_token": "NPS-2"}),
    ],
)
def test_a_state_of_another_login_is_warned_about(before: Any, now: Any) -> None:
    [line] = warnings(state_of(**before), **now)
    assert line.startswith("The state belongs to another client_id, username or")


def test_a_state_of_another_host_is_an_error_that_names_both() -> None:
    with pytest.raises(ValueError, match=r"belongs to localhost, but the settings name api\.wootric\.eu\. If that is"):
        warnings(state_of(api_url="http://localhost:1"), region="eu")


def test_a_state_that_names_no_account_is_accepted() -> None:
    assert warnings({}) == []
