"""Writes the generated parts of the README, from the settings and the schemas: `python -m tests.readme`.

It also finds code blocks, for the tests that run them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.programs import ROOT
from tests.tap import catalog_of, tap

README = ROOT / "README.md"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TYPES = {"string": "text"}
_FORMATS = {"date-time": "time", "date": "date"}


def blocks() -> list[tuple[str, str]]:
    """Return the language and the text of each code block that is not generated."""
    return [(language, text) for language, text in _BLOCK.findall(README.read_text()) if language != "mermaid"]


def block(part: str) -> str:
    """Return the only code block that contains a text."""
    (found,) = [text for _, text in blocks() if part in text]
    return found


def generated(text: str) -> str:
    """Return a README's text with its generated parts renewed."""
    about = json.loads(tap("--about", "--format", "json").out)
    parts = {"settings": _settings(about["settings"]["properties"]), "streams": _streams(catalog_of()["streams"])}
    for name, content in parts.items():
        before, mark, rest = text.partition(f"<!-- {name}: made by tests/readme.py -->\n")
        _, end, after = rest.partition("<!-- end -->\n")
        if not end:
            raise ValueError(f"the README has no place for {name}")
        text = f"{before}{mark}\n{content}\n{end}{after}"
    return text


def _settings(properties: Mapping[str, Any]) -> str:
    rows = [
        (f"`{name}`", "" if (default := schema.get("default")) is None else str(default), schema["description"])
        for name, schema in properties.items()
    ]
    return _table(("setting", "default", "meaning"), rows)


def _streams(entries: list[dict[str, Any]]) -> str:
    return "\n".join([_diagram(entries), *(_fields(entry) for entry in entries)])


def _diagram(entries: list[dict[str, Any]]) -> str:
    """Return a diagram of how the streams relate: `end_user_id` is the key of `end_users`."""
    names = [entry["tap_stream_id"] for entry in entries]
    lines = ["```mermaid", "erDiagram"]
    for entry in entries:
        others = [name for name in names if f"{name.removesuffix('s')}_id" in entry["schema"]["properties"]]
        lines += [f"  {other} |o--o{{ {entry['tap_stream_id']} : {other.removesuffix('s')}_id" for other in others]
    for entry in entries:
        lines.append(f"  {entry['tap_stream_id']} {{")
        for field, schema in entry["schema"]["properties"].items():
            mark = " PK" if field in entry["key_properties"] else ""
            mark = " FK" if field.endswith("_id") and f"{field.removesuffix('_id')}s" in names else mark
            lines.append(f"    {_type(schema).replace(' ', '_')} {field}{mark}")
        lines.append("  }")
    return "\n".join([*lines, "```", ""])


def _fields(entry: Mapping[str, Any]) -> str:
    title = f"#### `{entry['tap_stream_id']}`\n\n{entry['schema']['description']}\n\n"
    return title + _table(("field", "type", "meaning"), _rows(entry["schema"]))


def _rows(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in schema["properties"].items():
        yield f"`{path}{name}`", _type(field), field["description"]
        if "properties" in field:
            yield from _rows(field, f"{path}{name}.")


def _type(field: Mapping[str, Any]) -> str:
    kind = (
        next(name for name in [*field["type"]] if name != "null") if isinstance(field["type"], list) else field["type"]
    )
    if kind == "array":
        return "list of " + {"object": "objects"}.get(inner := _type(field["items"]), inner)
    return _FORMATS.get(field.get("format", "")) or _TYPES.get(kind, kind)


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    README.write_text(generated(README.read_text()))
