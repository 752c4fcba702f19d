from __future__ import annotations

from typing import Any

import pytest

from tap_wootric.doctor import evidence
from tap_wootric.doctor.evidence import SeenPage, SeenRow
from tests.unit.doctor.fakes import page, seen

ORDERED = [seen(number, 100 + number) for number in range(6)]


def both_orders(rows: list[SeenRow], key: str = "created_at") -> list[SeenPage]:
    return [page(rows, key), page(rows[::-1], key, "desc")]


def test_two_pages_in_both_orders_prove_that_the_api_sorts() -> None:
    assert evidence.sorts(both_orders(ORDERED), "created_at", []) is True


def test_a_page_out_of_order_proves_that_it_does_not() -> None:
    assert evidence.sorts([page([ORDERED[1], ORDERED[0]])], "created_at", []) is False


def test_one_order_alone_proves_nothing() -> None:
    assert evidence.sorts([page(ORDERED)] * 5, "created_at", []) is None


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_rows_may_be_in_order_by_chance(count: int) -> None:
    assert evidence.sorts(both_orders(ORDERED[:count]), "created_at", []) is None


def test_rows_that_are_in_order_by_another_key_as_well_prove_nothing() -> None:
    rows = [seen(number, 100 + number, 200 + number) for number in range(6)]
    assert evidence.sorts(both_orders(rows, "updated_at"), "updated_at", ["created_at"]) is None
    rows = [seen(number, 100 - number % 3, 200 + number) for number in range(6)]
    assert evidence.sorts(both_orders(rows, "updated_at"), "updated_at", ["created_at"]) is True


def test_an_order_by_email_is_none_by_time() -> None:
    rows = [seen(number, 100 + number, email=f"{number}@example.com") for number in range(6)]
    assert evidence.sorts(both_orders(rows), "created_at", ["email"]) is None


def test_a_row_out_of_range_proves_that_the_api_does_not_filter() -> None:
    asked: dict[str, Any] = {"created[gte]": 101, "created[lt]": 102}
    assert evidence.filters([page(ORDERED[1:2], **asked)], "created_at") is None
    assert evidence.filters([page(ORDERED[1:3], **asked)], "created_at") is False
    assert evidence.filters([page(ORDERED[:2], **asked)], "created_at") is False


TIED = [seen(number, 100) for number in range(8)]


def test_ties_in_another_order_are_not_stable() -> None:
    assert evidence.keeps_ties(page(TIED), [page(TIED[::-1])], []) is False


def test_ties_in_the_same_order_each_time_are_stable() -> None:
    assert evidence.keeps_ties(page(TIED), [page(TIED), page(TIED)], [page(TIED[:4])]) is True


def test_two_tied_rows_may_keep_their_order_by_chance() -> None:
    assert evidence.keeps_ties(page(TIED[:2]), [page(TIED[:2])] * 3, []) is None


def test_ties_that_only_other_pages_reorder_are_unknown() -> None:
    assert evidence.keeps_ties(page(TIED), [page(TIED)], [page(TIED[::-1], per_page=25)]) is None


def test_rows_of_different_seconds_may_swap_places() -> None:
    assert evidence.keeps_ties(page(ORDERED), [page(ORDERED[::-1])], []) is None


def test_rows_that_may_still_move_are_left_out() -> None:
    assert page([seen(1, 100, 900), seen(2, 101, 200)], "updated_at").settled(900).rows == [seen(2, 101, 200)]


def test_a_row_is_kept_without_its_values() -> None:
    row = SeenRow.of(
        {"id": 1, "created_at": "2024-01-01 23:00:00 -0800", "updated_at": "never", "score": 9, "text": "secret"}
    )
    assert row == SeenRow(1, 1_704_178_800, None, "", "2024-01-01", is_counted=True)


@pytest.mark.parametrize("row", [{}, {"id": [1], "created_at": 5, "updated_at": None, "email": 7}])
def test_any_row_can_be_kept(row: dict[str, object]) -> None:
    assert isinstance(hash(SeenRow.of(row)), int)


def test_days_with_the_most_responses_come_first() -> None:
    rows = [SeenRow(1, 0, 0, "", day, is_counted=True) for day in ("2024-01-01", "2024-01-02", "2024-01-02")]
    rows.append(SeenRow(2, 0, 0, "", "2024-01-03", is_counted=False))
    assert list(evidence.days(rows)) == ["2024-01-02", "2024-01-01"]
