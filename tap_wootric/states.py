"""The forms of a state that are understood, brought to the SDK's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tap_wootric.rows import SECOND, utc

_KEY = "updated_at"


def understand(state: Mapping[str, Any], streams: Collection[str]) -> dict[str, Any]:
    """Return a state with a bookmark in UTC and whole seconds for each stream that has one.

    Besides the SDK's form, these are understood: `{"end_users": "2020-01-01T00:00:00Z"}`, which singer-io's tap
    writes, `{"bookmarks": {"end_users": {"updated_at": "2020-01-01T00:00:00Z"}}}`, and a whole STATE message.

    Args:
        state: The content of a state file.
        streams: The names of the tap's streams. Bookmarks of others are kept as they are.

    Raises:
        ValueError: It is none of these. The text says why.
    """
    if state.get("type") == "STATE" and isinstance(state.get("value"), Mapping):
        state = state["value"]
    bookmarks = state.get("bookmarks") or {}
    if not isinstance(bookmarks, Mapping):
        raise ValueError("its bookmarks are not a JSON object")  # noqa: TRY004 - What is in a file is a value.
    flat = {name: {_KEY: state[name]} for name in streams if state.get(name)}
    return {"bookmarks": {name: _bookmark(name, entry, streams) for name, entry in {**flat, **bookmarks}.items()}}


def _bookmark(name: str, entry: Any, streams: Collection[str]) -> Any:
    if not isinstance(entry, Mapping):
        raise ValueError(f"its bookmark of {name} is not a JSON object")  # noqa: TRY004 - The same.
    if name not in streams:
        return entry
    if entry.get("replication_key", _KEY) != _KEY:
        raise ValueError(f"its bookmark of {name} is not one of {_KEY}")
    value = entry.get("replication_key_value", entry.get(_KEY))
    if value is None:
        return {}
    try:
        return {"replication_key": _KEY, "replication_key_value": f"{utc(value)[:SECOND]}Z"}
    except ValueError:
        raise ValueError(f"its bookmark of {name} is not a time") from None


def unknown(state: Mapping[str, Any], streams: Collection[str]) -> list[str]:
    """Return the names in a state that mean nothing to the tap, misspelt streams among them."""
    names = {*state, *(state.get("bookmarks") or {})} - {"bookmarks", "currently_syncing", "type", "value"}
    return sorted(names.difference(streams))
