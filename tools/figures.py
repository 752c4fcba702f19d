"""Draws the plot of the benchmark as SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from tools.benchmark.report import OLD_TAP

_FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'
_TEXT, _MUTED, _LINE = "#1f2328", "#59636e", "#d1d9e0"
_BLUE, _LIGHT_BLUE, _RED, _GREY = "#0969da", "#b6d7ff", "#cf222e", "#8c959f"


def benchmark(measured: Mapping[str, Any]) -> str:
    """Plot how long the sync of the benchmark takes, by the time that the API needs for a response."""
    rows, runs = measured["latencies"]["rows"], measured["latencies"]["runs"]
    scale = 440 / max(run["seconds"] for run in runs)
    title = f"Seconds to read {rows:,} rows, without a rate limit"
    parts = [_label(24, 32, title, size=17, weight=600)]
    height, latency = 48, None
    for run in runs:
        is_old = run["program"] == OLD_TAP
        if run["latency_milliseconds"] != latency:
            latency = run["latency_milliseconds"]
            height += 22
            parts.append(_label(24, height, f"The API takes {latency} ms to respond", weight=600))
            height += 8
        name = OLD_TAP if is_old else f"this tap, concurrency {run['concurrency']}"
        width = max(run["seconds"] * scale, 1)
        parts += [
            _label(216, height + 15, name, color=_MUTED, anchor="end"),
            f'<rect x="226" y="{height}" width="{width:.0f}" height="20" rx="3" fill="{_GREY if is_old else _BLUE}"/>',
            _label(226 + round(width) + 8, height + 15, f"{run['seconds']:g} s"),
        ]
        height += 26
    return _svg(760, height + 16, title, parts)


def _label(  # noqa: PLR0913 - Each is an attribute.
    x: int, y: int, text: str, *, size: int = 13, weight: int = 400, color: str = _TEXT, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{color}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _svg(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    """Return a drawing on white, so that it can be read on a dark page as well."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" {_FONT}>',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )
