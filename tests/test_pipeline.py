"""With the programs that people use the tap with. They come from PyPI, through uvx, into environments of their own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.sandbox import Account, Sandbox
from tests.tap import full_table, tap

ROOT = Path(__file__).parent.parent


def test_the_readmes_first_command_brings_every_row_into_files(tmp_path: Path) -> None:
    command = re.search(
        r"^pip install uv && uv run python -m (tests\.sandbox .*)$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert command
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".*", "output", "uv.lock", "__pycache__"))
    run = [shutil.which("bash") or "", "-c", f"'{sys.executable}' -m {command[1]}"]
    done = subprocess.run(run, cwd=project, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(
        "\n".join(  # noqa: FLY002 - As it stands on the screen.
            [
                "It worked.",
                "  7 requests were made for end_users, of which there are 300.",
                "  output/end_users.jsonl holds 300 of them, one a line.",
                "  12 requests were made for responses, of which there are 500.",
                "  output/responses.jsonl holds 500 of them, one a line.",
                "",
            ]
        )
    )
    users = [json.loads(line) for line in (project / "output" / "end_users.jsonl").read_text().splitlines()]
    assert {user["id"] for user in users} == set(range(1, 301))
    assert (project / "meltano.yml").read_text() == (ROOT / "meltano.yml").read_text()


def test_singer_check_tap_accepts_incremental_and_full_table_output() -> None:
    catalog = full_table("end_users", "responses")
    with Sandbox(Account(120, 120)) as sandbox:
        outputs = [tap(config=sandbox.config).out, tap(config=sandbox.config, catalog=catalog).out]
    for output in outputs:
        assert output.count('"RECORD"') == 240
        checked = subprocess.run(
            [shutil.which("uvx") or "uvx", "--from", "singer-tools~=0.4", "singer-check-tap"],
            input=output,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert checked.returncode == 0, checked.stderr
        assert "240" in checked.stdout, checked.stdout
