"""Migrates the accepted state formats to the SDK's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tap_wootric import account
from tap_wootric.streams.base import WootricStream
from tap_wootric.streams.lists import FIRST_SYNC

_OTHER_KEYS = {"bookmarks", "currently_syncing", account.KEY}
"""The keys of a state that are not names of streams."""

_SDK_NAMES = ("starting_replication_value", "replication_key_signpost", "progress_markers")
"""Keys that the SDK keeps in a bookmark while a stream is read, even before it has a value."""


def migrate(state: Mapping[str, Any], streams: Mapping[str, type[WootricStream]]) -> dict[str, Any]:
    """Return a state in the SDK's format, with all bookmarks in their streams' own formats.

    These are accepted as well as the SDK's format: `{"end_users": "2020-01-01T00:00:00Z"}`, which singer-io's tap
    writes; `{"bookmarks": {"end_users": {"updated_at": "2020-01-01T00:00:00Z"}}}`; and a state in `{"singer_state":
    {}}`, as `meltano state get` prints it, or in a STATE message.

    Args:
        state: The content of a state file.
        streams: The streams by their names. Bookmarks of other streams are kept unchanged.

    Raises:
        ValueError: The state is in none of these formats. The message says why.
    """
    state = _unwrapped(state)
    _check_format(state, streams)
    bookmarks = state.get("bookmarks", {})
    if not isinstance(bookmarks, Mapping):
        raise ValueError("bookmarks must be a JSON object")  # noqa: TRY004 - The content of a file is a value.
    flat = {
        name: {stream.replication_key: state[name]} for name, stream in streams.items() if state.get(name) is not None
    }
    return {
        "bookmarks": {name: _bookmark(name, entry, streams.get(name)) for name, entry in {**flat, **bookmarks}.items()},
        **({account.KEY: state[account.KEY]} if isinstance(state.get(account.KEY), Mapping) else {}),
    }


def _bookmark(name: str, entry: Any, stream: type[WootricStream] | None) -> Any:
    if not isinstance(entry, Mapping):
        raise ValueError(f"the bookmark of {name} must be a JSON object")  # noqa: TRY004 - The same.
    if stream is None:
        return entry
    key = stream.replication_key
    if key is None:
        return {}
    if entry.get("replication_key", key) != key:
        raise ValueError(f"the bookmark of {name} is not a value of {key}")
    value = entry.get("replication_key_value", entry.get(key))
    if value is None:
        if names := entry.keys() - {*_SDK_NAMES}:
            raise ValueError(f"the bookmark of {name} has no replication_key_value, but {', '.join(sorted(names))}")
        return {}
    mark = {FIRST_SYNC: True} if entry.get(FIRST_SYNC) else {}
    try:
        at = stream.bookmark_at(value or "")  # 0 is not 1970.
    except ValueError:
        raise ValueError(f"the bookmark of {name} is not a timestamp: {value!r:.60}") from None
    return {"replication_key": key, "replication_key_value": at, **mark}


def warnings(state: Mapping[str, Any], streams: Collection[str]) -> list[str]:
    """Return a line for each name in a valid state that belongs to no stream, such as a misspelled one."""
    state = _unwrapped(state)
    names = {*state, *(state.get("bookmarks") or {})} - _OTHER_KEYS
    return [f"Ignoring unknown stream in the state: {name}" for name in sorted(names.difference(streams))]


def _unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state in a STATE message, or in what Meltano prints. Anything else is returned unchanged."""
    match state:
        case {"type": "STATE", "value": Mapping() as value} | {"singer_state": Mapping() as value}:
            return value
    return state


def _check_format(state: Mapping[str, Any], streams: Collection[str]) -> None:
    """Refuse what would be read as no state, although it holds something: everything would be read again.

    Raises:
        ValueError: The state is in no known format.
    """
    if not state or not state.keys().isdisjoint({*_OTHER_KEYS, *streams}):
        return
    if "streams" in state:
        raise ValueError("it is a catalog")
    if "completed" in state:
        raise ValueError("it is a file of Meltano's state backend; pass what meltano state get prints")
    names = ", ".join(list(state)[:3])
    raise ValueError(f'it has neither "bookmarks" nor a stream\'s name, but {names}; to read everything, pass no state')
