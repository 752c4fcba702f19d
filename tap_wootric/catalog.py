"""Catalogs made by hand or by other tools, completed to what the SDK expects.

The SDK takes the schema and the keys of a stream from the catalog. `Stream.apply_catalog` would correct them too late:
the SDK's mapper registers the schemas of the catalog before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from singer_sdk.singerlib import Catalog

from tap_wootric.streams.base import WootricStream


def complete(catalog: Any, streams: Mapping[str, type[WootricStream]]) -> Any:
    """Return a catalog with everything that the SDK expects. Anything that is not a mapping is returned unchanged.

    A catalog may leave out fields, but it cannot change the keys of a stream or the types of its fields. Its metadata
    may choose the replication method of a stream that has a replication key: the Singer specification puts it there,
    but the SDK looks for it in the entry itself.

    Args:
        catalog: A catalog, or its JSON.
        streams: The streams of the tap by their names. Entries of other streams are dropped.

    Raises:
        ValueError: It does not have the structure of a catalog. The message says why.
    """
    catalog = _json(catalog)
    if not isinstance(catalog, Mapping):
        return catalog
    try:
        entries = [_entry(entry, streams) for entry in catalog["streams"] if entry["tap_stream_id"] in streams]
    except (AttributeError, KeyError, TypeError):
        raise ValueError("it does not have the structure that --discover prints") from None
    return {**catalog, "streams": entries}


def unknown_streams(catalog: Any, streams: Collection[str]) -> list[str]:
    """Return the names that belong to no stream, such as misspelt ones, in a catalog that `complete` accepts."""
    catalog = _json(catalog)
    entries = catalog["streams"] if isinstance(catalog, Mapping) else ()
    return [entry["tap_stream_id"] for entry in entries if entry["tap_stream_id"] not in streams]


def _json(catalog: Any) -> Any:
    return catalog.to_dict() if isinstance(catalog, Catalog) else catalog


def _entry(entry: Mapping[str, Any], streams: Mapping[str, type[WootricStream]]) -> dict[str, Any]:
    name = entry["tap_stream_id"]
    stream = streams[name]
    keys = [key for key in (*stream.primary_keys, stream.replication_key) if key]
    metadata = _metadata(entry, keys)
    root: Mapping[str, Any] = next((item["metadata"] for item in metadata if not item["breadcrumb"]), {})
    method = root.get("replication-method", entry.get("replication_method"))
    if method not in {None, "INCREMENTAL", "FULL_TABLE"}:
        raise ValueError(f"the replication method of {name} must be INCREMENTAL or FULL_TABLE")
    return {
        **entry,
        "stream": name,
        "key_properties": list(stream.primary_keys),
        "replication_key": stream.replication_key,
        "replication_method": method if stream.replication_key else "FULL_TABLE",
        "schema": _restricted(stream.schema, entry.get("schema", stream.schema), keys),
        "metadata": metadata,
    }


def _metadata(entry: Mapping[str, Any], keys: Collection[str]) -> list[dict[str, Any]]:
    """Return an entry's metadata with the keys always included.

    The SDK reads a stream without metadata of its own, but leaves out those of its fields that have some.
    """
    breadcrumbs = [["properties", key] for key in keys]
    metadata = [item for item in entry.get("metadata") or [] if list(item["breadcrumb"]) not in breadcrumbs]
    if all(item["breadcrumb"] for item in metadata):
        metadata.append({"breadcrumb": [], "metadata": {"selected": True}})
    return metadata + [{"breadcrumb": path, "metadata": {"inclusion": "automatic"}} for path in breadcrumbs]


def _restricted(schema: Mapping[str, Any], given: Mapping[str, Any], keys: Collection[str] = ()) -> dict[str, Any]:
    """Return the stream's schema without the properties that a given schema lacks, at any depth, except for keys.

    Of the types, a given schema may only limit the length of a text: some databases need that for their keys.
    """
    if "properties" not in schema:
        return {**schema, **{name: given[name] for name in ("maxLength",) if name in given}}
    given_properties = given.get("properties", schema["properties"])
    return {
        **schema,
        "properties": {
            name: _restricted(field, given_properties.get(name, {}))
            for name, field in schema["properties"].items()
            if name in given_properties or name in keys
        },
    }
