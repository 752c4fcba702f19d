"""Checks of stream maps, before the first request.

The SDK accepts a map that names what is not there, and such a map does nothing: where the removal of an e-mail address
is misspelt, the address stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tap_wootric.expressions import FAKER_IS_MISSING, Environment, Path, Record, did_you_mean, problems
from tap_wootric.sdk import expression_functions

if TYPE_CHECKING:
    from faker import Faker

_STREAM_OPTIONS = ("__alias__", "__else__", "__filter__", "__key_properties__", "__source__")
_REMOVALS = (None, "__NULL__")


@dataclass(frozen=True, slots=True)
class MappedStream:
    """A stream that maps may name.

    Attributes:
        schema: The JSON schema of the stream.
        record_schema: The same without what the catalog deselects.
    """

    schema: Mapping[str, Any]
    record_schema: Mapping[str, Any]


def structure_errors(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line for each property in `stream_maps` that is neither an expression nor removed.

    The SDK's JSON schema refuses those as well, but shows the whole map without a word on what is wrong.
    """
    maps = config.get("stream_maps")
    for name, options in maps.items() if isinstance(maps, Mapping) else ():
        for key, value in options.items() if isinstance(options, Mapping) else ():
            if not key.startswith("__") and value is not None and not isinstance(value, str):
                example = f'; to empty a field of it, set it to "{_emptying(key, ["FIELD"])}"'
                yield (
                    f"stream_maps: {name}.{key} must be an expression in quotes, or __NULL__ to remove it"
                    f"{example if isinstance(value, Mapping) else ''}"
                )


def errors(config: Mapping[str, Any], streams: Mapping[str, MappedStream]) -> list[str]:
    """Return one line for each mistake in the settings `stream_maps` and `faker_config`.

    Args:
        config: The settings. Those of the SDK have the structure that its JSON schema asks for.
        streams: All streams of the tap by their names.
    """
    maps, faker_config = config.get("stream_maps") or {}, config.get("faker_config") or {}
    if lines := [*_faker_errors(faker_config)]:
        return lines
    if not maps:
        return []
    environment = Environment(
        functions=expression_functions(),
        config=config.get("stream_map_config") or {},
        fake=_faker(*_locales(faker_config)) if find_spec("faker") else None,
    )
    flattening = _Flattening(
        depth=config.get("flattening_max_depth", 0) if config.get("flattening_enabled") else 0,
        separator=config.get("flattening_separator") or "__",
    )
    for name, stream_map in maps.items():
        if name == "__else__":
            continue
        options: Mapping[str, Any] = stream_map if isinstance(stream_map, Mapping) else {}
        source = options.get("__source__", name)
        mapped = [stream for stream_name, stream in streams.items() if fnmatch(stream_name, source)]
        if not mapped:
            subject = f"the __source__ of {name}, {source}," if source != name else name
            lines.append(f"{subject} is not a stream{did_you_mean(source, streams)}")
            continue
        record = Record(
            owner=source if source in streams else "any stream",
            schema=_union([stream.schema for stream in mapped]),
            record_schema=_union([stream.record_schema for stream in mapped]),
        )
        lines += _Map(name, options, record, environment, flattening).errors()
    lines += _replacement_errors(maps, streams)
    return [f"stream_maps: {line}" for line in lines]


@dataclass(frozen=True, slots=True)
class _Flattening:
    """How the SDK flattens records, after they are mapped.

    Attributes:
        depth: How deep; 0 if not at all.
        separator: What it puts between the names.
    """

    depth: int
    separator: str


