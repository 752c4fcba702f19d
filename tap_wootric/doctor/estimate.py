"""Estimates how many requests a sync takes, and how long."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from singer_sdk.exceptions import FatalAPIError

from tap_wootric.api.rate_limit import WINDOW_SECONDS
from tap_wootric.doctor.probe import ListProbe, NotAskedError, seconds_of
from tap_wootric.pagination.forecast import RowsAfter, forecast
from tap_wootric.pagination.query import TimeRange, WrongAnswerError, fetch_page
from tap_wootric.records.timestamps import SECONDS_PER_DAY

_MAX_SAMPLES = 4
"""Requests to estimate the size of a long list. More would find more imports."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a sync takes."""

    requests: int
    seconds: int


def count_rows(listed: ListProbe) -> tuple[float, RowsAfter | None]:
    """Return how many rows a first sync of a list reads, and how they are spread if not all of them have been seen.

    Raises:
        NotAskedError, FatalAPIError: As with `ListProbe.fetch`.
        WrongAnswerError: The API does not filter or sort as it was asked to.
    """
    first = listed.query(listed.key)
    pages = [fetch_page(listed.fetch, query) for query in (first, replace(first, descending=True))]
    seen = {record["id"] for page in pages for record in page.records}
    head, tail = (page.seconds for page in pages)
    has_overlap = not (head and tail) or head[-1] > tail[-1]  # Not just in rows of one second.
    if not has_overlap and min(listed.short_pages, default=listed.largest_page) < listed.largest_page:
        raise NotAskedError("rows cannot be counted, because some pages are short")
    if has_overlap or len(seen) < listed.page_rows:
        return len(seen), None
    times = seconds_of([*pages[0].records, *pages[1].records], listed.key)
    query = first.with_range(listed.key, TimeRange(min(times), max(times) + 1))
    spread = forecast(listed.fetch, query, listed.page_rows, _MAX_SAMPLES)
    return spread(min(times)), spread


def estimate_costs(lists: Iterable[ListProbe], recheck_days: int) -> dict[str, Cost | None]:
    """Return what each kind of sync of the readable lists takes; None if that is not known.

    The kinds are a first sync, one with nothing new, and the first one of a day, which rechecks some days.
    """
    lists = [listed for listed in lists if listed.pages]
    with suppress(NotAskedError, FatalAPIError, WrongAnswerError):
        if lists:
            return {
                "first_sync": _cost(lists, [count_rows(listed)[0] for listed in lists]),
                "idle_sync": _cost(lists, [0] * len(lists)),
                "daily_sync": _cost(lists, [_rechecked_rows(listed, recheck_days) for listed in lists]),
            }
    return dict.fromkeys(("first_sync", "idle_sync", "daily_sync"))


def _rechecked_rows(listed: ListProbe, days: int) -> float:
    """Return about how many rows of the last days a list has, if these are read again each day."""
    if listed.key == "updated_at":
        return 0
    start = listed.sync_range.now - days * SECONDS_PER_DAY
    _, spread = count_rows(listed)
    if spread:
        return spread(start)
    return sum(second >= start for second in seconds_of([*listed.rows.values()], listed.key))


def _cost(lists: Iterable[ListProbe], rows: Iterable[float]) -> Cost:
    requests, seconds = 1, 0.0  # The token's.
    for listed, number in zip(lists, rows, strict=True):
        # A request starts at the second of the last row, which comes again. The last one finds nothing new.
        needed = math.ceil(number / max(1, listed.page_rows - 1)) + 1
        requests += needed
        latency, limit = listed.median_seconds, listed.header("X-Rate-Limit-Limit") or 0
        seconds += needed * latency
        if limit > 0:
            seconds += (needed - 1) // limit * max(0, WINDOW_SECONDS - limit * latency)
    return Cost(requests, math.ceil(seconds))
