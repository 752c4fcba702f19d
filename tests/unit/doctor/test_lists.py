"""Each fact, from lists that an API without HTTP answers. `tests/integration/test_doctor.py` has all switches."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import requests

from tap_wootric.doctor.lists import ListExamination
from tap_wootric.streams import Responses
from tests.unit.api.fakes import response
from tests.unit.doctor.fakes import probe_of, probe_of_rows, rows
from tests.unit.fakes import NOW, Answer, make_stream, row, serving

DAY = 86_400
OLD = NOW - 400 * DAY


def examined(respond: Answer, start_date: int | None = None) -> ListExamination:
    listed = ListExamination(make_stream(Responses), probe_of(respond), NOW)
    listed.begin()
    listed.examine()
    listed.measure(start_date)
    while listed.doubt:
        listed.refine()
    listed.examine_ties()
    listed.conclude()
    return listed


def changing(respond: Answer, change: Callable[[dict[str, Any]], dict[str, Any] | int]) -> Answer:
    """Return an API that gets other parameters, or answers with a status."""

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        changed = change(dict(params))
        return response(changed, {}) if isinstance(changed, int) else respond(path, changed)

    return answer


def without(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what an API does that does not know some parameters."""
    return lambda params: {name: value for name, value in params.items() if not name.startswith(names)}


def mixed(count: int, first: int = OLD) -> list[dict[str, Any]]:
    """Return rows whose order of updates is another one than that of their creations."""
    rng = random.Random(count)
    return [
        {**made, "updated_at": row(0, first + 61 * number + rng.randrange(40 * DAY))["updated_at"]}
        for number, made in enumerate(rows(count, first), start=1)
    ]


def test_an_api_that_does_all_it_should() -> None:
    listed = examined(serving(mixed(200)))
    findings = listed.findings
    assert findings.reasons == {}
    assert {*findings.sorts.values(), *findings.filters.values()} == {True}
    assert (findings.page_size, findings.large_page_size) == (50, None)
    assert findings.stable_ties is None
    assert listed.rows == 200
    assert listed.dates() == ("2023-12-12", "2023-12-12")


def test_an_older_deployment_ignores_updates() -> None:
    respond = serving(mixed(200))
    old = changing(respond, lambda params: {**without("updated")(params), "sort_key": "created_at"})
    findings = examined(old).findings
    assert findings.filters == {"created_at": True, "updated_at": False}
    assert findings.sorts == {"created_at": True, "updated_at": False}


def test_an_older_deployment_without_updated_rows_shows_no_order() -> None:
    old = changing(serving(rows(200, OLD)), lambda params: {**without("updated")(params), "sort_key": "created_at"})
    assert examined(old).findings.filters["updated_at"] is False
    assert examined(old).findings.sorts["updated_at"] is None


@pytest.mark.parametrize("count", [1, 2, 3, 60])
def test_filters_that_are_ignored_show_even_if_all_rows_are_alike(count: int) -> None:
    alike = [row(number, OLD) for number in range(count)]
    findings = examined(changing(serving(alike), without("created[", "updated["))).findings
    assert {*findings.filters.values()} == {False}
    findings = examined(serving(alike)).findings
    assert {*findings.filters.values()} == {True}


def test_a_parameter_that_is_refused_is_one_that_the_api_does_not_know() -> None:
    refusing = changing(serving(mixed(60)), lambda params: 400 if "updated[gte]" in params else params)
    assert examined(refusing).findings.filters == {"created_at": True, "updated_at": False}
    refusing = changing(serving(mixed(60)), lambda params: 400 if params["sort_key"] == "updated_at" else params)
    assert examined(refusing).findings.sorts == {"created_at": True, "updated_at": False}


def test_a_large_page_that_is_refused_is_asked_for_again_as_a_small_one() -> None:
    refusing = changing(serving(mixed(160)), lambda params: 400 if params["per_page"] > 50 else params)
    findings = examined(refusing).findings
    assert findings.sorts["created_at"] is True
    assert (findings.page_size, findings.large_page_size) == (50, None)


@pytest.mark.parametrize("cut", [25, 50, 100])
def test_pages_that_are_cut(cut: int) -> None:
    respond = serving(mixed(400))
    cutting = changing(respond, lambda params: {**params, "per_page": min(cut, params["per_page"])})
    listed = examined(cutting)
    assert (listed.findings.page_size, listed.findings.large_page_size) == (min(cut, 50), cut)
    assert listed.rows == pytest.approx(400, rel=0.1)


@pytest.mark.parametrize(
    ("fraction", "eq", "is_subsecond"), [(False, True, False), (True, True, True), (False, False, None)]
)
def test_how_fine_timestamps_are(*, fraction: bool, eq: bool, is_subsecond: bool | None) -> None:
    respond = serving(mixed(60))

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        second = params.get("created[eq]")
        if second is None or not eq:
            return respond(path, params)
        if fraction:
            return response(content=[])
        return respond(path, {**params, "created[gte]": second, "created[lt]": second + 1})

    assert examined(answer).findings.subsecond is is_subsecond