@dataclass(frozen=True, slots=True)
class _Map:
    """The map of one stream, or of all that match a pattern."""

    name: str
    options: Mapping[str, Any]
    record: Record
    environment: Environment
    flattening: _Flattening

    def errors(self) -> Iterator[str]:
        """Yield one line for each mistake."""
        for key, value in self.options.items():
            place = f"{self.name}.{key}"
            if not (key.startswith("__") and key.endswith("__")):
                yield from self._property_errors(place, key, value)
            elif key == "__filter__":
                yield from self._expression_errors(place, None, value)
            elif key == "__key_properties__":
                for name in value:
                    if name not in self.record.properties and name not in self.options:
                        yield f"{place} names {name}, which is {self.record.lacks(name)}"
            elif key not in _STREAM_OPTIONS:
                yield f"{place} is not an option{did_you_mean(key, _STREAM_OPTIONS)}"
            elif key == "__alias__" and "__source__" in self.options:
                yield f"{place} has no effect with __source__: the alias is the map's name, {self.name}"

    def _property_errors(self, place: str, key: str, value: str | None) -> Iterator[str]:
        if path := self._nested_field(key):
            yield (
                f"{place} is a field inside of {path[0]}, and maps only reach whole properties; to empty it, set "
                f'{path[0]} to "{_emptying(path[0], path[1:])}"'
            )
        elif value is not None and value not in _REMOVALS:
            yield from self._expression_errors(place, key, value)
        elif key not in self.record.properties:
            yield f"{place} cannot be removed: {key} is {self.record.lacks(key)}"

    def _expression_errors(self, place: str, key: str | None, text: str) -> Iterator[str]:
        for problem in problems(text, key, self.record, self.environment):
            yield f"the expression for {place} {problem}"

    def _nested_field(self, key: str) -> Path | None:
        """Return the path of the nested field that a property of the map is meant for, or None for a property's name.

        An expression may add a property with any name, unless a field that goes by the same name stays.
        """
        removed = {name for name, value in self.options.items() if value in _REMOVALS}
        for separator, depth in ((".", len(key)), (self.flattening.separator, self.flattening.depth)):
            path = tuple(key.split(separator))
            if len(path) == 1 or "object" not in self.record.properties.get(path[0], {}).get("type", ()):
                continue
            stays = removed.isdisjoint({path[0], "__else__"}) and len(path) <= depth + 1
            if key in removed or (stays and _is_declared(self.record.schema, path)):
                return path
        return None


def _union(schemas: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
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


def _emptying(value: str, path: Sequence[str]) -> str:
    """Return the expression that empties a field of an object: `{**user, 'email': None} if user else None`."""
    if not path:
        return "None"
    name, *rest = path
    return f"{{**{value}, {name!r}: {_emptying(f'{value}[{name!r}]', rest)}}} if {value} else None"


def _replacement_errors(maps: Mapping[str, Any], streams: Collection[str]) -> Iterator[str]:
    """Report the maps that a later one would replace, as the SDK applies only the last one that matches a stream."""
    own_maps = {
        name: stream_map
        for name, stream_map in maps.items()
        if name != "__else__" and not (isinstance(stream_map, Mapping) and "__source__" in stream_map)
    }
    for stream in streams:
        matching = [name for name in own_maps if fnmatch(stream, name)]
        for earlier, later in pairwise(matching):
            if _loses(own_maps[earlier], own_maps[later], is_specific=later == stream):
                yield f"both {earlier} and {later} map {stream}, and only {later} would count; put it all into that one"


def _loses(earlier: Any, later: Any, *, is_specific: bool) -> bool:
    """Return whether a map that replaces another one leaves out something that the other one does."""
    if not isinstance(later, Mapping):
        return False
    return bool(earlier.keys() - later.keys()) if isinstance(earlier, Mapping) else not is_specific


def _is_declared(schema: Mapping[str, Any], path: Path) -> bool:
    """Return whether a schema names a field."""
    for name in path:
        if name not in schema.get("properties", {}):
            return False
        schema = schema["properties"][name]
    return True


def _faker_errors(faker_config: Mapping[str, Any]) -> Iterator[str]:
    if not faker_config:
        return
    if not find_spec("faker"):
        yield f"faker_config is set, {FAKER_IS_MISSING}"
        return
    from faker.config import AVAILABLE_LOCALES  # noqa: PLC0415 - An extra.

    for locale in _locales(faker_config):
        try:
            _faker(locale)
        except AttributeError:
            yield f"faker_config: {locale} is not a locale of Faker{did_you_mean(locale, sorted(AVAILABLE_LOCALES))}"


def _locales(faker_config: Mapping[str, Any]) -> list[str]:
    locale = faker_config.get("locale") or []
    return [locale] if isinstance(locale, str) else locale


@cache
def _faker(*locales: str) -> Faker:
    """Return what expressions know as `fake`.

    Raises:
        AttributeError: A locale is unknown.
    """
    from faker import Faker  # noqa: PLC0415 - An extra.

    return Faker([*locales] or None)
