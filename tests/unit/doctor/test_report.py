from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tap_wootric.doctor.report import Check, Report, Status, SyncEstimate, as_json, as_text, duration

OK = Check("access", "responses", Status.OK, value=True, message="The account can read it.")
DENIED = Check("access", "declines", Status.FAILED, value=False, message="The account cannot read it.")
HIDDEN = Check("rows", "declines", Status.UNKNOWN, None, "The list cannot be read.")
REPORT = Report(
    version="1.2.3",
    api_url="https://api.wootric.com",
    checks=[
        Check("credentials", None, Status.OK, {"grant": "password", "token_seconds": 7_200}, "The API accepts them."),
        OK,
        Check("subsecond", "responses", Status.UNKNOWN, None, "The rows don\u2019t show it."),
        Check("fields", "responses", Status.WARNING, {}, "New fields: color."),
        DENIED,
        HIDDEN,
    ],
    first_sync=SyncEstimate(2_050, 1_230),
    later_sync=SyncEstimate(1, 1),
    advice="Not ready: declines.",
    is_readable=False,
)


def test_the_json_has_the_documented_form() -> None:
    assert json.loads(as_json(replace(REPORT, checks=[OK], later_sync=None))) == {
        "version": "1.2.3",
        "api_url": "https://api.wootric.com",
        "checks": [
            {
                "id": "access",
                "stream": "responses",
                "status": "ok",
                "value": True,
                "message": "The account can read it.",
            }
        ],
        "estimate": {"first_sync": {"requests": 2_050, "seconds": 1_230}, "later_sync": None},
    }


def test_the_text_is_a_table_by_stream_that_ends_with_what_to_do() -> None:
    assert as_text(REPORT, colored=False, unicode=True).splitlines() == [
        "tap-wootric 1.2.3, https://api.wootric.com",
        "",
        "  ✓ credentials      The API accepts them.",
        "",
        "responses",
        "  ✓ access           The account can read it.",
        "  ? subsecond        The rows don\u2019t show it.",
        "  ! fields           New fields: color.",
        "",
        "declines",
        "  ✗ access           The account cannot read it.",
        "",
        "A first sync takes about 2,050 requests and 20 minutes.",
        "A sync a day later takes about 1 request and 1 second.",
        "Not ready: declines.",
    ]


def test_the_text_without_credentials_is_short() -> None:
    refused = Check("credentials", None, Status.FAILED, {}, "Refused.")
    report = replace(REPORT, checks=[refused, HIDDEN], first_sync=None, later_sync=None)
    assert len(as_text(report, colored=False, unicode=True).splitlines()) == 5


def test_the_text_can_do_without_unicode() -> None:
    text = as_text(REPORT, colored=False, unicode=False)
    assert text.isascii()
    assert "  + access" in text
    assert "  x access" in text
    assert "don't show" in text


def test_colors_surround_the_marks() -> None:
    text = as_text(REPORT, colored=True, unicode=True)
    assert "\x1b[32m✓\x1b[0m access" in text
    assert "\x1b[1;31mNot ready: declines.\x1b[0m" in text
    assert "\x1b[1;32m" in as_text(replace(REPORT, is_readable=True), colored=True, unicode=True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7_200, "2 hours")],
)
def test_durations_are_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
