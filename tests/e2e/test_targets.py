"""Other Singer programs accept the output of the tap, and stream maps can change it."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
import yaml

from tests.programs import Project, meltano_yml, run, settings, target, uvx
from tests.readme import block
from tests.sandbox import Account, Sandbox
from tests.sandbox.account import NOW
from tests.sandbox.server import Clock
from tests.tap import Run, full_table, tap

TARGET_CSV = ("meltanolabs-target-csv==0.5.0", "target-csv")


def outputs(account: Account) -> list[Run]:
    """Return a full-table sync, a first incremental one, and one that finds a changed row."""
    with Sandbox(account, Clock(NOW)) as sandbox:
        full = tap(config=sandbox.config, catalog=full_table("end_users", "responses"))
        first = tap(config=sandbox.config)
        account.responses.update(account.responses.rows[7], int(sandbox.clock() * 1_000_000))
        return [full, first, tap(config=sandbox.config, state=first.state)]


def test_singer_check_tap_accepts_the_output() -> None:
    for output, rows in zip(outputs(Account(120, 120)), (240, 240, 3), strict=True):
        checked = run(*uvx("singer-tools~=0.4", "singer-check-tap"), text=output.out)
        assert checked.returncode == 0, checked.stderr
        assert output.out.count('"RECORD"') == rows
        assert f"{rows} record messages" in checked.stdout


@pytest.mark.parametrize("name", ["target-jsonl", "target-csv"])
def test_file_targets_load_every_row(name: str, tmp_path: Path) -> None:
    account = Account(60, 60)
    full, first, last = outputs(account)
    command = target(name) if name == "target-jsonl" else uvx(*TARGET_CSV)
    for number, output in enumerate((full, first, last)):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = run(*command, cwd=folder, text=output.out)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == output.state
        for stream in ("end_users", "responses"):
            (file,) = folder.glob(f"{stream}*")
            assert sorted(_ids(file)) == sorted(record["id"] for record in output.records(stream))


def _ids(file: Path) -> list[int]:
    with file.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines) if file.suffix == ".csv" else map(json.loads, lines)
        return [int(row["id"]) for row in rows]


@pytest.mark.parametrize("through", ["the tap", "Meltano"])
def test_the_readmes_stream_maps_remove_personal_data(through: str, tmp_path: Path) -> None:
    account = Account(60, 60)
    account.end_users.rows[5].body["email"] = None
    account.responses.rows[5].body["notes"] = ["a note on a person"]
    config = yaml.safe_load(block("stream_map_config:"))["config"]
    salt = config["stream_map_config"]["salt"]
    with Sandbox(account, Clock(NOW)) as sandbox:
        if through == "Meltano":
            project = Project(tmp_path)
            content = meltano_yml()
            content["plugins"]["extractors"][0]["config"] = config
            (project.folder / "meltano.yml").write_text(yaml.safe_dump(content))
            done = project.meltano("invoke", "tap-wootric", env=settings(sandbox))
            assert done.returncode == 0, done.stderr
            output = Run(0, "".join(line for line in done.stdout.splitlines(keepends=True) if line[0] == "{"), "")
        else:
            output = tap(config={**sandbox.config, **config})
            assert output.status == 0, output.log
    users = {record["id"]: record for record in output.records("end_users")}
    assert users.keys() == account.end_users.rows.keys()
    for row in account.end_users.rows.values():
        mail = row.body["email"]
        assert users[row.id]["email"] == (hashlib.sha256(f"{salt}{mail}".encode()).hexdigest() if mail else None)
        assert users[row.id]["properties"] == row.properties
    responses = {record["id"]: record for record in output.records("responses")}
    assert {row_id: record["score"] for row_id, record in responses.items()} == {
        row.id: row.body["score"] for row in account.responses.rows.values()
    }
    dropped = ("@example.com", '"text"', "127.0.0.1", "+1415555", "phone_number", '"end_user"', "a note on")
    assert [name for name in dropped if name in output.out] == []