def test_rows_of_one_second_that_swap_places_are_unstable_ties() -> None:
    asked = 0

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        nonlocal asked
        asked += 1
        random.Random(asked).shuffle(tied)
        return serving(tied)(path, params)

    tied = [*mixed(10), *(row(number, OLD + 5_000) for number in range(100, 130))]
    assert examined(answer).findings.stable_ties is False


def test_rows_of_one_second_that_keep_their_places_may_not_be_tied_at_all() -> None:
    tied = [*mixed(10), *(row(number, OLD + 5_000) for number in range(100, 130))]
    assert examined(serving(tied)).findings.stable_ties is None  # `eq` finds nothing, so timestamps may be finer.


def test_ties_on_a_late_page_are_compared_in_smaller_pages() -> None:
    respond = serving([*rows(1_450, OLD), *(row(number, NOW - DAY) for number in range(2_000, 2_050))])

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        second = params.get("created[eq]")
        bounds = {} if second is None else {"created[gte]": second, "created[lt]": second + 1}
        return respond(path, {**params, **bounds})

    assert examined(answer).findings.stable_ties is True


def test_a_list_that_cannot_be_read_is_left_alone() -> None:
    listed = examined(lambda _path, _params: response(403, {}))
    assert str(listed.problem) == "403 for /v1/responses"
    assert (listed.rows, listed.doubt, listed.first_sync(None)) == (None, 0, None)
    assert len(listed.answers) == 1


@pytest.mark.parametrize("content", [{}, [1], "text"])
def test_a_list_of_something_else_cannot_be_read(content: Any) -> None:
    listed = examined(lambda _path, _params: response(content=content))
    assert str(listed.problem) == "/v1/responses does not answer with a list of rows"


def test_an_empty_list_shows_nothing() -> None:
    listed = examined(serving([]))
    assert listed.rows == 0
    assert listed.findings.last_page is None
    assert {*listed.findings.filters.values(), *listed.findings.sorts.values()} == {None}


def test_the_last_page_of_a_server_in_trouble_is_unknown() -> None:
    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        if params.get("page") == 31:
            raise requests.ConnectionError
        return serving(mixed(60))(path, params)

    listed = examined(answer)
    assert listed.findings.last_page is None
    assert "could not be reached" in listed.findings.reasons["last_page"]


def test_a_first_sync_reads_what_was_updated_since_the_start_date() -> None:
    listed = examined(serving(rows(4_000, NOW - 4_000 * 61)))
    first = listed.first_sync(None)
    assert first is not None
    assert first.rows == pytest.approx(4_000, rel=0.05)
    start_date = NOW - 1_000 * 61
    first = examined(serving(rows(4_000, NOW - 4_000 * 61)), start_date).first_sync(start_date)
    assert first is not None
    assert first.rows == pytest.approx(1_000, rel=0.1)
    few = examined(serving(rows(10, NOW - 10 * 61)), NOW - 5 * 61).first_sync(NOW - 5 * 61)
    assert few is not None
    assert few.rows == 6


def test_a_start_date_after_all_rows_leaves_none() -> None:
    first = examined(serving(rows(60, OLD)), NOW).first_sync(NOW)
    assert first is not None
    assert first.rows == 0


def test_a_later_sync_reads_what_changes_in_that_time() -> None:
    listed = examined(serving(rows(4_000, NOW - 4_000 * 61)))
    first = listed.first_sync(None)
    assert first is not None
    assert listed.later_sync(first, 6_100).rows == pytest.approx(100, rel=0.1)


def test_a_later_sync_of_an_older_deployment_reads_all() -> None:
    old = changing(serving(rows(200, OLD)), lambda params: {**without("updated")(params), "sort_key": "created_at"})
    listed = examined(old)
    first = listed.first_sync(None)
    assert first is not None
    assert listed.later_sync(first, DAY) == first


def test_a_later_sync_of_an_empty_list_reads_nothing() -> None:
    listed = examined(serving([]))
    first = listed.first_sync(None)
    assert first is not None
    assert listed.later_sync(first, DAY).rows == 0


def test_the_size_of_a_long_list_without_filters_is_unknown() -> None:
    unfiltered = changing(serving(mixed(3_000)), without("created[", "updated["))
    cut = changing(unfiltered, lambda params: {**params, "per_page": min(50, params["per_page"])})
    assert examined(cut).rows is None


def test_days_that_have_responses_are_over() -> None:
    listed = ListExamination(make_stream(Responses), probe_of_rows([]), NOW)
    listed.begin()
    today = {**row(1, NOW), "score": 9}
    assert listed.response_days() == []
    listed = examined(serving([today, {**row(2, OLD), "score": 9}]))
    assert listed.response_days() == ["2023-12-12"]
