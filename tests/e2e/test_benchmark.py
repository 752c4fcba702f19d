"""The benchmark runs, so that its measurements can be renewed at any time. Its results are not tested."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from tools.benchmark import report
from tools.benchmark.__main__ import Programs, cycles, first_sync


def test_measurements_can_be_taken_and_shown(tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    taken = {"first_sync": asdict(first_sync(programs, 100)), "cycles": asdict(cycles(programs, 100, 1))}
    saved = report.saved()
    measured = {**saved, "tables": {**saved["tables"], **taken}}
    assert report.tables(measured).count("\n| --- |") == 6
