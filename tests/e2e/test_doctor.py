"""The doctor through Meltano, whose settings it gets from the environment."""

from __future__ import annotations

import json
from pathlib import Path

from tests.programs import Project, settings
from tools.sandbox import Account, Sandbox


def test_meltano_invokes_the_doctor_with_the_taps_settings(tmp_path: Path) -> None:
    project = Project(tmp_path)
    with Sandbox(Account(60, 60, declines=60, emails=60)) as sandbox:
        env = settings(sandbox)
        text = project.meltano("invoke", "tap-wootric:doctor", env=env)
        report = project.meltano("invoke", "tap-wootric:doctor", "--format", "json", env=env)
        sandbox.fault = lambda path, _number: "403" if path == "/v1/declines" else ""
        denied = project.meltano("invoke", "tap-wootric:doctor", env=env)
    assert text.returncode == 0, text.stderr
    assert text.stdout.endswith("Ready: `meltano run tap-wootric target-postgres`\n")
    assert json.loads(report.stdout)["api_url"] == sandbox.url
    assert denied.returncode == 1
    assert "`meltano select tap-wootric --exclude declines '*'`" in denied.stdout
