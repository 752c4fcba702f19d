"""Unexpected values neither stop a sync nor get lost, and a long sync logs its progress."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.tap import Run, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND
from tools.sandbox.server import Clock


def read(stream: str, *changes: dict[str, Any]) -> Run:
    """Sync rows, some with changed fields, and check that each record is valid."""
    account = Account(5, 5)
    for fields in changes:
        account.tables[stream].insert(int(NOW - 5_000) * SECOND).body.update(fields)
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = tap(config=sandbox.config)
    assert run.status == 0, run.log
    (schema,) = run.of_type("SCHEMA", stream)
    for record in run.records(stream):
        Draft7Validator(schema["schema"]).validate({**record, "properties": {}})
    assert len(run.records(stream)) == 5 + len(changes)
    return run


@pytest.mark.parametrize(
    "text",
    ["x" * 200_000, "a\0b", "line\nline\u2028line", "🙂 søt 高い", "<script>", '"\\', ""],
    ids=["200 kB", "NUL", "lines", "alphabets", "html", "quotes", "empty"],
)
def test_a_comment_is_emitted_unchanged(text: str) -> None:
    assert read("responses", {"text": text}).records("responses")[-1]["text"] == text


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    properties = {"\ud800": ["\udfff", "🙂"], "revision": 0}
    run = read("end_users", {"external_id": "a\ud83d!", "properties": properties})
    record = run.records("end_users")[-1]
    assert record["external_id"] == "a\ufffd!"
    assert record["properties"] == {"\ufffd": ["\ufffd", "🙂"], "revision": 0}
    assert run.log.count("lone surrogates") == 1


def test_a_nul_inside_an_object_or_a_list_becomes_the_replacement_character() -> None:
    row = {
        "text": "a\0b",
        "tags": ["c\0d"],
        "new\0field": "i\0j",
        "completed": "k\0l",
        "end_user": {"properties": {"e\0f": "g\0h", "revision": 0}},
    }
    run = read("responses", row)
    record = run.records("responses")[-1]
    assert record["text"] == "a\0b"
    assert record["tags"] == ["c\ufffdd"]
    assert record["extra_fields"] == {"new\ufffdfield": "i\ufffdj", "completed": "k\ufffdl"}
    assert record["end_user"]["properties"] == {"e\ufffdf": "g\ufffdh", "revision": 0}
    assert re.search(r"\| (end_users|responses): text that databases reject .* was replaced with U\+FFFD", run.log)


def test_a_lone_surrogate_sent_as_raw_bytes_becomes_the_replacement_character() -> None:
    account = Account()
    account.end_users.insert(int(NOW - 5_000) * SECOND).body["external_id"] = "HALF"
    with Sandbox(account, Clock(NOW)) as sandbox:
        sandbox.rewrite = lambda text: text.replace("HALF", "a\ud800b")
        run = tap(config=sandbox.config)
    assert run.records("end_users")[0]["external_id"] == "a\ufffdb"


def run_with_number(number: str) -> Run:
    """Sync an end user with a number in `properties` that json.dumps cannot write: it goes into the response's text."""
    account = Account()
    account.end_users.insert(int(NOW - 5_000) * SECOND).properties["n"] = "NUMBER"
    with Sandbox(account, Clock(NOW)) as sandbox:
        sandbox.rewrite = lambda text: text.replace('"NUMBER"', number)
        run = tap(config=sandbox.config)
    assert run.status == 0, run.log
    return run


@pytest.mark.parametrize(
    "number",
    [
        "18446744073709551616",
        "-1e400",
        "1e200000",
        "1e99999999999999999999",
        "9" * 5_000,
        "0.1",
        "1.10",
        "NaN",
        "-Infinity",
    ],
)
def test_a_number_of_any_size_is_emitted_unchanged(number: str) -> None:
    run = run_with_number(number)
    line = next(line for line in run.out.splitlines() if '"n":' in line)
    sent = json.loads(line, parse_float=str, parse_int=str)["record"]["properties"]["n"]
    assert sent.replace("E+", "e") in {number, number.replace("e", "e+")}


