"""Which facts to look for, in which order, and what the tap's user should do about them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import Any

from singer_sdk.exceptions import RetriableAPIError

from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.rate_limit import ServerClock
from tap_wootric.doctor.days import includes_last_day
from tap_wootric.doctor.estimate import sync_cost
from tap_wootric.doctor.lists import ListExamination
from tap_wootric.doctor.probe import Answer, NotAskedError, Probe, UnansweredError
from tap_wootric.doctor.report import Check, Report, Status, SyncEstimate, duration
from tap_wootric.doctor.verdicts import access_check, list_checks
from tap_wootric.records.timestamps import SECONDS_PER_DAY
from tap_wootric.settings import Settings
from tap_wootric.streams.base import WootricStream
from tap_wootric.streams.daily import DailyStream
from tap_wootric.streams.lists import ListStream

_MAX_REQUESTS = 60
"""The size of the lists is estimated with the requests that are left."""
_MIN_REFINEMENTS = 4
"""Requests for the size of the lists in any case."""
_RESERVED_REQUESTS = 16
"""Requests for the facts that are looked for later."""
_MAX_AWAITED_SECONDS = 15
_SHARING_ROUNDS = 2
_NOTED_SKEW_SECONDS = 5
_MAX_DAYS = 3_650
_LATER_SECONDS = SECONDS_PER_DAY
_READY = "Ready: `meltano run tap-wootric target-postgres`"

_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


class Doctor:
    """Examines an account.

    Args:
        settings: The tap's settings.
        streams: The tap's streams by their names.
        authenticator: Has fetched a token.
        clock: The server's clock.
        probe: Sends the requests.
        report_progress: Is told what comes next.
        local_time: Returns this machine's time in Unix seconds.
        sleep: Sleeps for a number of seconds.
    """

    def __init__(  # noqa: PLR0913 - All but the settings and streams are keywords.
        self,
        settings: Settings,
        streams: Mapping[str, WootricStream],
        *,
        authenticator: WootricAuthenticator,
        clock: ServerClock,
        probe: Probe,
        report_progress: Callable[[str], None],
        local_time: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._settings = settings
        self._streams = streams
        self._authenticator = authenticator
        self._clock = clock
        self._probe = probe
        self._report_progress = report_progress
        self._local_time = local_time
        self._sleep = sleep
        now = int(clock.now())
        self._lists = [
            ListExamination(stream, probe, now) for stream in streams.values() if isinstance(stream, ListStream)
        ]
        self._today = now // SECONDS_PER_DAY

    def report(self, version: str) -> Report:
        """Examine the account, and return what was found.

        Args:
            version: The version of the tap.
        """
        checks = [self._credentials()]
        for examination in self._lists:
            examination.begin()
        for examination in self._lists:
            self._report_progress(f"Checking {examination.stream.name}")
            examination.examine()
        self._measure_lists()
        others = [stream for stream in self._streams.values() if not isinstance(stream, ListStream)]
        for stream in others:
            if not isinstance(stream, DailyStream):
                self._report_progress(f"Checking {stream.name}")
                checks.append(self._access(stream))
        self._compare_answers()
        for stream in others:
            if isinstance(stream, DailyStream):
                self._report_progress(f"Checking {stream.name}")
                checks += self._daily_checks(stream)
        checks.insert(1, self._clock_check())
        return self._report(version, checks)

    def report_without_token(self, version: str, problem: str) -> Report:
        """Return the report if no token could be fetched.

        Args:
            version: The version of the tap.
            problem: Why there is none.
        """
        reason = NotAskedError("it takes a token")
        checks = [self._credentials(problem), Check("clock", None, Status.UNKNOWN, None, f"Not found out: {reason}.")]
        for examination in self._lists:
            examination.problem = reason
        for stream in self._streams.values():
            if not isinstance(stream, ListStream):
                checks.append(access_check(stream.name, reason))
            if isinstance(stream, DailyStream):
                checks.append(_end_inclusive(stream, None, f"Not found out: {reason}."))
        return self._report(version, checks)

    def _report(self, version: str, checks: list[Check]) -> Report:
        for examination in self._lists:
            checks += list_checks(examination)
        positions = {name: number for number, name in enumerate(["", *self._streams])}
        checks.sort(key=lambda check: positions[check.stream or ""])
        first, later = self._estimates()
        troubles = [check for check in checks if self._is_needed(check) and _is_trouble(check)]
        return Report(
            version=version,
            api_url=self._settings.api_url,
            checks=checks,
            first_sync=first,
            later_sync=later,
            advice=_advice(troubles, len(self._lists)),
            is_readable=not troubles,
        )

    # The account

    def _credentials(self, problem: str = "") -> Check:
        grant, lifetime = self._authenticator.grant_type, self._authenticator.token_lifetime_seconds
        value = {"grant": grant, "token_seconds": None if lifetime is None else round(lifetime)}
        if problem:
            return Check("credentials", None, Status.FAILED, value, f"{problem}.")
        lasts = f"; a token lasts {duration(lifetime)}" if lifetime else ""
        names = " and ".join(self._settings.credentials)
        return Check("credentials", None, Status.OK, value, f"The API accepts {names}{lasts}.")

    def _clock_check(self) -> Check:
        if not self._clock.is_set:
            return Check("clock", None, Status.UNKNOWN, None, "The API does not send its time.")
        # The clock is up to a second behind: the API sends whole seconds.
        seconds = math.ceil(self._clock.now() - self._local_time())
        if abs(seconds) < _NOTED_SKEW_SECONDS:
            return Check("clock", None, Status.OK, seconds, "The API's clock and this machine's agree.")
        ahead = "ahead of" if seconds > 0 else "behind"
        message = f"The API's clock is {duration(abs(seconds))} {ahead} this machine's; the tap goes by the API's."
        return Check("clock", None, Status.WARNING, seconds, message)

    # The lists

    def _measure_lists(self) -> None:
        """Estimate how many rows there are, with the requests that the other facts leave."""
        self._report_progress("Estimating how many rows there are")
        for examination in self._lists:
            examination.measure(self._settings.start_date)
        end = max(_MAX_REQUESTS - _RESERVED_REQUESTS, self._probe.requests + _MIN_REFINEMENTS)
        sent = -1
        while sent < self._probe.requests < end:  # Nothing is sent any more once the API refuses the credentials.
            sent = self._probe.requests
            worst = max(self._lists, key=lambda examination: examination.doubt)
            if worst.doubt:
                worst.refine()

    def _compare_answers(self) -> None:
        """Look at what repeated requests show: the order of ties, and the limits."""
        self._report_progress("Comparing answers to the same requests")
        for examination in self._lists:
            examination.examine_ties()
            examination.conclude()
        lists = [examination for examination in self._lists if not examination.problem]
        if not any(examination.last_limit() for examination in lists):
            return
        rounds: list[list[Answer]] = []
        with suppress(UnansweredError):
            for _ in range(_SHARING_ROUNDS):
                rounds.append([examination.touch() for examination in lists])  # noqa: PERF401 - Some may be missing.
            for number, examination in enumerate(lists):
                examination.findings.shares_limit = shares_limit(rounds, number)
        self._await_reset([examination for examination in lists if examination.last_limit()])

    def _await_reset(self, limited: Sequence[ListExamination]) -> None:
        """See the next window of a limit begin, if that is soon: its length is the time between two resets."""
        if any(examination.window_seconds for examination in limited):
            return
        waits = {examination: examination.seconds_to_reset(self._clock.now()) for examination in limited}
        soonest = min(waits, key=lambda examination: waits[examination])
        if 0 <= waits[soonest] <= _MAX_AWAITED_SECONDS:
            self._report_progress(f"Waiting {waits[soonest]:.0f} s to see how long the rate limit's window is")
            self._sleep(waits[soonest] + 1)
            with suppress(UnansweredError):
                soonest.touch()

    # The other streams

    def _access(self, stream: WootricStream) -> Check:
        try:
            self._rows(stream, {})
        except UnansweredError as error:
            return access_check(stream.name, error)
        return access_check(stream.name, None)

    def _daily_checks(self, stream: DailyStream) -> list[Check]:
        def is_active(first: int, last: int) -> bool:
            (row,) = self._rows(stream, stream.day_range(first, last))
            return any(_is_positive(row.get(name)) for name in stream.activity_fields)

        last = self._today - 2  # Over in any time zone.
        oldest = [_day(first) for examination in self._lists for first in examination.dates()[:1] if first]
        first = max(min(oldest, default=0) - 1, last - _MAX_DAYS)
        try:
            has_activity = is_active(first, last)
        except UnansweredError as error:
            return [access_check(stream.name, error), _end_inclusive(stream, None, "The stream cannot be read.")]
        if not has_activity:
            return [access_check(stream.name, None), _end_inclusive(stream, None, "No day has anything that shows it.")]
        guesses = [_day(text) for examination in self._lists for text in examination.response_days()]
        try:
            includes = includes_last_day(is_active, guesses, first, last)
        except UnansweredError as error:
            return [access_check(stream.name, None), _end_inclusive(stream, None, f"No answer: {error}.")]
        return [access_check(stream.name, None), _end_inclusive(stream, includes, "No day shows it.")]

    def _rows(self, stream: WootricStream, params: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the rows that a stream makes of the answer to a request.

        Raises:
            UnansweredError: There is no answer that it can read.
        """
        answer = self._probe.ask(stream.path, params)
        if answer.problem:
            raise UnansweredError(answer.problem)
        try:
            return stream.checked_rows(answer.content, params)
        except RetriableAPIError:
            reason = f"the response of {stream.path} does not have the structure of {stream.name}"
            raise UnansweredError(reason) from None

    # What it means

    def _is_needed(self, check: Check) -> bool:
        return check.stream is None or self._streams[check.stream].selected_by_default

    def _estimates(self) -> tuple[SyncEstimate | None, SyncEstimate | None]:
        readable = [examination for examination in self._lists if not examination.problem]
        first = [examination.first_sync(self._settings.start_date) for examination in readable]
        known = [facts for facts in first if facts]
        if not known or len(known) < len(first):
            return None, None
        later = [
            examination.later_sync(facts, _LATER_SECONDS) for examination, facts in zip(readable, known, strict=True)
        ]
        # Most likely, the limits of all endpoints have the same windows.
        window = min((facts.window_seconds for facts in known if facts.window_seconds), default=None)
        costs = [
            sync_cost(
                (replace(facts, window_seconds=facts.window_seconds or window) for facts in lists),
                self._settings.concurrency,
            )
            for lists in (known, later)
        ]
        first_sync, later_sync = (SyncEstimate(cost.requests, round(cost.seconds)) for cost in costs)
        return first_sync, later_sync


