"""Draws the pictures of the documentation as SVG, from real runs and real measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape
from typing import Any
from unittest.mock import patch

from tap_wootric.pagination import keyset
from tap_wootric.pagination import query as queries
from tap_wootric.pagination.query import Query
from tap_wootric.records.transform import Record
from tests.api_reader import ApiReader
from tests.benchmark.report import OLD_TAP
from tests.sandbox import Account
from tests.sandbox.account import BEGIN, NOW, SECOND

ROWS = 8
PAGE_SIZE = 4
"""Rows on a page of the picture. The API's pages have 50."""

UPDATED = 2
"""The row that is updated after the first request."""

_FONT = 'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif"'
_TEXT, _MUTED, _LINE = "#1f2328", "#59636e", "#d1d9e0"
_BLUE, _LIGHT_BLUE, _RED, _GREY = "#0969da", "#b6d7ff", "#cf222e", "#8c959f"


@dataclass(frozen=True)
class Step:
    """A request: what it asks for, the rows of the account in their order at that moment, and those of the page."""

    asks: str
    rows: list[int]
    page: list[int]


def read_by_page_number() -> list[Step]:
    """Read a small account page by page, while a row is updated."""

    def read(fetch: Callable[[Query], list[Record]]) -> None:
        query = Query("updated_at", size=PAGE_SIZE)
        while len(fetch(query)) == PAGE_SIZE:
            query = replace(query, page=query.page + 1)

    return _run(read, lambda query: f"page={query.page}")


def read_by_seeking() -> list[Step]:
    """Read the same account as the tap does, while the same row is updated."""

    def read(fetch: Callable[[Query], list[Record]]) -> None:
        with patch.object(queries, "PAGE_SIZE", PAGE_SIZE):
            for _ in keyset.read(fetch, Query("updated_at", size=PAGE_SIZE)):
                pass

    def asks(query: Query) -> str:
        row = query.updated_at.gte - BEGIN // SECOND
        return f"from the time of row {row}" if row > 0 else "from the beginning"

    return _run(read, asks)


def _run(read: Callable[[Callable[[Query], list[Record]]], None], asks: Callable[[Query], str]) -> list[Step]:
    account, steps = Account(), list[Step]()
    table = account.end_users
    for number in range(1, ROWS + 1):
        table.insert(BEGIN + number * SECOND)
    reader = ApiReader(account, "end_users")

    def fetch(query: Query) -> list[Record]:
        rows = sorted(table.rows.values(), key=lambda row: row.updated)
        page = reader.fetch(query)
        steps.append(Step(asks(query), [row.id for row in rows], [record["id"] for record in page]))
        if len(steps) == 1:
            table.update(table.rows[UPDATED], int(NOW) * SECOND)
        return page

    read(fetch)
    return steps


def missing(steps: Iterable[Step]) -> set[int]:
    """Return the rows that no page had."""
    return set(range(1, ROWS + 1)) - {row for step in steps for row in step.page}


def paging() -> str:
    """Draw both ways of reading, one above the other."""
    by_page, by_seek = read_by_page_number(), read_by_seeking()
    parts = list[str]()
    height = 10
    for title, steps in (("Turning pages", by_page), ("Seeking by time, as this tap does", by_seek)):
        lost = missing(steps)
        verdict = f"row {', '.join(map(str, sorted(lost)))} is lost" if lost else "no row is lost"
        parts += [
            _label(24, height + 24, title, size=17, weight=600),
            _label(736, height + 24, verdict, size=15, weight=600, color=_RED if lost else _BLUE, anchor="end"),
        ]
        height += 40
        read = set[int]()
        for number, step in enumerate(steps, 1):
            parts += _step(height, number, step, read, lost)
            read |= set(step.page)
            height += 46
            if number == 1:
                parts.append(_label(276, height + 6, f"↑ row {UPDATED} is updated, and moves to the end", color=_MUTED))
                height += 22
        height += 14
    title = f"Between two requests, row {UPDATED} of {ROWS} is updated"
    return _svg(760, height, title, parts)


def _step(top: int, number: int, step: Step, read: set[int], lost: set[int]) -> list[str]:
    parts = [
        _label(24, top + 18, f"Request {number}", weight=600),
        _label(24, top + 34, step.asks, color=_MUTED),
    ]
    for place, row in enumerate(step.rows):
        left = 276 + place * 58
        fill, color = "#ffffff", _MUTED
        if row in step.page:
            fill, color = (_LIGHT_BLUE, _TEXT) if row in read and row != UPDATED else (_BLUE, "#ffffff")
        stroke = _LINE
        if row in lost and number > 1:
            color, stroke = _RED, _RED
        parts.append(
            f'<rect x="{left}" y="{top}" width="52" height="36" rx="5" fill="{fill}" stroke="{stroke}" '
            f'stroke-width="{2 if stroke == _RED else 1}"/>'
        )
        parts.append(_label(left + 26, top + 24, str(row), size=16, weight=600, color=color, anchor="middle"))
    return parts


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
