"""What the findings about a list mean for the tap, in plain sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tap_wootric.doctor.fields import FieldSurvey
from tap_wootric.doctor.lists import Findings, ListExamination
from tap_wootric.doctor.report import Check, Status
from tap_wootric.pagination.query import PAGE_SIZE, TimeKey

_NO_ROWS = "The list has no rows to show it."
_TOO_FEW = "The rows do not show it."
_SHOWN_NAMES = 5


def list_checks(examination: ListExamination) -> Iterator[Check]:
    """Yield the checks of a list. There is one of each, whether or not the list can be read."""
    findings, name = examination.findings, examination.stream.name

    def check(check_id: str, status: Status, value: Any, message: str) -> Check:
        return Check(check_id, name, status, value, message)

    def boolean(check_id: str, value: bool | None, if_false: Status, yes: str, no: str) -> Check:  # noqa: FBT001 - Data.
        if value is None:
            return unknown(check_id)
        return check(check_id, Status.OK if value else if_false, value, yes if value else no)

    def unknown(check_id: str, message: str = _TOO_FEW) -> Check:
        if examination.problem:
            message = "The list cannot be read."
        elif check_id in findings.reasons:
            message = f"No answer: {findings.reasons[check_id]}."
        elif not examination.has_rows:
            message = _NO_ROWS
        return check(check_id, Status.UNKNOWN, None, message)

    if examination.problem:
        yield check("access", Status.FAILED, False, f"The account cannot read it: {examination.problem}.")
    else:
        yield check("access", Status.OK, True, "The account can read it.")

    if (rows := examination.rows) is None:
        yield unknown("rows", "The API does not show how many rows there are.")
    else:
        first, last = examination.dates()
        value = {"about": _rounded(rows, is_exact=examination.is_exact), "from": first, "to": last}
        yield check("rows", Status.OK, value, _rows_message(value, is_exact=examination.is_exact))

    times: dict[TimeKey, str] = {"created_at": "creation time", "updated_at": "update time"}
    for verb, known in (("filter", findings.filters), ("sort", findings.sorts)):
        for key, time in times.items():
            status, consequence = _without(verb, key, examination)
            yield boolean(
                f"{verb}s_{key.removesuffix('_at')}",
                known[key],
                status,
                f"The API {verb}s by {time}.",
                f"The API does not {verb} by {time}; {consequence}.",
            )

    yield _page_size(name, findings) or unknown("page_size", f"The list is shorter than a page of {PAGE_SIZE} rows.")
    yield _last_page(name, findings) or unknown("last_page", "The list is too short to show it.")
    yield boolean(
        "subsecond",
        findings.subsecond,
        Status.OK,
        "Timestamps are stored finer than they are shown; the tap expects it.",
        "Timestamps are stored in whole seconds.",
    )
    yield boolean(
        "stable_ties",
        findings.stable_ties,
        Status.WARNING,
        "Rows with equal timestamps came in the same order each time.",
        "Rows with equal timestamps come in changing orders; the tap counts them, which takes more requests.",
    )
    yield _rate_limit(examination) if examination.answers else unknown("rate_limit")
    if (seconds := examination.median_seconds()) is None:
        yield unknown("latency")
    else:
        milliseconds = round(1000 * seconds)
        yield check("latency", Status.OK, milliseconds, f"A page takes {milliseconds} ms (median).")
    yield _fields(name, examination.fields) if examination.has_rows else unknown("fields")


def _without(verb: str, key: TimeKey, examination: ListExamination) -> tuple[Status, str]:
    """Return what it means for the tap if the API does not filter or sort by a timestamp."""
    copes = key == "updated_at" and not examination.stream.filters_updates
    if copes and (verb == "filter" or examination.findings.filters[key] is not True):
        return Status.WARNING, "each sync asks for all rows since start_date, and emits those that are new"
    return Status.FAILED, "the tap cannot read the list without"


def _page_size(name: str, findings: Findings) -> Check | None:
    usual, large = findings.page_size, findings.large_page_size
    if usual is None and large is None:
        return None
    value = {"50": usual, "500": large}
    if usual is not None and usual < PAGE_SIZE:
        message = f"A page has {usual} rows when 50 are asked for; the tap would take it for the last page."
        return Check("page_size", name, Status.FAILED, value, message)
    parts = [
        f"{'at least as many as there are' if rows is None else rows} when {asked} are asked for"
        for asked, rows in value.items()
    ]
    return Check("page_size", name, Status.OK, value, f"A page has {' and '.join(parts)}.")


def _last_page(name: str, findings: Findings) -> Check | None:
    if findings.last_page is None:
        return None
    value = {"answer": findings.last_page, "http_status": findings.last_page_status}
    answers = {
        "error": f"Page 31 is an error (status {findings.last_page_status}), as documented.",
        "empty": "Page 31 is empty.",
        "rows": "Page 31 has rows; the tap does not ask for it.",
    }
    return Check("last_page", name, Status.OK, value, answers[findings.last_page])


def _rate_limit(examination: ListExamination) -> Check:
    answer, shared = examination.last_limit(), examination.findings.shares_limit
    value: dict[str, Any] = dict.fromkeys(("limit", "remaining", "shared"))
    if answer is None:
        return Check("rate_limit", examination.stream.name, Status.OK, value, "The API announces no limit.")
    value = {"limit": answer.limit, "remaining": answer.remaining, "shared": shared}
    limit = "a limit" if answer.limit is None else f"a limit of {answer.limit} requests"
    sharing = {True: "; other lists share it", False: "; it is the list's own", None: ""}[shared]
    message = f"The API announces {limit}, of which {answer.remaining} are left{sharing}."
    return Check("rate_limit", examination.stream.name, Status.OK, value, message)


def _fields(name: str, fields: FieldSurvey) -> Check:
    parts = [
        f"{label}: {_names(found)}"
        for label, found in (
            ("new fields, kept in extra_fields", fields.unknown),
            ("values of unexpected types, kept in extra_fields", fields.misfit),
            ("values of other types, converted", fields.converted),
        )
        if found
    ]
    if not parts:
        return Check("fields", name, Status.OK, fields.as_object(), "All fields fit the schema.")
    message = "; ".join(parts)
    return Check("fields", name, Status.WARNING, fields.as_object(), f"{message[0].upper()}{message[1:]}.")


def _names(fields: dict[str, set[str]]) -> str:
    names = [f"{name} ({', '.join(sorted(types))})" for name, types in sorted(fields.items())]
    more = [f"{len(names) - _SHOWN_NAMES} more"] if len(names) > _SHOWN_NAMES else []
    return ", ".join([*names[:_SHOWN_NAMES], *more])


def _rounded(rows: float, *, is_exact: bool) -> int:
    """Return an estimate with two digits."""
    return int(rows) if is_exact else int(float(f"{rows:.1e}"))


def _rows_message(value: dict[str, Any], *, is_exact: bool) -> str:
    if not value["about"]:
        return "The list is empty."
    about = "" if is_exact else "About "
    rows = f"{about}{value['about']:,} row{'' if value['about'] == 1 else 's'}"
    return f"{rows}, created from {value['from']} to {value['to']}." if value["from"] else f"{rows}."
