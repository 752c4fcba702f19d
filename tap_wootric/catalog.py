"""Catalogs made by hand or by other tools, completed to what the SDK expects.

The SDK takes the schema and the keys of a stream from the catalog. `Stream.apply_catalog` would correct them too late:
the SDK's mapper registers the schemas of the catalog before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import msgspec
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
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    except (AttributeError, KeyError, TypeError):
        raise ValueError("it does not have the structure that --discover prints") from None
    return {**catalog, "streams": entries}


class _Schema(msgspec.Struct):
    properties: dict[str, _Schema] | msgspec.UnsetType = msgspec.UNSET


class _Item(msgspec.Struct):
    breadcrumb: list[str]
    metadata: dict[str, Any]


class _Flags(msgspec.Struct, rename=lambda name: name.replace("_", "-")):
    inclusion: Literal["automatic", "available", "unsupported"] | None = None
    selected: bool | None = None
    selected_by_default: bool | None = None


class _Entry(msgspec.Struct):
    schema: _Schema | msgspec.UnsetType = msgspec.UNSET


def _checked(value: Any, kind: type[msgspec.Struct], name: str) -> None:
    """Raise a ValidationError if a value does not have a structure."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"{name}: {error}") from None


def warnings(catalog: Any, streams: Mapping[str, type[WootricStream]]) -> Iterator[str]:
    """Yield a line for each selection, or key, in a valid catalog that has no effect: it may be to keep data out."""
    catalog = _json(catalog)
    for entry in catalog["streams"] if isinstance(catalog, Mapping) else ():
        stream = streams.get(name := entry["tap_stream_id"])
        if stream is None:
            continue
        for path in ["selected"] * ("selected" in entry) + [*_selections(entry.get("schema", {}), "schema")]:
            yield f"Ignoring {path} of {name} in the catalog: only its metadata selects"
        for item in entry.get("metadata") or []:
            node: Any = stream.schema
            for part in item["breadcrumb"]:
                node = node.get(part) if isinstance(node, Mapping) else None
            if node is None or len(item["breadcrumb"]) % 2:
                yield f"Ignoring the metadata of {name} for {item['breadcrumb']}, which is not a property of it"
            keys = {"replication-key": stream.replication_key, "table-key-properties": [*stream.primary_keys]}
            for key, own in keys.items():
                if item["metadata"].get(key) not in (None, own):
                    yield f"Ignoring {key} of {name} in the catalog: it is always {own}"


def _selections(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the paths at which a schema says what is selected."""
    if "selected" in schema:
        yield f"{path}.selected"
    for name, field in schema.get("properties", {}).items():
        if isinstance(field, Mapping):
            yield from _selections(field, f"{path}.{name}")


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
    for item in entry.get("metadata") or []:  # The text "false" would count as true.
        _checked(item, _Item, name)
        _checked(item["metadata"], _Flags, ".".join([name, *item["breadcrumb"][1::2]]))
    _checked(entry, _Entry, name)
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
