"""What the SDK needs to find in a catalog, brought to it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from singer_sdk.singerlib import Catalog

from tap_wootric.streams import STREAMS


def complete(catalog: Any) -> Any:
    """Return a catalog with what the SDK needs to find in it; what is no catalog at all comes back as it is.

    A catalog made by hand may lack much, and it cannot change what a stream's keys are and of which types its fields
    are: both are ours. The replication method of a stream that has a replication key is what the metadata say, where
    the Singer specification lets people choose it and the SDK does not look.

    Raises:
        ValueError: It has not the form of a catalog. The text says why.
    """
    if isinstance(catalog, Catalog):
        catalog = catalog.to_dict()
    if not isinstance(catalog, Mapping):
        return catalog
    try:
        return {**catalog, "streams": [_entry(entry) for entry in catalog["streams"]]}
    except (AttributeError, KeyError, TypeError):
        raise ValueError("it has not the form of what --discover prints") from None


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    stream = STREAMS.get(entry["tap_stream_id"])
    if stream is None:
        return dict(entry)
    schema = stream.schema
    keys = [key for key in (*stream.primary_keys, stream.replication_key) if key]
    metadata = _metadata(entry, keys)
    root: Mapping[str, Any] = next((item["metadata"] for item in metadata if not item["breadcrumb"]), {})
    method = root.get("replication-method", entry.get("replication_method"))
    if method not in {None, "INCREMENTAL", "FULL_TABLE"}:
        raise ValueError(f"the replication method of {stream.name} must be INCREMENTAL or FULL_TABLE")
    return {
        **entry,
        "stream": stream.name,
        "key_properties": list(stream.primary_keys),
        "replication_key": stream.replication_key,
        "replication_method": method if stream.replication_key else "FULL_TABLE",
        "schema": _common(schema, entry.get("schema", schema), keys),
        "metadata": metadata,
    }


def _metadata(entry: Mapping[str, Any], keys: Collection[str]) -> list[dict[str, Any]]:
    """Return an entry's metadata in which the keys cannot be left out."""
    paths = [["properties", key] for key in keys]
    metadata = [item for item in entry.get("metadata") or [] if list(item["breadcrumb"]) not in paths]
    return metadata + [{"breadcrumb": path, "metadata": {"inclusion": "automatic"}} for path in paths]


def _common(ours: Mapping[str, Any], theirs: Mapping[str, Any], keys: Collection[str] = ()) -> dict[str, Any]:
    """Return our schema without the properties that theirs lacks, at any depth, but for keys."""
    if "properties" not in ours:
        return dict(ours)
    given = theirs.get("properties", ours["properties"])
    return {
        **ours,
        "properties": {
            name: _common(field, given.get(name, {}))
            for name, field in ours["properties"].items()
            if name in given or name in keys
        },
    }
