"""Whether ranges of days include their last day. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

IsActive = Callable[[int, int], bool]
"""Returns whether anything happened in a range of days, counted from 1970-01-01. It may raise an error."""

_MAX_GUESSES = 1
_MAX_HALVINGS = 14


def includes_last_day(is_active: IsActive, guesses: Sequence[int], first: int, last: int) -> bool | None:
    """Return whether ranges include their last day, or None if it does not show.

    Activity in a range of a single day shows that they do. They do not if a range of two days is active, but neither of
    its days is as a range of its own.

    Args:
        is_active: Tells about a range.
        guesses: Days on which something may have happened.
        first: The first day of an active range, to look at if no guess is right.
        last: The last day of it.
    """
    for day in guesses[:_MAX_GUESSES]:
        if is_active(day, day + 1):
            return _includes_last_of(is_active, day)
    for _ in range(_MAX_HALVINGS):
        if last - first == 1:
            return _includes_last_of(is_active, first)
        middle = (first + last) // 2
        # The second half begins with the day in the middle: a range that excludes its last day does not have it.
        first, last = (first, middle) if is_active(first, middle) else (middle, last)
    return None


def _includes_last_of(is_active: IsActive, day: int) -> bool | None:
    """Return whether an active range of two days includes its last day."""
    if is_active(day, day) or is_active(day + 1, day + 1):
        return True
    return False if is_active(day, day + 1) else None
