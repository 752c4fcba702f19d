"""Unexpected values neither stop a sync nor get lost, and a long sync logs its progress."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.tap import Run, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND
from tools.sandbox.server import Clock


def read(stream: str, *changes: dict[str, Any]) -> Run:
    """Sync rows, the last of them with changed fields, and check that each record is valid."""
    account = Account(5, 5)
    for number, fields in enumerate(changes):
        account.tables[stream].insert(int(NOW - 5_000 + number) * SECOND).body.update(fields)
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = tap(config=sandbox.config)
    assert run.status == 0, run.log
    (schema,) = run.of_type("SCHEMA", stream)
    for record in run.records(stream):
        Draft7Validator(schema["schema"]).validate({**record, "properties": {}})
    assert len(run.records(stream)) == 5 + len(changes)
    return run


def test_a_comment_is_emitted_unchanged() -> None:
    texts = ["x" * 200_000, "a\0b", "line\nline\u2028line", "🙂 søt 高い", "<script>", '"\\', ""]
    run = read("responses", *({"text": text} for text in texts))
    assert [record["text"] for record in run.records("responses")[5:]] == texts


def test_text_that_databases_reject_becomes_the_replacement_character() -> None:
    rows = [
        {"text": "a\ud83d!", "end_user": {"properties": {"\ud800": ["\udfff", "🙂"], "revision": 0}}},
        {
            "text": "a\0b",
            "tags": ["c\0d"],
            "new\0field": "i\0j",
            "completed": "k\0l",
            "end_user": {"properties": {"e\0f": "g\0h", "revision": 0}},
        },
    ]
    run = read("responses", *rows)
    surrogate, nul = run.records("responses")[5:]
    assert surrogate["text"] == "a\ufffd!"
    assert surrogate["end_user"]["properties"] == {"\ufffd": ["\ufffd", "🙂"], "revision": 0}
    assert nul["text"] == "a\0b"
    assert nul["tags"] == ["c\ufffdd"]
    assert nul["extra_fields"] == {"new\ufffdfield": "i\ufffdj", "completed": "k\ufffdl"}
    assert nul["end_user"]["properties"] == {"e\ufffdf": "g\ufffdh", "revision": 0}
    assert re.search(r"\| (end_users|responses): text that databases reject .* was replaced with U\+FFFD", run.log)


NUMBERS = [
    "18446744073709551616",
    "-1e400",
    "1e200000",
    "1e99999999999999999999",
    "9" * 5_000,
    "0.1",
    "1.10",
    "NaN",
    "-Infinity",
]
DEEP = '{"a":[' * 120 + "1" + "]}" * 120


def test_numbers_of_any_size_and_deep_objects_are_emitted_unchanged() -> None:
    account = Account()
    for place in range(len(NUMBERS) + 1):
        account.end_users.insert(int(NOW - 5_000 + place) * SECOND).properties["n"] = f"<{place}>"
    with Sandbox(account, Clock(NOW)) as sandbox:
        # json.dumps cannot write them: they go into the response's text.
        sandbox.rewrite = lambda text: re.sub(r'"<(\d+)>"', lambda found: [*NUMBERS, DEEP][int(found[1])], text)
        run = tap(config=sandbox.config)
    assert run.status == 0, run.log
    *lines, deep = [line for line in run.out.splitlines() if '"n":' in line]
    assert re.search(rf'"n":{re.escape(DEEP)}[,}}]', deep)
    for number, line in zip(NUMBERS, lines, strict=True):
        sent = json.loads(line, parse_float=str, parse_int=str)["record"]["properties"]["n"]
        assert sent.replace("E+", "e") in {number, number.replace("e", "e+")}


def test_unexpected_values_are_kept_and_do_not_stop_the_sync() -> None:
    rows: list[dict[str, Any]] = [
        {"updated_at": None},
        {"updated_at": "soon"},
        {"end_user": None},
        {"end_user": {"properties": {"persona": "x", "revision": 0}}},
        {"tags": "PRICE", "notes": [{"id": 1}]},
        {"score": 2**64, "end_user_id": "12"},
        {"new_field": {"a": 1}, "text": None},
        {"text": 5, "completed": "maybe"},
    ]
    run = read("responses", *rows, *rows)
    records = run.records("responses")[5:]
    for fields, record in zip([*rows, *rows], records, strict=True):
        kept = json.dumps([record, json.dumps(record["extra_fields"])], ensure_ascii=False)
        for value in fields.values():
            assert isinstance(value, dict | list | type(None)) or str(value) in kept
    logged = re.findall(r"(\S+) .*goes into extra_fields", run.log)
    assert len(logged) == len({name for record in records for name in record["extra_fields"] or {}})


@pytest.mark.parametrize("start_date", ["2024-01-01", ""])
def test_a_long_sync_logs_its_progress_every_ten_seconds(start_date: str) -> None:
    with Sandbox(Account(3_000), Clock(NOW)) as sandbox:
        # A few thousand rows take minutes.
        run = tap(config={**sandbox.config, "start_date": start_date}, tick=0.2)
    lines = [line.split(" | ")[-1] for line in run.log.splitlines() if "end_users: at 20" in line]
    assert len(lines) > 3
    position = re.compile(r"end_users: at 202.* \((\d+)% of the date range\).*, \d+ rows a second")
    parts = [int(match[1]) for line in lines if (match := position.match(line))]
    assert len(parts) == len(lines)
    assert parts[0] < 90
    assert not lines[0].endswith(" left")
    assert re.search(r", about (\d+ min )?\d+ s left$", lines[-1])
