"""How many requests a sync takes, and how long. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tap_wootric.pagination.query import PAGE_SIZE

_ROWS_PER_REQUEST = PAGE_SIZE - 1
"""Each request begins at the second of the last row that is known, and returns that row again."""

_PAGES_IN_SEQUENCE = 12
"""About so many pages of a list are read one by one: the first, and the end of the last partition."""

_PARALLEL_OVERHEAD = 1.07
"""How many times the requests of a page-by-page reading a parallel one takes: each partition costs an extra request."""

_START_SECONDS = 2.0
"""What a sync takes without any request."""

_SECONDS_PER_ROW = 0.00006
"""What a row takes without the waiting, measured with a target that only stores lines."""


_WINDOW_SECONDS = 60.0
"""The documented limit counts requests per minute."""

_MIN_WINDOW_SECONDS = 2
"""Resets that are less far apart may be the same one, rounded."""


@dataclass(frozen=True, slots=True)
class ListFacts:
    """What the time of a list's sync depends on.

    Attributes:
        rows: How many rows the sync reads.
        seconds_per_request: How long the API takes to return a page.
        limit: How many requests the API accepts in a window, or None if it announces no limit.
        window_seconds: The length of a window, or None if it is not known.
    """

    rows: float
    seconds_per_request: float
    limit: int | None = None
    window_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """The requests and the seconds of a sync."""

    requests: int
    seconds: float


def sync_cost(lists: Iterable[ListFacts], concurrency: int) -> Cost:
    """Return what a sync takes that reads some lists one after the other, with one token.

    Args:
        lists: The lists.
        concurrency: How many parts of a list are read in parallel if the API announces no limit.
    """
    costs = [_list_cost(facts, concurrency) for facts in lists]
    return Cost(1 + sum(cost.requests for cost in costs), _START_SECONDS + sum(cost.seconds for cost in costs))


def window_seconds(resets: Sequence[tuple[int, int]]) -> float | None:
    """Return the length of the windows in which the API counts requests, or None if the resets do not show it.

    Args:
        resets: For each response, when it came and the reset that it announced, in Unix seconds.
    """
    ahead = [reset - received for received, reset in resets]
    moments = [received for received, _ in resets]
    if ahead and max(ahead) - min(ahead) < _MIN_WINDOW_SECONDS < max(moments) - min(moments):
        return max(ahead)  # The window moves along with the requests.
    apart = [b - a for a, b in pairwise(sorted({reset for _, reset in resets})) if b - a >= _MIN_WINDOW_SECONDS]
    if apart:
        return min(apart)
    return max(ahead) if ahead and max(ahead) > _WINDOW_SECONDS else None


def _list_cost(facts: ListFacts, concurrency: int) -> Cost:
    requests = max(1, math.ceil(facts.rows / _ROWS_PER_REQUEST))
    working_seconds = facts.rows * _SECONDS_PER_ROW
    if facts.limit:
        return Cost(requests, max(_limited_seconds(facts, requests), working_seconds))
    if concurrency == 1 or requests <= _PAGES_IN_SEQUENCE:
        return Cost(requests, requests * facts.seconds_per_request + working_seconds)
    in_parallel = math.ceil((requests - _PAGES_IN_SEQUENCE) * _PARALLEL_OVERHEAD)
    waits = _PAGES_IN_SEQUENCE + in_parallel / concurrency
    seconds = max(waits * facts.seconds_per_request, working_seconds)
    return Cost(_PAGES_IN_SEQUENCE + in_parallel, seconds)


def _limited_seconds(facts: ListFacts, requests: int) -> float:
    """Return how long requests take of which the API accepts a number in each window."""
    limit = max(1, facts.limit or 1)
    full_windows = (requests - 1) // limit
    rest = requests - full_windows * limit
    seconds_of_window = max(facts.window_seconds or _WINDOW_SECONDS, limit * facts.seconds_per_request)
    return full_windows * seconds_of_window + rest * facts.seconds_per_request
