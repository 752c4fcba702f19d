"""What is true of an account: a function for each fact, in the order in which the report has them.

A function asks for the pages that it needs. Whether the API filters and sorts is judged by the functions with which the
tap checks its own pages. So the doctor and a sync agree on what the tap can read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from singer_sdk.exceptions import FatalAPIError

from tap_wootric.api.rate_limit import NOTED_DIFFERENCE_SECONDS
from tap_wootric.api.redact import redact
from tap_wootric.api.responses import AccessDeniedError
from tap_wootric.doctor.estimate import count_rows
from tap_wootric.doctor.probe import ListProbe, NotAskedError, Probe, is_refusal, plain_message, seconds_of
from tap_wootric.doctor.report import Check, Status
from tap_wootric.pagination.query import (
    LAST_PAGE,
    PAGE_SIZE,
    Query,
    TimeKey,
    TimeRange,
    WrongAnswerError,
    fetch_page,
    fetch_records,
)
from tap_wootric.progress import counted, duration
from tap_wootric.records.timestamps import DATE_LENGTH, timestamp_of_second
from tap_wootric.records.transform import EXTRA_FIELDS
from tap_wootric.settings import Settings
from tap_wootric.streams.base import WootricStream

Fact = tuple[Status, Any, str]
"""What a fact means for the tap, its value, and one sentence."""

_TIMES: dict[TimeKey, str] = {"created_at": "creation time", "updated_at": "update time"}
_AGREEING_SECONDS = 5  # The API sends whole seconds, and its response takes a while.
_SORTED_SECONDS = 7  # Seven different seconds are in order by chance once in 5,040 times.
_WITNESSES = 3  # This many rows do not all leave a range between two requests.
_DIFFERENCES = {
    "unknown": "New fields, kept in extra_fields",
    "misfit": "Values of unexpected types, kept in extra_fields",
}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
"""What names of the API's own fields look like. Any other name may be a customer's data."""
_MAX_NAMES = 50
"""An API has no more fields than this: further names are probably data."""
DENIED = "The account cannot read it"
_NO_ROWS = "There are no rows to show it."


def credentials(probe: Probe, settings: Settings) -> Check:
    """Return whether the API accepts the credentials, and how long a token lasts."""
    lifetime = probe.authenticator.token_lifetime_seconds
    value = {"grant": probe.authenticator.grant_type, "token_seconds": round(lifetime) if lifetime else None}
    if probe.unavailable:
        return Check("credentials", None, Status.FAILED, value, f"{plain_message(probe.unavailable)}.")
    message = f"The API accepts {' and '.join(settings.credentials)}"
    message += f"; a token lasts {duration(round(lifetime))}." if lifetime else "."
    return Check("credentials", None, Status.OK, value, message)


def clock(probe: Probe) -> Check:
    """Return how far the API's clock is ahead of this machine's."""
    times = probe.rate_limiter.clock
    if not times.is_set:
        return Check("clock", None, Status.UNKNOWN, None, "The API does not send its time.")
    seconds = math.ceil(times.server_time() - times.local_time())  # `Date` is truncated.
    if abs(seconds) < _AGREEING_SECONDS:
        return Check("clock", None, Status.OK, seconds, "The API's clock and this machine's agree.")
    ahead = "ahead of" if seconds > 0 else "behind"
    status = Status.WARNING if abs(seconds) > NOTED_DIFFERENCE_SECONDS else Status.OK
    message = f"The API's clock is {duration(abs(seconds))} {ahead} this machine's; the tap copes with that."
    return Check("clock", None, status, seconds, message)


def access(stream: WootricStream, listed: ListProbe | None, probe: Probe) -> Check:
    """Return whether the account can read a stream, which may be a list."""
    name = stream.name
    try:
        if listed:
            listed.fetch(listed.query(listed.key))
        else:
            probe.ask(stream, stream.sample_params())
    except (NotAskedError, FatalAPIError) as error:
        reason = plain_message(error).removeprefix(f"{name}: ")
        if is_refusal(error):
            start = DENIED if isinstance(error, AccessDeniedError) else "The tap cannot read it"
            return Check("access", name, Status.FAILED, value=False, message=f"{start}: {reason}.")
        return Check("access", name, Status.UNKNOWN, None, f"{name} could not be read: {reason}.")
    return Check("access", name, Status.OK, value=True, message="The account can read it.")


def list_checks(listed: ListProbe, *, is_readable: bool = True) -> Iterator[Check]:
    """Yield the other checks of a list. They are the same whether or not it can be read."""
    name, keys = listed.stream.name, [key for key in _TIMES if key in listed.stream.sort_keys]
    facts: dict[str, Callable[[ListProbe], Fact]]
    facts = {f"filters_{key.removesuffix('_at')}": partial(filters, key=key) for key in keys}
    facts |= {f"sorts_{key.removesuffix('_at')}": partial(sorts, key=key) for key in keys}
    facts |= {"rows": rows, "short_pages": short_pages, "rate_limit": rate_limit, "latency": latency, "fields": fields}
    if "notes" in listed.stream.schema["properties"]:
        facts["late_changes"] = late_changes
    for check_id, fact in facts.items():
        if not is_readable:
            yield Check(check_id, name, Status.UNKNOWN, None, "The list cannot be read.")
            continue
        try:
            yield Check(check_id, name, *fact(listed))
        except (NotAskedError, FatalAPIError, WrongAnswerError) as error:
            message = plain_message(error).removeprefix(f"{name}: ")
            yield Check(check_id, name, Status.UNKNOWN, None, f"Not determined: {message}.")


def filters(listed: ListProbe, key: TimeKey) -> Fact:
    """Return whether the API filters by a time."""
    try:
        queries = _proof_queries(listed, key)
        *pages, last = [fetch_records(listed.fetch, query) for query in queries]
    except (WrongAnswerError, FatalAPIError) as error:
        return _inability(listed, key, "filter", error)
    if not listed.fetch(queries[0]):
        return Status.UNKNOWN, None, _NO_ROWS
    seen = {row["id"] for page in pages for row in queries[-1].select(page) if row.get(key)}
    if len(seen) >= _WITNESSES and seen.isdisjoint(row["id"] for row in last):
        return _inability(listed, key, "filter", WrongAnswerError("rows are missing from the range that they are in"))
    return Status.OK, True, f"The API filters by {_TIMES[key]}."


def sorts(listed: ListProbe, key: TimeKey) -> Fact:
    """Return whether the API sorts by a time."""
    queries = _proof_queries(listed, key)
    for query in queries:
        fetch_records(listed.fetch, query)  # Its errors are those of the filter.
    try:
        pages = [fetch_page(listed.fetch, query) for query in queries]
    except WrongAnswerError as error:
        return _inability(listed, key, "sort", error)
    if max(len(set(page.seconds)) for page in pages) < _SORTED_SECONDS:
        return Status.UNKNOWN, None, "There are too few rows to show it."
    return Status.OK, True, f"The API sorts by {_TIMES[key]}."


def _proof_queries(listed: ListProbe, key: TimeKey) -> list[Query]:
    """Return queries whose pages show whether the API filters and sorts; only the first one if there are no rows.

    The second one starts halfway between the first row and now: the list may begin with an import of a single second.
    The last one excludes the first rows of all and, if there are enough, those that follow.
    """
    start = listed.query(key)
    seconds = sorted({*seconds_of(listed.fetch(start), key)})
    if not seconds:
        return [start]
    middle = start.starting_at(max((seconds[0] + listed.sync_range.now) // 2, seconds[0] + 1))
    third = len(seconds) // 3
    second = TimeRange.of_second(max(seconds[-1], seconds[0] + 1))
    part = TimeRange(seconds[third], seconds[2 * third]) if third else second
    return [start, middle, start.with_range(key, part)]


def _inability(listed: ListProbe, key: TimeKey, verb: str, error: Exception) -> Fact:
    """Return the fact that the API does not filter or sort. An error that may be temporary is raised."""
    if isinstance(error, FatalAPIError) and not is_refusal(error):
        raise error
    message = f"The API does not {verb} by {_TIMES[key]}: {plain_message(error)}"
    if key == listed.key:
        return Status.FAILED, False, f"{message}."
    return Status.WARNING, False, f"{message}. Full-table syncs need it, and so do seconds with more rows than a page."


def short_pages(listed: ListProbe) -> Fact:
    """Return whether pages have fewer rows than are asked for, although more follow."""
    largest, short = listed.largest_page, listed.short_pages
    if not short and largest < PAGE_SIZE:
        return Status.UNKNOWN, None, f"There are fewer rows than the {PAGE_SIZE} of a page."
    value = {"page_rows": largest, "short": bool(short)}
    if not short:
        return Status.OK, value, f"Pages have the {PAGE_SIZE} rows that are asked for."
    number = f"have at most {largest}" if min(short) == largest else "sometimes have fewer"
    message = f"Pages {number} rows when {PAGE_SIZE} are asked for, although more follow; the tap copes."
    return Status.WARNING, value, message


def rows(listed: ListProbe) -> Fact:
    """Return about how many rows a first sync reads, and from when they are."""
    if not listed.fetch(listed.query(listed.key)):
        return Status.OK, {"about": 0, "from": None, "to": None}, "There are no rows."
    number, _ = count_rows(listed)
    is_exact = number < LAST_PAGE * listed.page_rows and not listed.short_pages
    about = round(number) if is_exact else int(float(f"{number:.1e}"))  # An estimate has two digits.
    times = seconds_of(list(listed.rows.values()), listed.key)
    oldest, newest = (timestamp_of_second(end(times))[:DATE_LENGTH] if times else None for end in (min, max))
    message = f"{'' if is_exact else 'About '}{counted(about, 'row')}"
    message += f", {listed.key.removesuffix('_at')} from {oldest} to {newest}."
    return Status.OK, {"about": about, "from": oldest, "to": newest}, message


def rate_limit(listed: ListProbe) -> Fact:
    """Return which limit the API announces, and how much of it is left."""
    limit, remaining = (listed.header(f"X-Rate-Limit-{name}") for name in ("Limit", "Remaining"))
    value = {"limit": limit, "remaining": remaining}
    if limit is None:
        return Status.OK, value, "The API announces no limit."
    left = "" if remaining is None else f", {remaining} left"
    return Status.OK, value, f"The API announces a limit of {counted(limit, 'request')}{left}."


def latency(listed: ListProbe) -> Fact:
    """Return how long a response takes."""
    milliseconds = round(1_000 * listed.median_seconds)
    return Status.OK, milliseconds, f"A page takes {milliseconds} ms (median)."


def fields(listed: ListProbe) -> Fact:
    """Return which fields the tap keeps in `extra_fields`, because they differ from the schema."""
    if not listed.rows:
        return Status.UNKNOWN, None, _NO_ROWS
    schema = listed.stream.schema
    differing = {field for row in listed.rows.values() for field in _differing(row[EXTRA_FIELDS] or {}, schema)}
    found = {kind: sorted(path for path, which in differing if which == kind)[:_MAX_NAMES] for kind in _DIFFERENCES}
    messages = [f"{_DIFFERENCES[kind]}: {', '.join(paths)}." for kind, paths in found.items() if paths]
    if not messages:
        return Status.OK, found, "All fields fit the schema."
    return Status.WARNING, found, " ".join(messages)


def _differing(extra_fields: Mapping[str, Any], schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path of each field in `extra_fields`, such as `survey.color`, and how it differs from the schema."""
    for name, value in extra_fields.items():
        field = schema["properties"].get(name)
        if field is None:
            is_shown = _NAME.fullmatch(name) and redact(name) == name
            yield f"{path}{name if is_shown else '(hidden)'}", "unknown"
        elif "properties" in field and isinstance(value, dict):
            yield from _differing(value, field, f"{path}{name}.")
        else:
            yield f"{path}{name}", "misfit"


def late_changes(listed: ListProbe) -> Fact:
    """Return whether notes and tags, which people add later, move `updated_at`."""
    changed = [row for row in listed.rows.values() if row.get("notes") or row.get("tags")]
    unmoved = [row for row in changed if row.get("updated_at") and row["updated_at"] == row.get("created_at")]
    value = {"rows": len(listed.rows), "with_notes_or_tags": len(changed), "unmoved": len(unmoved)}
    if not changed:
        return Status.UNKNOWN, None, "No row that was seen has notes or tags."
    seen = f"In {len(unmoved):,} of {counted(len(changed), 'row')} with notes or tags, updated_at equals created_at"
    return Status.OK, value, f"{seen}: such changes {'do not always' if unmoved else 'may'} move it."
