"""Which fields of a stream's rows differ from its schema. It keeps names and JSON types, and never a value."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from tap_wootric.api.redact import redact
from tap_wootric.records.transform import EXTRA_FIELDS, Record, RecordTransformer, Row

KINDS = {
    "unknown": "new fields, kept in extra_fields",
    "misfit": "values of unexpected types, kept in extra_fields",
    "converted": "values of other types, converted",
}
"""How a field may differ from the schema, and how people are told."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
"""What names of the API's own fields look like. Any other name may be a customer's data."""
_MAX_NAMES = 50
"""More names than this are no fields of an API."""
_JSON_TYPES = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    Decimal: "number",
    str: "string",
    list: "array",
    dict: "object",
}


def differences(schema: Mapping[str, Any], rows: Iterable[Row]) -> dict[str, dict[str, list[str]]]:
    """Return the fields that differ from a JSON schema, as paths such as `survey.color`, with their JSON types.

    They are returned by their kinds, see `KINDS`.
    """
    transform = RecordTransformer(schema, schema, lambda _field, _is_known: None)
    found: dict[str, dict[str, set[str]]] = {kind: defaultdict(set) for kind in KINDS}
    for row in rows:
        for kind, name, value in _compare(row, transform(row), schema, ""):
            found[kind][name].add(_JSON_TYPES[type(value)])
    return {
        kind: {name: sorted(types) for name, types in sorted(fields.items())[:_MAX_NAMES]}
        for kind, fields in found.items()
    }


def _compare(row: Row, record: Record, schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, Any]]:
    """Compare an object with what the tap makes of it, and yield the kind of each difference, the field and value."""
    for name, value in row.items():
        field = schema["properties"].get(name)
        if field is None or name == EXTRA_FIELDS:
            is_shown = _NAME.fullmatch(name) and redact(name) == name
            yield "unknown", f"{path}{name if is_shown else '(hidden)'}", value
        elif "properties" in field and isinstance(value, dict):
            yield from _compare(value, record[name], field, f"{path}{name}.")
        elif value is not None and record[name] is None:
            yield "misfit", f"{path}{name}", value
        elif field.get("format") != "date-time" and _types(value) != _types(record[name]):
            yield "converted", f"{path}{name}", value


def _types(value: Any) -> list[str]:
    """Return the type of a value and, if it is a list, those of its items."""
    return [_JSON_TYPES[type(item)] for item in (value, *(value if isinstance(value, list) else ()))]
