from __future__ import annotations

import json
from dataclasses import replace

from tap_wootric.doctor.estimate import Cost
from tap_wootric.doctor.report import Check, Report, Status, as_json, as_text

DENIED = Check("access", "declines", Status.FAILED, value=False, message="The account cannot read it.")
HIDDEN = Check("rows", "declines", Status.UNKNOWN, None, "The list cannot be read.")
REPORT = Report(
    version="1.2.3",
    api_url="https://api.wootric.com",
    checks=[
        Check("credentials", None, Status.OK, {"grant": "password", "token_seconds": 7_200}, "The API accepts them."),
        Check("access", "responses", Status.OK, value=True, message="The account can read it."),
        Check("late_changes", "responses", Status.UNKNOWN, None, "No row shows it."),
        Check("fields", "responses", Status.WARNING, {}, "New fields: color."),
        DENIED,
        HIDDEN,
    ],
    estimate={"first_sync": Cost(2_050, 1_230), "idle_sync": Cost(1, 1), "daily_sync": None},
    advice="Not ready: declines.",
    is_readable=False,
)


def test_the_json_has_the_documented_form() -> None:
    assert json.loads(as_json(replace(REPORT, checks=[DENIED]))) == {
        "version": "1.2.3",
        "api_url": "https://api.wootric.com",
        "checks": [
            {
                "id": "access",
                "stream": "declines",
                "status": "failed",
                "value": False,
                "message": "The account cannot read it.",
            }
        ],
        "estimate": {
            "first_sync": {"requests": 2_050, "seconds": 1_230},
            "idle_sync": {"requests": 1, "seconds": 1},
            "daily_sync": None,
        },
    }


def test_the_text_is_a_table_by_stream_that_ends_with_what_to_do() -> None:
    assert as_text(REPORT, unicode=True).splitlines() == [
        "tap-wootric 1.2.3, https://api.wootric.com",
        "",
        "  ✓ credentials     The API accepts them.",
        "",
        "responses",
        "  ✓ access          The account can read it.",
        "  ? late_changes    No row shows it.",
        "  ! fields          New fields: color.",
        "",
        "declines",
        "  ✗ access          The account cannot read it.",
        "",
        "A first sync takes about 2,050 requests and 20 min 30 s.",
        "A sync with nothing new takes about 1 request and 1 s.",
        "Not ready: declines.",
    ]


def test_the_text_says_why_a_stream_was_not_read() -> None:
    unknown = Check("access", "declines", Status.UNKNOWN, None, "declines could not be read: 500.")
    text = as_text(replace(REPORT, checks=[unknown, HIDDEN]), unicode=True)
    assert "  ? access          declines could not be read: 500.\n" in text
    assert "rows" not in text
