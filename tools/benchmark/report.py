"""Shows what the benchmark measured: as tables in Markdown, and as a plot in SVG."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from tools import ROOT

FILE = ROOT / "docs" / "benchmark.json"
"""The measurements that the documentation shows; `python -m tools benchmark --save` takes them."""

FLOOR = "the minimum"
OLD_TAP = "singer-io's tap"
THIS_TAP = "this tap"

_FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'
_TEXT, _BLUE, _GREY = "#1f2328", "#0969da", "#8c959f"

_PLOTTED = ("first_sync", "day")
"""The tables to plot, by their second columns."""

Measured = Mapping[str, Any]


def saved() -> dict[str, Any]:
    """Return the measurements that the documentation shows."""
    measured: dict[str, Any] = json.loads(FILE.read_text())
    return measured


def tables(measured: Measured) -> str:
    """Return all measurements as tables."""
    machine = f"{measured['cores']} cores and Python {measured['python']}"
    parts = [f"Measured on {measured['date']} with {machine}, against `{measured['old_tap']}`."]
    for part in measured["tables"].values():
        rows = [[cell if isinstance(cell, str) else f"{cell:,}" for cell in row] for row in part["rows"]]
        parts.append(f"**{part['title']}:**\n\n{table(part['head'], rows)}")
    return "\n\n".join(parts) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def plot(measured: Measured) -> str:
    """Draw how long a first sync takes, and how many requests a day does, on white, so that it shows on dark pages."""
    parts, y = [], 14
    for part in (measured["tables"][name] for name in _PLOTTED):
        y += 22
        parts.append(_label(24, y, part["title"], weight=600))
        most = max(value for _, value, *_ in part["rows"])
        for program, value, *_ in part["rows"]:
            y += 10
            width = max(round(420 * value / most), 1)
            color = _GREY if program == OLD_TAP else _BLUE
            parts += [
                _label(156, y + 15, program, anchor="end"),
                f'<rect x="166" y="{y}" width="{width}" height="20" rx="3" fill="{color}"/>',
                _label(174 + width, y + 15, f"{value:,} {part['head'][1]}"),
            ]
            y += 18
        y += 14
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {y + 8}" role="img" {_FONT}>'
    title = "<title>What a first sync and a day of hourly syncs take</title>"
    background = f'<rect width="760" height="{y + 8}" rx="8" fill="#ffffff"/>'
    return "\n".join([head, title, background, *parts, "</svg>\n"])


def _label(x: int, y: int, text: str, *, weight: int = 400, anchor: str = "start") -> str:
    font = f'font-size="13" font-weight="{weight}" fill="{_TEXT}" text-anchor="{anchor}"'
    return f'<text x="{x}" y="{y}" {font}>{escape(text)}</text>'
