"""The state formats that are accepted, migrated to the SDK's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class BookmarkFormat:
    """How a stream keeps its bookmark.

    Attributes:
        replication_key: The field that the bookmark is a value of; None for a stream without bookmarks.
        normalize: Returns the bookmark for a time in any form. Raises ValueError if it is not a time.
    """

    replication_key: str | None
    normalize: Callable[[object], str]


def migrate(state: Mapping[str, Any], formats: Mapping[str, BookmarkFormat]) -> dict[str, Any]:
    """Return a state in the SDK's format, with all bookmarks in their streams' own formats.

    Besides the SDK's format, these are accepted: `{"end_users": "2020-01-01T00:00:00Z"}`, which singer-io's tap
    writes; `{"bookmarks": {"end_users": {"updated_at": "2020-01-01T00:00:00Z"}}}`; and a state in `{"singer_state":
    {}}`, as `meltano state get` prints it, or in a STATE message.

    Args:
        state: The content of a state file.
        formats: The bookmark format of each stream. Bookmarks of other streams are kept unchanged.

    Raises:
        ValueError: The state is in none of these formats. The message says why.
    """
    state = _unwrapped(state)
    _check_format(state, formats)
    bookmarks = state.get("bookmarks") or {}
    if not isinstance(bookmarks, Mapping):
        raise ValueError("bookmarks must be a JSON object")  # noqa: TRY004 - The content of a file is a value.
    flat = {name: {form.replication_key: state[name]} for name, form in formats.items() if state.get(name)}
    return {
        "bookmarks": {name: _bookmark(name, entry, formats.get(name)) for name, entry in {**flat, **bookmarks}.items()}
    }


def _bookmark(name: str, entry: Any, form: BookmarkFormat | None) -> Any:
    if not isinstance(entry, Mapping):
        raise ValueError(f"the bookmark of {name} must be a JSON object")  # noqa: TRY004 - The same.
    if form is None:
        return entry
    key = form.replication_key
    if key is None:
        return {}
    if entry.get("replication_key", key) != key:
        raise ValueError(f"the bookmark of {name} is not a value of {key}")
    value = entry.get("replication_key_value", entry.get(key))
    if value is None:
        return {}
    try:
        return {"replication_key": key, "replication_key_value": form.normalize(value)}
    except ValueError:
        raise ValueError(f"the bookmark of {name} is not a timestamp: {value!r:.60}") from None


def unknown_streams(state: Mapping[str, Any], streams: Collection[str]) -> list[str]:
    """Return the names in a state, sorted, that belong to no stream, such as misspelt ones."""
    state = _unwrapped(state)
    names = {*state, *(state.get("bookmarks") or {})} - {"bookmarks", "currently_syncing"}
    return sorted(names.difference(streams))


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
    if not state or not state.keys().isdisjoint({"bookmarks", "currently_syncing", *streams}):
        return
    if "streams" in state:
        raise ValueError("it is a catalog")
    if "completed" in state:
        raise ValueError("it is a file of Meltano's state backend; pass what meltano state get prints")
    names = ", ".join(list(state)[:3])
    raise ValueError(f'it has neither "bookmarks" nor a stream\'s name, but {names}; to read everything, pass no state')
