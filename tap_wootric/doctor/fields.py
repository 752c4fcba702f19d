"""Which fields of a stream's rows differ from its schema. Pure; it keeps names and JSON types, and never a value."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tap_wootric.records.transform import EXTRA_FIELDS, RecordTransformer

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""What names of the API's own fields look like. Any other name may be a customer's data."""

_HIDDEN = "(hidden)"
_MAX_NAMES = 50
"""More names than this are no fields of an API."""


class FieldSurvey:
    """Compares rows with a JSON schema.

    Attributes:
        unknown: The fields that the schema lacks, as paths such as `survey.color`, with the JSON types of their values.
        misfit: The fields with values that cannot be converted to the schema's types, with their JSON types.
        converted: The fields with values of other types that the tap converts, with their JSON types.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.unknown: dict[str, set[str]] = defaultdict(set)
        self.misfit: dict[str, set[str]] = defaultdict(set)
        self.converted: dict[str, set[str]] = defaultdict(set)
        self._schema = schema
        self._transform = RecordTransformer(schema, schema, lambda _field, _is_known: None)

    def add(self, row: Mapping[str, Any]) -> None:
        """Compare a row."""
        extra_fields = self._transform(row)[EXTRA_FIELDS] or {}
        self._compare(row, self._schema, extra_fields, "")

    def as_object(self) -> dict[str, dict[str, list[str]]]:
        """Return the findings as JSON has them."""
        return {
            kind: {name: sorted(types) for name, types in sorted(fields.items())[:_MAX_NAMES]}
            for kind, fields in (("unknown", self.unknown), ("misfit", self.misfit), ("converted", self.converted))
        }

    def _compare(
        self, row: Mapping[str, Any], schema: Mapping[str, Any], extra_fields: Mapping[str, Any], path: str
    ) -> None:
        for name, value in row.items():
            field = schema["properties"].get(name)
            if field is None or name == EXTRA_FIELDS:
                self.unknown[f"{path}{_shown(name)}"].add(_json_type(value))
            elif "properties" in field and isinstance(value, dict):
                self._compare(value, field, extra_fields.get(name) or {}, f"{path}{name}.")
            elif name in extra_fields:
                self.misfit[f"{path}{name}"].add(_json_type(value))
            elif not _fits(value, field):
                self.converted[f"{path}{name}"].add(_json_type(value))


def _shown(name: str) -> str:
    return name if _NAME.fullmatch(name) else _HIDDEN


def _fits(value: Any, field: Mapping[str, Any]) -> bool:
    """Return whether a value is of a field's JSON type, or a time in a documented form."""
    types = field["type"] if isinstance(field["type"], list) else [field["type"]]
    found = _json_type(value)
    if field.get("format") == "date-time" and found == "integer":
        return True  # Unix seconds.
    if found == "array" and "array" in types and "items" in field:
        return all(_fits(item, field["items"]) for item in value)
    return found in types or (found == "integer" and "number" in types) or value is None


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


def _json_type(value: Any) -> str:
    return _JSON_TYPES[type(value)]
