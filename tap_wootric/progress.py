"""What a person who waits for a long sync wants to know, in a line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pendulum

from tap_wootric.records.timestamps import DATE_LENGTH, unix_seconds

if TYPE_CHECKING:
    from tap_wootric.streams.base import WootricStream

_EVERY = 10.0
"""Seconds from one line to the next, at the least."""


class Progress:
    """Logs how far a stream is, and a summary at its end; the numbers stand in the log record's fields as well.

    Args:
        stream: The stream that is read.
        since: The Unix second that reading begins at; before 1970 if that is not known.
        until: The Unix second that reading ends at.

    Attributes:
        rows: How many rows were emitted.
        requests: How many requests were made, tries again apart.
    """

    def __init__(self, stream: WootricStream, since: int, until: int) -> None:
        self.rows = 0
        self.requests = 0
        self._stream = stream
        self._since = since
        self._until = until
        self._begun = self._told = time.monotonic()
        self._waited_before = stream.tap.client.throttled_seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._log("done", {})

    def at(self, stamp: str | None) -> None:
        """Take note that reading got to a row with a stamp in the form of `timestamps.normalize_timestamp`."""
        if stamp and self._since <= 0:
            self._since = unix_seconds(stamp)
        if not stamp or time.monotonic() - self._told < _EVERY:
            return
        self._told = time.monotonic()
        second = unix_seconds(stamp)
        part = min(1.0, (second - self._since) / max(1, self._until - self._since))
        left = (self._told - self._begun) * (1 - part) / part if part else None
        text = f"at {stamp[:DATE_LENGTH]}"
        if left is not None:
            text += f" ({part:.0%} of the time, {pendulum.duration(seconds=round(left)).in_words()} left)"
        self._log(text, {"at": stamp, "part": round(part, 3), "seconds_left": left and round(left)})

    def _log(self, where: str, fields: dict[str, object]) -> None:
        seconds = time.monotonic() - self._begun
        waited = self._stream.tap.client.throttled_seconds - self._waited_before
        self._stream.logger.info(
            "%s: %s, %d rows in %d requests and %.0f seconds, %.0f of them waiting for the rate limit",
            self._stream.name,
            where,
            self.rows,
            self.requests,
            seconds,
            waited,
            extra={"rows": self.rows, "requests": self.requests, "seconds_waited": round(waited), **fields},
        )
