"""Shows what the benchmark measured, as tables in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tools import ROOT

FILE = ROOT / "docs" / "benchmark.json"
"""The measurements that the documentation shows; `python -m tools benchmark --save` takes them."""

FLOOR = "the least that a program can do"
OLD_TAP = "singer-io's tap"
THIS_TAP = "this tap"

Measured = Mapping[str, Any]


def saved() -> dict[str, Any]:
    """Return the measurements that the documentation shows."""
    measured: dict[str, Any] = json.loads(FILE.read_text())
    return measured


def tables(measured: Measured) -> str:
    """Return all measurements as tables."""
    machine = f"{measured['cores']} cores and Python {measured['python']}"
    parts = [
        f"Measured on {measured['date']} with {machine}, against `{measured['old_tap']}`.",
        _latencies(measured["latencies"]),
        _limits(measured["limits"]),
        _cycles(measured["cycles"]),
        _memory(measured["memory"]),
        _losses(measured["losses"]),
    ]
    return "\n\n".join(parts) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _latencies(part: Measured) -> str:
    lines, old_seconds = [], 1.0
    for run in part["runs"]:
        is_old = run["program"] == OLD_TAP
        old_seconds = run["seconds"] if is_old else old_seconds
        name = OLD_TAP if is_old else f"this tap, `concurrency` {run['concurrency']}"
        faster = "" if is_old else f"{old_seconds / run['seconds']:.1f} times"
        lines.append(
            [f"{run['latency_milliseconds']} ms", name, f"{run['seconds']:.1f}", faster, f"{run['requests']:,}"]
        )
    rows = part["rows"]
    title = f"**{rows:,} rows without a rate limit**, which take at least {rows // 50:,} requests:"
    return f"{title}\n\n{table(['the API responds in', 'program', 'seconds', 'faster', 'requests'], lines)}"


def _limits(part: Measured) -> str:
    lines = [[run["program"], f"{run['minutes']:.1f}", f"{run['requests']:,}"] for run in part["runs"]]
    title = f"**A year of {part['rows']:,} end users under a limit of 100 requests a minute:**"
    return f"{title}\n\n{table(['program', 'minutes', 'requests'], lines)}"


def _cycles(part: Measured) -> str:
    lines = [
        [
            run["program"],
            f"{run['rows_per_second']:,}",
            f"{run['cpu_seconds_per_100000_rows']:.1f}",
            _spread(run["cpu_to_old_tap"]),
            _spread(run["cpu_to_floor"]),
        ]
        for run in part["runs"]
    ]
    head = ["program", "rows a second", "CPU seconds for 100,000 rows", "CPU relative to the old tap", "to the least"]
    return f"**{part['rows']:,} rows from a server that responds at once:**\n\n{table(head, lines)}"


def _memory(part: Measured) -> str:
    lines = [[str(run["concurrency"]), *(f"{one} MB" for one in run["megabytes"])] for run in part["runs"]]
    return f"**Peak memory:**\n\n{table(['`concurrency`', *(f'{rows:,} rows' for rows in part['rows'])], lines)}"


def _losses(part: Measured) -> str:
    title = (
        f"**Rows that are wrong after two syncs of {part['rows']:,}**, half of which were updated in the same second. "
        "Each request of the first sync changes two rows; the second sync runs undisturbed:"
    )
    lines = [[run["program"], str(run["missing"]), str(run["stale"])] for run in part["runs"]]
    return f"{title}\n\n{table(['program', 'missing', 'out of date'], lines)}"


def _spread(values: Mapping[str, float]) -> str:
    if values["least"] == values["most"]:
        return f"{values['median']:.2f}"
    return f"{values['median']:.2f} ({values['least']:.2f} to {values['most']:.2f})"
