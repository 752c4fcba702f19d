"""The benchmark runs, so that its tables can be renewed at any time. Its results are not tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmark.__main__ import Programs, cycles, latencies, losses


def test_each_table_of_the_benchmark_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs = Programs(tmp_path)
    cycles(programs, 200, 1)
    latencies(programs, 200, [1])
    losses(programs, 60)
    printed = capsys.readouterr().out
    assert printed.count("| --- |") >= 3
    assert "| this tap | 60 | 0 | 0 |" in printed
