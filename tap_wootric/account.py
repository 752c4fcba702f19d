"""The account that a state belongs to, so that no sync continues with another one."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tap_wootric.settings import Settings

KEY = "account"
"""The account's key in a state, beside the bookmarks: Meltano merges states at every depth, and targets pass it on."""

_HASH_ROUNDS = 20_000  # Takes 10 ms per sync. Slow on purpose, because e-mail addresses can be guessed.


def account_of(settings: Settings, state: Mapping[str, Any]) -> dict[str, str]:
    """Return what the next states say about the account: its host, and a salted hash of the login.

    Args:
        settings: The settings.
        state: The state so far. Its salt is reused, so that an account keeps its hash.
    """
    (name, value), _secret = settings.credentials.items()
    selected = settings.account_token if name == "username" else None  # A client_id belongs to one account.
    salt = str(state.get(KEY, {}).get("salt") or secrets.token_hex(8))
    login = json.dumps([name, value, selected]).encode()
    hashed = hashlib.pbkdf2_hmac("sha256", login, salt.encode(), _HASH_ROUNDS).hex()
    return {"host": str(urlsplit(settings.api_url).hostname), "salt": salt, "login": hashed}


def warnings(account: Mapping[str, str], state: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line about a state that was read with another login, if it was.

    States of other taps, and of earlier versions of this one, do not name an account.

    Args:
        account: The account that the settings name.
        state: The state that the sync is to continue from.

    Raises:
        ValueError: The state belongs to another host.
    """
    known = state.get(KEY, {})
    if known.get("host", account["host"]) != account["host"]:
        raise ValueError(
            f"The state belongs to {known['host']}, but the settings name {account['host']}. If that is another "
            "account, clear the state and load into another schema; if it is the same account under another name, "
            f'remove "{KEY}" from the state'
        )
    if known.get("login", account["login"]) != account["login"]:
        yield (
            "The state belongs to another client_id, username or account_token. If that is another account, "
            "stop, clear the state, and load into another schema"
        )
