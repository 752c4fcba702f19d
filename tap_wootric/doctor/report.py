"""What the doctor found: as JSON, whose form docs/doctor.md documents, or as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


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
class SyncEstimate:
    """What a sync of the default selection takes."""

    requests: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the doctor found.

    Attributes:
        version: The version of the tap.
        api_url: The base URL of the API.
        checks: The facts, those of a stream together.
        first_sync: The estimate for a first sync; None if the lists did not show it.
        later_sync: The estimate for a sync a day later.
        advice: What to do: the next command, or the one thing to fix.
        is_readable: Whether the tap can read the account.
    """

    version: str
    api_url: str
    checks: Sequence[Check]
    first_sync: SyncEstimate | None
    later_sync: SyncEstimate | None
    advice: str
    is_readable: bool


_MARKS = {Status.OK: "✓", Status.WARNING: "!", Status.FAILED: "✗", Status.UNKNOWN: "?"}
_COLORS = {Status.OK: "32", Status.WARNING: "33", Status.FAILED: "31", Status.UNKNOWN: "36"}
"""The numbers of ANSI's colors: green, yellow, red and cyan."""

_ASCII = str.maketrans({"✓": "+", "✗": "x", "…": "...", "\u2019": "'"})
_ID_WIDTH = 16


def as_json(report: Report) -> str:
    """Return the report as one JSON object, in ASCII."""
    content = {
        "version": report.version,
        "api_url": report.api_url,
        "checks": [
            {
                "id": check.id,
                "stream": check.stream,
                "status": check.status,
                "value": check.value,
                "message": check.message,
            }
            for check in report.checks
        ],
        "estimate": {
            "first_sync": _as_object(report.first_sync),
            "later_sync": _as_object(report.later_sync),
        },
    }
    return json.dumps(content, indent=2)


def _as_object(estimate: SyncEstimate | None) -> dict[str, int] | None:
    return {"requests": estimate.requests, "seconds": estimate.seconds} if estimate else None


def as_text(report: Report, *, colored: bool, unicode: bool) -> str:
    """Return the report for people.

    Args:
        report: The report.
        colored: Whether to use the colors of a terminal.
        unicode: Whether the output can show more than ASCII.
    """
    text = "\n".join(_lines(report, colored=colored)) + "\n"
    return text if unicode else text.translate(_ASCII).encode("ascii", "replace").decode()


def _lines(report: Report, *, colored: bool) -> Iterator[str]:
    yield f"tap-wootric {report.version}, {report.api_url}"
    unreadable = {check.stream for check in report.checks if _is_obstacle(check)}
    stream: str | None = None
    yield ""
    for check in report.checks:
        if check.status is Status.UNKNOWN and unreadable & {None, check.stream}:
            continue
        if check.stream != stream:
            stream = check.stream
            yield ""
            yield _styled(str(stream), "1", colored=colored)
        mark = _styled(_MARKS[check.status], _COLORS[check.status], colored=colored)
        yield f"  {mark} {check.id:<{_ID_WIDTH}} {check.message}"
    yield ""
    for name, estimate in (("A first sync", report.first_sync), ("A sync a day later", report.later_sync)):
        if estimate:
            requests = f"{estimate.requests:,} request{'' if estimate.requests == 1 else 's'}"
            yield f"{name} takes about {requests} and {duration(estimate.seconds)}."
    yield _styled(report.advice, "1;32" if report.is_readable else "1;31", colored=colored)


def _is_obstacle(check: Check) -> bool:
    """Return whether a check explains why others of its stream, or all others, are unknown."""
    return check.id in {"access", "credentials"} and check.status is Status.FAILED


def _styled(text: str, style: str, *, colored: bool) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if colored else text


_SECONDS_PER_MINUTE = 60
_SECONDS_PER_HOUR = 3_600
_ROUNDED_FROM = 2
"""Units: two minutes are `2 minutes`, but 100 seconds are not."""


def duration(seconds: float) -> str:
    """Return a duration in words, such as `20 minutes`."""
    for name, length in (("hour", _SECONDS_PER_HOUR), ("minute", _SECONDS_PER_MINUTE)):
        if seconds >= _ROUNDED_FROM * length:
            return f"{round(seconds / length)} {name}s"
    number = round(seconds)
    return f"{number} second{'' if number == 1 else 's'}"
