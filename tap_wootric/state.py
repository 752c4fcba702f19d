"""The forms of a state that are understood, brought to the SDK's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tap_wootric.streams.base import WootricStream


def understand(state: Mapping[str, Any], streams: Mapping[str, type[WootricStream]]) -> dict[str, Any]:
    """Return a state with a bookmark in the stream's own form for each stream that has one.

    Besides the SDK's form, these are understood: `{"end_users": "2020-01-01T00:00:00Z"}`, which singer-io's tap
    writes, `{"bookmarks": {"end_users": {"updated_at": "2020-01-01T00:00:00Z"}}}`, and a whole STATE message.

    Args:
        state: The content of a state file.
        streams: The tap's streams by their names. Bookmarks of others are kept as they are.

    Raises:
        ValueError: It is none of these. The text says why.
    """
    state = _unwrapped(state)
    bookmarks = state.get("bookmarks") or {}
    if not isinstance(bookmarks, Mapping):
        raise ValueError("its bookmarks are not a JSON object")  # noqa: TRY004 - What is in a file is a value.
    flat = {name: {stream.replication_key: state[name]} for name, stream in streams.items() if state.get(name)}
    return {
        "bookmarks": {name: _bookmark(name, entry, streams.get(name)) for name, entry in {**flat, **bookmarks}.items()}
    }


def _bookmark(name: str, entry: Any, stream: type[WootricStream] | None) -> Any:
    if not isinstance(entry, Mapping):
        raise ValueError(f"its bookmark of {name} is not a JSON object")  # noqa: TRY004 - The same.
    if stream is None:
        return entry
    key = stream.replication_key
    if key is None:
        return {}
    if entry.get("replication_key", key) != key:
        raise ValueError(f"its bookmark of {name} is not one of {key}")
    value = entry.get("replication_key_value", entry.get(key))
    if value is None:
        return {}
    try:
        return {"replication_key": key, "replication_key_value": stream.bookmark_at(value)}
    except ValueError:
        raise ValueError(f"its bookmark of {name} is not a time") from None


def unknown(state: Mapping[str, Any], streams: Collection[str]) -> list[str]:
    """Return the names in a state that mean nothing to the tap, misspelt streams among them."""
    state = _unwrapped(state)
    names = {*state, *(state.get("bookmarks") or {})} - {"bookmarks", "currently_syncing"}
    return sorted(names.difference(streams))


def _unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state in a STATE message, or what is no message as it is."""
    is_message = state.get("type") == "STATE" and isinstance(state.get("value"), Mapping)
    return state["value"] if is_message else state
