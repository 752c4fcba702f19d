"""What the doctor found: as JSON, whose form docs/doctor.md documents, or as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tap_wootric.doctor.estimate import Cost
from tap_wootric.progress import counted, duration


class Status(StrEnum):
    """What a fact means for the tap."""

    OK = "ok"
    WARNING = "warning"
    """The tap copes, but its user should know."""
    FAILED = "failed"
    """The tap cannot read this."""
    UNKNOWN = "unknown"
    """The account does not show it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One fact. Neither the value nor the message ever holds anything of a customer or of the account.

    Attributes:
        id: The fact's name, which never changes.
        stream: The stream that it is about, or None for the whole account.
        status: What it means for the tap.
        value: A boolean, a number or an object; None if the status is unknown.
        message: One plain sentence.
    """

    id: str
    stream: str | None
    status: Status
    value: Any
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the doctor found.

    Attributes:
        version: The version of the tap.
        api_url: The base URL of the API.
        checks: The facts, those of a stream together.
        estimate: What each kind of sync of the default selection takes; None if the lists did not show it.
        advice: What to do: the next command, or the one thing to fix.
        is_readable: Whether the tap can read the account.
    """

    version: str
    api_url: str
    checks: Sequence[Check]
    estimate: Mapping[str, Cost | None]
    advice: str
    is_readable: bool


_MARKS = {Status.OK: "✓", Status.WARNING: "!", Status.FAILED: "✗", Status.UNKNOWN: "?"}
_ASCII = str.maketrans({"✓": "+", "✗": "x", "…": "..."})
_ACCESS = ("credentials", "access")
"""The checks that explain why others of the stream, or all others, are unknown."""
_ID_WIDTH = 15
_SYNCS = {
    "first_sync": "A first sync",
    "idle_sync": "A sync with nothing new",
    "daily_sync": "The first sync of a day",
}


def as_json(report: Report) -> str:
    """Return the report as one JSON object, in ASCII."""
    estimate = {name: asdict(cost) if cost else None for name, cost in report.estimate.items()}
    content = {"version": report.version, "api_url": report.api_url, "checks": [*map(asdict, report.checks)]}
    return json.dumps({**content, "estimate": estimate}, indent=2)


def as_text(report: Report, *, unicode: bool) -> str:
    """Return the report for people.

    Args:
        report: The report.
        unicode: Whether the output can show more than ASCII.
    """
    text = "\n".join(_lines(report)) + "\n"
    return text if unicode else text.translate(_ASCII).encode("ascii", "replace").decode()


def _lines(report: Report) -> Iterator[str]:
    yield f"tap-wootric {report.version}, {report.api_url}"
    unreadable = {check.stream for check in report.checks if check.id in _ACCESS and check.status is not Status.OK}
    stream: str | None = None
    yield ""
    for check in report.checks:
        is_explained = None in unreadable or (check.stream in unreadable and check.id not in _ACCESS)
        if check.status is Status.UNKNOWN and is_explained:
            continue
        if check.stream != stream:
            stream = check.stream
            yield ""
            yield str(stream)
        yield f"  {_MARKS[check.status]} {check.id:<{_ID_WIDTH}} {check.message}"
    yield ""
    for name, cost in report.estimate.items():
        if cost:
            yield f"{_SYNCS[name]} takes about {counted(cost.requests, 'request')} and {duration(cost.seconds)}."
    yield report.advice
