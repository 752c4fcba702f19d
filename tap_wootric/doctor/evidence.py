"""What pages of rows prove about the API that returned them. Pure.

A short list may be in order by chance, and a stable order may be luck. So a fact is true only if chance would have
brought it about at most once in a thousand times; otherwise it is unknown (None).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from tap_wootric.pagination.query import SortKey, TimeKey
from tap_wootric.records.timestamps import normalize_timestamp, unix_seconds

_PROOF = math.log(1_000)
"""The evidence that proves something: the logarithm of how unlikely it is by chance."""

RowKey = Literal["updated_at", "created_at", "email", "id"]
"""What a list may be sorted by."""


@dataclass(frozen=True, slots=True)
class SeenRow:
    """What is kept of a row.

    Attributes:
        id: The row's id.
        created_at: The Unix second it was created in, or None if the row does not tell.
        updated_at: The Unix second it was updated in, or None.
        email: The end user's address, in lower case; it never leaves the process.
        day: The date of its creation in the account's time zone, or an empty string.
        is_counted: Whether it is a response that the NPS counts.
    """

    id: Any
    created_at: int | None
    updated_at: int | None
    email: str
    day: str
    is_counted: bool

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> SeenRow:
        """Return what is kept of a row of the API."""
        created_at = row.get("created_at")
        is_date = isinstance(created_at, str) and created_at[4:5] == "-"
        return cls(
            id=_hashable(row.get("id")),
            created_at=_second(created_at),
            updated_at=_second(row.get("updated_at")),
            email=str(row.get("email") or "").lower(),
            day=str(created_at)[:10] if is_date else "",
            is_counted=row.get("score") is not None and row.get("excluded_from_calculations") is not True,
        )

    def time(self, key: TimeKey) -> int | None:
        """Return the Unix second of one of the row's timestamps."""
        return self.created_at if key == "created_at" else self.updated_at


@dataclass(frozen=True, slots=True)
class SeenPage:
    """The rows of a page in their order, and the parameters that asked for them."""

    params: Mapping[str, Any]
    rows: Sequence[SeenRow]

    @property
    def sort_key(self) -> SortKey | None:
        """The sort key that was asked for."""
        key: SortKey | None = self.params.get("sort_key")
        return key

    @property
    def descending(self) -> bool:
        """Whether descending order was asked for."""
        return bool(self.params.get("sort_order") == "desc")

    def times(self, key: TimeKey) -> list[int]:
        """Return the Unix seconds of the rows that have this timestamp."""
        return [second for row in self.rows if (second := row.time(key)) is not None]

    def settled(self, before: int) -> SeenPage:
        """Return the page without the rows whose sort key is no time before a Unix second: these may still move."""
        key: TimeKey = "updated_at" if self.sort_key == "updated_at" else "created_at"
        rows = [row for row in self.rows if (second := row.time(key)) is not None and second < before]
        return SeenPage(self.params, rows)


def sorts(pages: Sequence[SeenPage], key: TimeKey, fallbacks: Sequence[RowKey]) -> bool | None:
    """Return whether the API sorts by a time.

    Args:
        pages: All of them were to be sorted by it, some in either order.
        key: The time.
        fallbacks: What the API may sort by instead. If that explains all pages as well, nothing is proven.
    """
    proof = {False: 0.0, True: 0.0}
    for page in pages:
        times = page.times(key)
        if times != sorted(times, reverse=page.descending):
            return False
        proof[page.descending] += math.lgamma(len(set(times)) + 1)
    # Both orders must show: a list that is always in one order may ignore what it was asked for.
    if sum(proof.values()) < _PROOF or not all(proof.values()):
        return None
    if any(all(_is_monotonic(page, fallback) for page in pages) for fallback in fallbacks):
        return None
    return True


def filters(pages: Iterable[SeenPage], key: TimeKey) -> bool | None:
    """Return False if a page has rows outside the range of a time that was asked for; otherwise None."""
    column = key.removesuffix("_at")
    for page in pages:
        lower, upper = page.params.get(f"{column}[gte]", -math.inf), page.params.get(f"{column}[lt]", math.inf)
        if any(not lower <= second < upper for second in page.times(key)):
            return False
    return None


def tie_proof(page: SeenPage) -> float:
    """Return how much a repetition of a page in the same order would prove about its ties."""
    return sum(math.lgamma(len(ids) + 1) for ids in _ties(page).values())


def keeps_ties(page: SeenPage, repetitions: Sequence[SeenPage], others: Sequence[SeenPage]) -> bool | None:
    """Return whether rows with equal timestamps come in the same order each time.

    Args:
        page: A page that has such rows.
        repetitions: Pages that answered the same request later.
        others: Pages that have some of its rows at other places.
    """
    if any(_differ(page, again) for again in repetitions):
        return False
    if any(_differ(page, other) for other in others):
        return None  # Stable or not is a matter of the request then.
    ids = {row.id for row in page.rows}
    proof = 0.0
    for again in (*repetitions, *others):
        proof += tie_proof(SeenPage(again.params, [row for row in again.rows if row.id in ids]))
    return True if proof >= _PROOF else None


def _differ(page: SeenPage, other: SeenPage) -> bool:
    """Return whether two pages have rows with equal timestamps in different orders."""
    ties, again = _ties(page), _ties(other)
    for second in ties.keys() & again.keys():
        common = set(ties[second]) & set(again[second])
        if [row for row in ties[second] if row in common] != [row for row in again[second] if row in common]:
            return True
    return False


def _ties(page: SeenPage) -> dict[int, list[Any]]:
    """Return the ids of the rows that share a second, in their order, by that second."""
    key: TimeKey = "updated_at" if page.sort_key == "updated_at" else "created_at"
    ids = defaultdict[int, list[Any]](list)
    for row in page.rows:
        if (second := row.time(key)) is not None:
            ids[second].append(row.id)
    return {second: tied for second, tied in ids.items() if len(tied) > 1}


def _is_monotonic(page: SeenPage, key: RowKey) -> bool:
    """Return whether the rows are in ascending or descending order of a key."""
    values = [value for row in page.rows if (value := getattr(row, key)) is not None]
    with suppress(TypeError):  # Ids of different types.
        return all(a <= b for a, b in pairwise(values)) or all(a >= b for a, b in pairwise(values))
    return False


def _second(value: object) -> int | None:
    """Return the Unix second of a timestamp in any form that the API uses, or None."""
    with suppress(ValueError):
        return None if value is None else unix_seconds(normalize_timestamp(value))
    return None


def _hashable(value: Any) -> Any:
    return value if isinstance(value, str | int) else repr(value)


def days(rows: Iterable[SeenRow]) -> Iterator[str]:
    """Yield the days on which responses were created that the NPS counts, those with the most rows first."""
    counts = defaultdict[str, int](int)
    for row in rows:
        if row.is_counted and row.day:
            counts[row.day] += 1
    yield from sorted(counts, key=lambda day: counts[day], reverse=True)
