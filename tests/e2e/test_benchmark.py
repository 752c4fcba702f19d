"""The benchmark runs, so that its measurements can be renewed at any time. Its results are not tested."""

from __future__ import annotations

from pathlib import Path

from tests.programs import run
from tools.benchmark import report
from tools.benchmark.__main__ import Programs, cycles, latencies, losses
from tools.docs import block


def test_each_measurement_can_be_taken_and_shown(tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    measured = {
        **report.saved(),
        "latencies": latencies(programs, 200, [1]),
        "cycles": cycles(programs, 200, 1),
        "losses": losses(programs, 60),
    }
    tables = report.tables(measured)
    assert tables.count("\n| --- |") == 5
    assert "| this tap | 0 | 0 |" in tables


def test_the_command_in_the_documentation_runs_it() -> None:
    done = run("make", "--dry-run", *block("make bench\n").split()[1:])
    assert "python -m tools benchmark" in done.stdout