def shares_limit(rounds: Sequence[Sequence[Answer]], number: int) -> bool | None:
    """Return whether requests to other endpoints count for the limit of an endpoint, or None if that is not clear.

    Args:
        rounds: Two rounds of answers, of all endpoints in turn.
        number: The endpoint's number in each round.
    """
    sequence = [answer.remaining for answers in rounds for answer in answers]
    endpoints = len(rounds[0])
    before, after = sequence[number], sequence[number + endpoints]
    if before is None or after is None or endpoints == 1:
        return None
    if before - after == 1:
        return False
    for other in range(endpoints):
        positions = sorted([number, number + endpoints, other, other + endpoints])
        counts = [remaining for position in positions if (remaining := sequence[position]) is not None]
        if other == number or len(counts) < len(positions):
            continue
        if all(a > b for a, b in pairwise(counts)) and counts[0] - counts[2] == counts[1] - counts[3]:
            return True
    return None


def _is_trouble(check: Check) -> bool:
    """Return whether a check leaves open that the tap can read the account."""
    return check.status is Status.FAILED or (check.id == "access" and check.status is Status.UNKNOWN)


def _advice(troubles: Sequence[Check], lists: int) -> str:
    """Return what to do: the next command, or the one thing to fix.

    Args:
        troubles: The checks that prevent a sync of the default selection.
        lists: How many streams that has.
    """
    if not troubles:
        return _READY
    if troubles[0].id == "credentials":
        return f"Not ready: {troubles[0].message}"
    access = [check for check in troubles if check.id == "access"]
    if len(access) == lists and all(check.status is Status.FAILED for check in access):
        return f"Not ready: the account can read none of the lists. {access[0].stream}: {access[0].message}"
    if denied := [str(check.stream) for check in access if check.status is Status.FAILED]:
        deselect = "; ".join(f"`meltano select tap-wootric --exclude {name} '*'`" for name in denied)
        return f"Not ready: {' and '.join(denied)} cannot be read. Ask Wootric for access, or deselect: {deselect}"
    if access:
        return f"Try again later: {access[0].stream} was not looked at. {access[0].message}"
    first = troubles[0]
    return f"Please report this, with the output of --format json: {first.stream}, {first.id}. {first.message}"


def _end_inclusive(stream: DailyStream, value: bool | None, reason: str) -> Check:  # noqa: FBT001 - A value.
    messages = {
        True: "A range of days includes its last day.",
        False: "A range of days excludes its last day; the tap notices.",
        None: reason,
    }
    return Check("end_inclusive", stream.name, Status.UNKNOWN if value is None else Status.OK, value, messages[value])


def _day(text: str) -> int:
    """Return the number of a day such as `2024-01-31`, counted from 1970-01-01."""
    return date.fromisoformat(text).toordinal() - _EPOCH_ORDINAL


def _is_positive(value: Any) -> bool:
    """Return whether a total is above zero. Totals may come as text."""
    try:
        return float(value) > 0
    except (TypeError, ValueError):
        return False
