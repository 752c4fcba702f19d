"""Meltano runs the demo, and meltano.yml has the settings and capabilities of the tap."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from tests.programs import ROOT, Project, meltano_yml, plugin, run
from tests.readme import block
from tests.tap import tap


def test_the_demo_writes_every_row_into_files(tmp_path: Path) -> None:
    recipe = run(*shlex.split(block("make demo\n")), "--dry-run", "--no-print-directory", cwd=ROOT).stdout
    _, _, arguments = recipe.partition("uv run python ")
    project = Project(tmp_path)
    done = run(sys.executable, *shlex.split(arguments), cwd=project.folder, env={"TAP_WOOTRIC_CONCURRENCY": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(
        "It worked.\n"
        "  end_users: 300 in the account, requests: 7, in output/end_users.jsonl: 300\n"
        "  responses: 500 in the account, requests: 12, in output/responses.jsonl: 500\n"
        "  declines: 100 in the account, requests: 4, in output/declines.jsonl: 100\n"
    )
    users = [json.loads(line) for line in (project.folder / "output" / "end_users.jsonl").read_text().splitlines()]
    assert {user["id"] for user in users} == set(range(1, 301))
    assert (project.folder / "meltano.yml").read_text() == (ROOT / "meltano.yml").read_text()


def test_meltano_yml_has_the_taps_settings_and_capabilities() -> None:
    about = json.loads(tap("--about", "--format", "json").out)
    ours = plugin("extractors", "tap-wootric")
    assert sorted(ours["capabilities"]) == sorted(about["capabilities"])
    assert ours["settings"] == [_setting(name, schema) for name, schema in about["settings"]["properties"].items()]


def _setting(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a setting as Meltano describes it."""
    kind = next(type_ for type_ in schema["type"] if type_ != "null")
    regions = {"us": "United States", "eu": "Europe", "au": "Australia"}
    setting = {
        "name": name,
        "kind": "date_iso8601" if schema.get("format") == "date-time" else kind,
        "label": schema["title"],
        "description": schema["description"],
    }
    if "default" in schema:
        setting["value"] = schema["default"]
    if schema.get("secret"):
        setting["sensitive"] = True
    if "enum" in schema:
        setting |= {
            "kind": "options",
            "options": [{"label": regions[value], "value": value} for value in schema["enum"]],
        }
    return setting


def test_meltano_requires_the_settings_of_either_grant() -> None:
    groups = plugin("extractors", "tap-wootric")["settings_group_validation"]
    assert groups == [["client_id", "client_secret"], ["username", "password"]]


def test_every_version_of_a_target_is_pinned() -> None:
    for loader in meltano_yml()["plugins"]["loaders"]:
        assert re.search(r"==\d", loader["pip_url"])
