"""Completes catalogs made by hand or by other tools to what the SDK expects.

The SDK takes the schema and the keys of a stream from the catalog. `Stream.apply_catalog` would correct them too late:
the SDK's mapper has registered the catalog's schemas by then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from typing import Any, Literal

import msgspec
from singer_sdk.singerlib.catalog import CatalogEntry, StreamMetadata

from tap_wootric.streams.base import WootricStream

_ENTRY_KEYS = {field.name for field in fields(CatalogEntry)} | {"selected"}
_METADATA_KEYS = {field.name.replace("_", "-") for field in fields(StreamMetadata)} | {"replication-method"}


def complete(catalog: Any, streams: Mapping[str, type[WootricStream]]) -> Any:
    """Return a catalog with everything that the SDK expects. Anything that is not a mapping is returned unchanged.

    A catalog may leave out fields, but it cannot change the keys of a stream or the types of its fields. Its metadata
    may choose the replication method of a stream that has a replication key: the Singer specification puts it there,
    but the SDK looks for it in the entry itself.

    Args:
        catalog: The JSON of a catalog.
        streams: The streams of the tap by their names. Entries of other streams are dropped.

    Raises:
        ValueError: It does not have the structure of a catalog. The message says why.
    """
    if not isinstance(catalog, Mapping):
        return catalog
    try:
        msgspec.convert(catalog, _Catalog)
    except msgspec.ValidationError as error:
        raise ValueError(f"{error}; compare it with what --discover prints") from None
    _refuse_repeated("the catalog", [entry["tap_stream_id"] for entry in catalog["streams"]])
    entries = [_entry(entry, streams) for entry in catalog["streams"] if entry["tap_stream_id"] in streams]
    return {**catalog, "streams": entries}


class _Flags(msgspec.Struct, rename=lambda name: name.replace("_", "-")):
    inclusion: Literal["automatic", "available", "unsupported"] | None = None
    selected: bool | None = None  # The text "false" would count as true.
    selected_by_default: bool | None = None


class _Item(msgspec.Struct):
    breadcrumb: list[str]
    metadata: _Flags


class _Schema(msgspec.Struct):
    properties: dict[str, _Schema] | msgspec.UnsetType = msgspec.UNSET
    max_length: int | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="maxLength")


class _Entry(msgspec.Struct):
    tap_stream_id: str
    metadata: list[_Item] | None = None
    schema: _Schema | msgspec.UnsetType = msgspec.UNSET


class _Catalog(msgspec.Struct):
    streams: list[_Entry]


def _refuse_repeated(place: str, names: Collection[str]) -> None:
    """Refuse repeated names, since only the last one would count.

    Raises:
        ValueError: A name is repeated.
    """
    for name, number in Counter(names).items():
        if number > 1:
            raise ValueError(f"{place} has {number} entries for {name}, and only the last one would count")


def warnings(catalog: Any, streams: Mapping[str, type[WootricStream]]) -> Iterator[str]:
    """Yield a line for each part of a catalog that has no effect: it may have been meant to keep data out.

    The catalog is one that `complete` accepts.
    """
    for entry in catalog["streams"] if isinstance(catalog, Mapping) else ():
        name = entry["tap_stream_id"]
        if stream := streams.get(name):
            yield from _useless_selections(entry, stream)
            yield from _useless_metadata(entry, stream)
        else:
            yield f"Ignoring unknown stream in the catalog: {name}"


def _useless_selections(entry: Mapping[str, Any], stream: type[WootricStream]) -> Iterator[str]:
    name, keys = entry["tap_stream_id"], [[key] for key in _keys(stream)]
    items = entry.get("metadata") or []
    selected = next((item["metadata"].get("selected") for item in items if not item["breadcrumb"]), None)
    is_ignored = entry.get("selected", selected) != selected  # Meltano selects in both places.
    for path in ["selected"] * is_ignored + [*_selections(entry.get("schema", {}), "schema")]:
        yield f"Ignoring {path} of {name} in the catalog: only its metadata selects"
    for item in items:
        breadcrumb, flags = item["breadcrumb"], item["metadata"]
        node: Any = stream.schema
        for part in breadcrumb:
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is None or len(breadcrumb) % 2:
            yield f"Ignoring the metadata of {name} for {breadcrumb}, which is not one of its properties"
        elif flags.get("selected") is False and (flags.get("inclusion") == "automatic") != (breadcrumb[1:] in keys):
            # Meltano deselects keys, too, but leaves them automatic.
            yield f"Ignoring selected of {'.'.join([name, *breadcrumb[1::2]])} in the catalog: it is always read"


def _useless_metadata(entry: Mapping[str, Any], stream: type[WootricStream]) -> Iterator[str]:
    name, items = entry["tap_stream_id"], entry.get("metadata") or []
    metadata = [item["metadata"] for item in items]
    for key in sorted(
        {key for item in items for key in item} - {"breadcrumb", "metadata"} | entry.keys() - _ENTRY_KEYS
    ):
        yield f"Ignoring {key} of {name} in the catalog: it has no effect"
    for key in sorted({key for flags in metadata for key in flags} - _METADATA_KEYS):
        yield f"Ignoring {key} in the metadata of {name}: it has no effect"
    key_names = {"replication_key": stream.replication_key, "key_properties": [*stream.primary_keys]}
    key_names |= {"replication-key": stream.replication_key, "table-key-properties": [*stream.primary_keys]}
    for place in (entry, *metadata):
        for key, own in key_names.items():
            if place.get(key) not in (None, own):
                yield f"Ignoring {key} of {name} in the catalog: it is always {own}"


def _selections(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the paths at which a schema says what is selected."""
    yield from (f"{path}.{key}" for key in ("selected", "inclusion") if key in schema)
    for name, field in schema.get("properties", {}).items():
        if isinstance(field, Mapping):
            yield from _selections(field, f"{path}.{name}")


def _entry(entry: Mapping[str, Any], streams: Mapping[str, type[WootricStream]]) -> dict[str, Any]:
    name = entry["tap_stream_id"]
    stream = streams[name]
    _refuse_repeated(f"the metadata of {name}", [str(item["breadcrumb"]) for item in entry.get("metadata") or []])
    keys = _keys(stream)
    metadata = _metadata(entry, keys)
    root: Mapping[str, Any] = next((item["metadata"] for item in metadata if not item["breadcrumb"]), {})
    method = root.get("replication-method", entry.get("replication_method"))
    if method not in (None, "INCREMENTAL", "FULL_TABLE"):
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


def _keys(stream: type[WootricStream]) -> list[str]:
    return [key for key in (*stream.primary_keys, stream.replication_key) if key]


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

    A given schema cannot change a type, but can limit the length of a text: some databases need that for keys.
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
