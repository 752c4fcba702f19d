"""Checks stream maps before the first request.

The SDK accepts a map that names what is not there, and such a map does nothing: where the removal of an e-mail address
is misspelt, the address stays. Mistakes that would fail on the first record are left to the SDK, except for names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

from tap_wootric.expressions import FAKER_IS_MISSING, Schema, did_you_mean, problems
from tap_wootric.sdk import expression_functions

_OPTIONS = ("__alias__", "__else__", "__filter__", "__key_properties__", "__source__")
_REMOVALS = (None, "__NULL__")


def errors(config: Mapping[str, Any], schemas: Mapping[str, Schema]) -> list[str]:
    """Return one line for each mistake in the settings `stream_maps` and `faker_config`.

    Args:
        config: The settings. Those of the SDK have the structure that its JSON schema asks for.
        schemas: The JSON schemas of all streams by their names, whole even if the catalog deselects fields.
    """
    if lines := [*_faker_errors(config.get("faker_config") or {})]:
        return lines
    maps = {name: options for name, options in (config.get("stream_maps") or {}).items() if name != "__else__"}
    for name, options in maps.items():
        options = {} if options in _REMOVALS else options  # noqa: PLW2901
        source = options.get("__source__", name)
        if mapped := [schema for stream, schema in schemas.items() if fnmatch(stream, source)]:
            owner = source if source in schemas else "any stream"
            lines += _map_errors(name, options, owner, _union(mapped), _flattening(config))
        else:
            subject = f"the __source__ of {name}, {source}," if source != name else name
            lines.append(f"{subject} is not a stream{did_you_mean(source, schemas)}")
    for stream in schemas:
        lines += _replacement_errors(stream, maps)
    return [f"stream_maps: {line}" for line in lines]


def _map_errors(
    map_name: str, options: Mapping[str, Any], stream: str, schema: Schema, flattening: tuple[str, int]
) -> Iterator[str]:
    """Yield the mistakes in the map of one stream, or of all that match a pattern."""
    properties = schema["properties"]
    for key, value in options.items():
        place = f"{map_name}.{key}"
        is_option = key.startswith("__") and key.endswith("__")
        if is_option and key not in _OPTIONS:
            yield f"{place} is not an option{did_you_mean(key, _OPTIONS)}"
        elif is_option and key != "__filter__":
            continue
        elif path := _nested_field(key, options, schema, flattening):
            yield (
                f"{place} is a field inside of {path[0]}, and maps only reach whole properties; to empty it, set "
                f'{path[0]} to "{_emptying(path[0], path[1:])}"'
            )
        elif value not in _REMOVALS:
            for problem in problems(value, key, stream, schema, expression_functions()):
                yield f"the expression for {place} {problem}"
        elif not is_option and key not in properties:
            hint = did_you_mean(key, properties)
            yield f"{place} cannot be removed: {key} is not a property of {stream}{hint}"


def _flattening(config: Mapping[str, Any]) -> tuple[str, int]:
    """Return what the SDK puts between names when it flattens mapped records, and how many levels it flattens."""
    depth = config.get("flattening_max_depth") or 0
    return config.get("flattening_separator") or "__", depth if config.get("flattening_enabled") else 0


def _nested_field(
    key: str, options: Mapping[str, Any], schema: Schema, flattening: tuple[str, int]
) -> Sequence[str] | None:
    """Return the path of the nested field that a key is meant for, or None for a property.

    An expression may add a property of any name, unless a field that goes by the same name stays in the record.
    """
    flattening_separator, flattening_depth = flattening
    for separator, depth in ((".", len(key)), (flattening_separator, flattening_depth)):
        path = key.split(separator)
        head = path[0]
        if len(path) == 1 or "object" not in schema["properties"].get(head, {}).get("type", ()):
            continue
        is_removed = "__else__" in options or (head in options and options[head] in _REMOVALS)
        if options[key] in _REMOVALS or (not is_removed and len(path) <= depth + 1 and _has_field(schema, path)):
            return path
    return None


def _has_field(schema: Schema, path: Sequence[str]) -> bool:
    for name in path:
        schema = schema.get("properties", {}).get(name)
        if schema is None:
            return False
    return True


def _emptying(value: str, path: Sequence[str]) -> str:
    """Return the expression that empties a field of an object: `{**user, 'email': None} if user else None`."""
    if not path:
        return "None"
    name, *rest = path
    return f"{{**{value}, {name!r}: {_emptying(f'{value}[{name!r}]', rest)}}} if {value} else None"


def _union(schemas: Sequence[Schema]) -> Schema:
    """Return a schema with the properties of all, at any depth. An object without named ones may have any."""
    for schema in schemas:
        if "properties" not in schema:
            return schema
    names = dict.fromkeys(name for schema in schemas for name in schema["properties"])
    return {
        **schemas[0],
        "properties": {
            name: _union([schema["properties"][name] for schema in schemas if name in schema["properties"]])
            for name in names
        },
    }


def _replacement_errors(stream: str, maps: Mapping[str, Any]) -> Iterator[str]:
    """Yield the maps of a stream whose work would be lost, as the SDK applies only the last one without __source__."""
    matching = [name for name, options in maps.items() if fnmatch(stream, name) and "__source__" not in (options or ())]
    for earlier_name, later_name in pairwise(matching):
        earlier, later = maps[earlier_name], maps[later_name]
        if later in _REMOVALS:
            continue  # It removes the stream.
        is_lost = later_name != stream if earlier in _REMOVALS else earlier.keys() - later.keys()
        if is_lost:
            yield (
                f"both {earlier_name} and {later_name} map {stream}, and only {later_name} would count; "
                f"put it all into that one"
            )


def _faker_errors(faker_config: Mapping[str, Any]) -> Iterator[str]:
    if not faker_config:
        return
    if not find_spec("faker"):
        yield f"faker_config is set, {FAKER_IS_MISSING}"
        return
    from faker import Faker  # noqa: PLC0415 - An extra.
    from faker.config import AVAILABLE_LOCALES  # noqa: PLC0415

    locale = faker_config.get("locale") or []
    for name in [locale] if isinstance(locale, str) else locale:
        try:
            Faker(name)
        except AttributeError:
            yield f"faker_config: {name} is not a locale of Faker{did_you_mean(name, sorted(AVAILABLE_LOCALES))}"