def test_deeply_nested_properties_are_emitted_unchanged() -> None:
    deep = '{"a":[' * 400 + "1" + "]}" * 400
    assert re.search(rf'"n":{re.escape(deep)}[,}}]', run_with_number(deep).out)


@pytest.mark.parametrize(
    "fields",
    [
        {"updated_at": None},
        {"updated_at": "soon"},
        {"end_user": None},
        {"end_user": {"properties": {"persona": "x", "revision": 0}}},
        {"tags": "PRICE", "notes": [{"id": 1}]},
        {"score": 2**64, "end_user_id": "12"},
        {"new_field": {"a": 1}, "text": None},
        {"text": 5, "completed": "maybe"},
    ],
)
def test_unexpected_values_are_kept_and_do_not_stop_the_sync(fields: dict[str, Any]) -> None:
    run = read("responses", fields, fields)
    record = run.records("responses")[-1]
    kept = json.dumps([record, json.dumps(record["extra_fields"])], ensure_ascii=False)
    for value in fields.values():
        assert isinstance(value, dict | list | type(None)) or str(value) in kept
    lines = [line for line in run.log.splitlines() if "goes into extra_fields" in line]
    assert len(lines) == len(record["extra_fields"] or {})


def test_a_row_without_an_id_ends_the_sync_with_one_line() -> None:
    account = Account(1)
    account.end_users.insert(int(NOW - 5_000) * SECOND).body["id"] = None
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = tap(config=sandbox.config)
    assert run.status == 1
    assert run.errors == ["end_users: /v1/end_users returned a row without a usable id, the primary key"]


def test_a_sync_logs_a_summary_of_each_stream() -> None:
    with Sandbox(Account(120, 60), Clock(NOW)) as sandbox:
        run = tap(config=sandbox.config)
    for counts in ("end_users: done, 120 rows in 3 requests", "responses: done, 60 rows in 3 requests"):
        assert re.search(
            rf"{counts} and (\d+|less than 1) s, up to 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$", run.log, re.MULTILINE
        )


def test_structured_logging_has_the_numbers_as_fields(tmp_path: Path) -> None:
    config = {
        "version": 1,
        "formatters": {"json": {"()": "singer_sdk.logging.StructuredFormatter"}},
        "handlers": {"json": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"level": "INFO", "handlers": ["json"]},
    }
    (tmp_path / "logging.yml").write_text(json.dumps(config))
    with Sandbox(Account(120), Clock(NOW)) as sandbox:
        run = tap(config=sandbox.config, env={"SINGER_SDK_LOG_CONFIG": str(tmp_path / "logging.yml")})
    lines = [json.loads(line) for line in run.log.splitlines() if line.startswith("{")]
    (done,) = [line["extra"] for line in lines if line["message"].startswith("end_users: done")]
    assert (done["rows"], done["requests"], done["seconds_waited"]) == (120, 3, 0)


@pytest.mark.parametrize("start_date", ["2024-01-01", ""])
def test_a_long_sync_logs_its_progress_every_ten_seconds(start_date: str) -> None:
    with Sandbox(Account(3_000), Clock(NOW)) as sandbox:
        run = tap(config={**sandbox.config, "start_date": start_date}, tick=0.1)
    lines = [line.split(" | ")[-1] for line in run.log.splitlines() if "end_users: at 20" in line]
    assert len(lines) > 4
    position = re.compile(r"end_users: at 202.* \((\d+)% of the date range\).*, \d+ rows a second")
    parts = [int(match[1]) for line in lines if (match := position.match(line))]
    assert len(parts) == len(lines)
    assert parts[0] < 90
    assert not lines[0].endswith(" left")
    assert re.search(r", about (\d+ min )?\d+ s left$", lines[-1])
