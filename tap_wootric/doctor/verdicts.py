"""What the findings about a list mean for the tap, in plain sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tap_wootric.doctor.lists import ListExamination
from tap_wootric.doctor.probe import NotAskedError, UnansweredError
from tap_wootric.doctor.report import Check, Status
from tap_wootric.pagination.query import PAGE_SIZE, TimeKey

_TIMES: dict[TimeKey, str] = {"created_at": "creation time", "updated_at": "update time"}
_SHOWN_NAMES = 5


def list_checks(examination: ListExamination) -> Iterator[Check]:
    """Yield the checks of a list. There is one of each, whether or not the list can be read."""
    verdicts = _Verdicts(examination)
    yield access_check(examination.stream.name, examination.problem)
    yield verdicts.rows()
    for key in _TIMES:
        yield verdicts.filters(key)
    for key in _TIMES:
        yield verdicts.sorts(key)
    yield verdicts.page_size()
    yield verdicts.last_page()
    yield verdicts.subsecond()
    yield verdicts.stable_ties()
    yield verdicts.rate_limit()
    yield verdicts.latency()
    yield verdicts.fields()


def access_check(stream: str, problem: UnansweredError | None) -> Check:
    """Return whether the account can read a stream.

    Args:
        stream: The stream's name.
        problem: Why there is no usable answer, if there is none.
    """
    match problem:
        case None:
            return Check("access", stream, Status.OK, value=True, message="The account can read it.")
        case NotAskedError():
            return Check("access", stream, Status.UNKNOWN, value=None, message=f"Not found out: {problem}.")
        case _:
            message = f"The account cannot read it: {problem}."
            return Check("access", stream, Status.FAILED, value=False, message=message)


class _Verdicts:
    """The checks of a list."""

    def __init__(self, examination: ListExamination) -> None:
        self._examination = examination
        self._findings = examination.findings

    def rows(self) -> Check:
        rows = self._examination.rows
        if rows is None:
            return self._unknown("rows", "The API does not show how many rows there are.")
        is_exact = self._examination.is_exact
        number = int(rows) if is_exact else int(float(f"{rows:.1e}"))  # An estimate has two digits.
        first, last = self._examination.dates()
        text = f"{'' if is_exact else 'About '}{number:,} row{'' if number == 1 else 's'}"
        text += f", created from {first} to {last}" if first else ""
        message = f"{text}." if number else "The list is empty."
        return self._check("rows", Status.OK, {"about": number, "from": first, "to": last}, message)

    def filters(self, key: TimeKey) -> Check:
        consequence = "each sync asks for all rows since start_date, and emits those that are new"
        return self._does("filter", key, self._findings.filters[key], consequence, copes=self._copes_without(key))

    def sorts(self, key: TimeKey) -> Check:
        copes = self._copes_without(key) and self._findings.filters[key] is not True
        return self._does("sort", key, self._findings.sorts[key], "the tap does without", copes=copes)

    def page_size(self) -> Check:
        usual, large = self._findings.page_size, self._findings.large_page_size
        value = {"50": usual, "500": large}
        if usual is None and large is None:
            return self._unknown("page_size", f"There are fewer rows than the {PAGE_SIZE} of a page.")
        if usual is not None and usual < PAGE_SIZE:
            message = f"A page has {usual} rows when 50 are asked for; the tap takes such a page for the last one."
            return self._check("page_size", Status.FAILED, value, message)
        parts = [
            f"{rows} rows when {asked} are asked for"
            if rows is not None
            else f"perhaps more when {asked} are asked for: the list is too short to show it"
            for asked, rows in value.items()
        ]
        return self._check("page_size", Status.OK, value, f"A page has {', and '.join(parts)}.")

    def last_page(self) -> Check:
        answer, status = self._findings.last_page, self._findings.last_page_status
        messages = {
            "error": f"Page 31 is an error (status {status}), as documented.",
            "empty": "Page 31 is empty; the tap does not ask for it.",
            "rows": "Page 31 has rows; the tap does not ask for it.",
        }
        if answer is None:
            return self._unknown("last_page", "The list is too short to show it.")
        return self._check("last_page", Status.OK, {"answer": answer, "http_status": status}, messages[answer])

    def subsecond(self) -> Check:
        is_subsecond = self._findings.subsecond
        messages = {
            True: "Timestamps are stored finer than they are shown; the tap expects that.",
            False: "Timestamps are stored in whole seconds.",
        }
        if is_subsecond is None:
            return self._unknown("subsecond", "The rows do not show how fine timestamps are stored.")
        return self._check("subsecond", Status.OK, is_subsecond, messages[is_subsecond])

    def stable_ties(self) -> Check:
        match self._findings.stable_ties:
            case None:
                return self._unknown("stable_ties", "Too few rows with equal timestamps were seen.")
            case True:
                message = "Rows with equal timestamps came in the same order each time."
                return self._check("stable_ties", Status.OK, True, message)  # noqa: FBT003 - A value.
            case False:
                message = "Rows with equal timestamps come in changing orders; the tap counts such rows."
                return self._check("stable_ties", Status.WARNING, False, message)  # noqa: FBT003 - The same.

    def rate_limit(self) -> Check:
        if self._examination.problem or not self._examination.answers:
            return self._unknown("rate_limit", "There was no answer.")
        value: dict[str, Any] = dict.fromkeys(("limit", "remaining", "shared"))
        answer, shared = self._examination.last_limit(), self._findings.shares_limit
        if answer is None:
            return self._check("rate_limit", Status.OK, value, "The API announces no limit.")
        value = {"limit": answer.limit, "remaining": answer.remaining, "shared": shared}
        limit = "a limit" if answer.limit is None else f"a limit of {answer.limit} requests"
        sharing = {True: "; other lists share it", False: "; other lists do not share it", None: ""}[shared]
        message = f"The API announces {limit}, of which {answer.remaining} are left{sharing}."
        return self._check("rate_limit", Status.OK, value, message)

    def latency(self) -> Check:
        seconds = self._examination.median_seconds()
        if self._examination.problem or seconds is None:
            return self._unknown("latency", "There was no answer.")
        milliseconds = round(1_000 * seconds)
        return self._check("latency", Status.OK, milliseconds, f"A page takes {milliseconds} ms (median).")

    def fields(self) -> Check:
        if not self._examination.has_rows:
            return self._unknown("fields", "There are no rows.")
        survey = self._examination.fields
        kinds = (
            ("new fields, kept in extra_fields", survey.unknown),
            ("values of unexpected types, kept in extra_fields", survey.misfit),
            ("values of other types, converted", survey.converted),
        )
        message = "; ".join(f"{kind}: {_names(found)}" for kind, found in kinds if found)
        if not message:
            return self._check("fields", Status.OK, survey.as_object(), "All fields fit the schema.")
        return self._check("fields", Status.WARNING, survey.as_object(), f"{message[0].upper()}{message[1:]}.")

    def _copes_without(self, key: TimeKey) -> bool:
        """Return whether the tap can read the list if the API does not filter and sort by a timestamp."""
        return key == "updated_at" and not self._examination.stream.filters_updates

    def _does(self, verb: str, key: TimeKey, value: bool | None, consequence: str, *, copes: bool) -> Check:  # noqa: FBT001 - A value.
        check_id = f"{verb}s_{key.removesuffix('_at')}"
        if value is None:
            return self._unknown(check_id, f"The rows do not show whether the API {verb}s by {_TIMES[key]}.")
        if value:
            return self._check(check_id, Status.OK, value, f"The API {verb}s by {_TIMES[key]}.")
        consequence = consequence if copes else "the tap needs it to read the list"
        message = f"The API does not {verb} by {_TIMES[key]}; {consequence}."
        return self._check(check_id, Status.WARNING if copes else Status.FAILED, value, message)

    def _unknown(self, check_id: str, message: str) -> Check:
        if self._examination.problem:
            message = "The list cannot be read."
        elif reason := self._findings.reasons.get(check_id):
            message = f"Not found out: {reason}."
        elif not self._examination.has_rows:
            message = "The list is empty."
        return self._check(check_id, Status.UNKNOWN, None, message)

    def _check(self, check_id: str, status: Status, value: Any, message: str) -> Check:
        return Check(check_id, self._examination.stream.name, status, value, message)


def _names(fields: dict[str, set[str]]) -> str:
    names = [f"{name} ({', '.join(sorted(types))})" for name, types in sorted(fields.items())]
    more = [f"{len(names) - _SHOWN_NAMES} more"] if len(names) > _SHOWN_NAMES else []
    return ", ".join([*names[:_SHOWN_NAMES], *more])
