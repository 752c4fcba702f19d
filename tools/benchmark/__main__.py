"""Takes the measurements of the benchmark, and prints them as tables."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from tools import ROOT, environment, tap_json
from tools.benchmark import report
from tools.benchmark.floor import TOKEN as FLOOR_TOKEN
from tools.benchmark.report import FLOOR, OLD_TAP, THIS_TAP
from tools.benchmark.rows import YEAR, EvenTable, FastClock
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import SECOND, in_utc
from tools.sandbox.api import CLIENT_ID, CLIENT_SECRET, path_of
from tools.sandbox.server import Clock

HERE = Path(__file__).parent
OLD = "tap-wootric==0.5.3"
STREAM = "responses"

_HASTE = 10
"""How many times faster than ours the clocks of a measurement under the rate limit run."""
_LATENCY_SECONDS = 0.3
_KILLS = 8
_DAY, _HOUR = 86_400, 3_600
START = int(time.time()) // _HOUR * _HOUR - YEAR
"""The second before the first row, because the old tap reads what was created after its start date."""


@dataclass(frozen=True)
class Table:
    """A measurement as it is shown."""

    title: str
    head: list[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Cost:
    """The cost of a run: CPU seconds, the peak memory in megabytes, and for how many rows."""

    cpu: float
    memory: float
    rows: int


class Programs:
    """Runs the measured programs. The old tap is installed into an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._out = folder / "out"
        self._python = folder / "old" / "bin" / "python"
        self._numbers = count()
        self._entries = tap_json("--discover")["streams"]
        self._process: subprocess.Popen[bytes] | None = None
        create = ["uv", "venv", "--quiet", f"--python={sys.executable}", str(folder / "old")]
        install = ["uv", "pip", "install", "--quiet", f"--python={self._python}", OLD]
        for command in (create, install):
            subprocess.run(command, check=True)

    def command(
        self,
        program: str,
        url: str,
        *,
        start: float = START,
        state: Any = None,
        haste: float = 1,
    ) -> list[str]:
        """Return the command line of a program that reads `STREAM`."""
        if program == FLOOR:
            return [sys.executable, str(HERE / "floor.py"), url, STREAM]
        config = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "start_date": in_utc(int(start * SECOND))}
        files = {"config": {**config, "api_url": url}, "state": state}
        hasty = [str(HERE / "haste.py"), str(haste)]
        if program == OLD_TAP:
            command = [str(self._python), *hasty, str(HERE / "old.py"), url, STREAM]
        else:
            command = [sys.executable, *hasty, "-m", "tap_wootric"]
            files["catalog"] = {"streams": [entry for entry in self._entries if entry["tap_stream_id"] == STREAM]}
        for name, content in files.items():
            if content:
                file = self._folder / f"{name}-{next(self._numbers)}.json"
                file.write_text(json.dumps(content))
                command += [f"--{name}", str(file)]
        return command

    def run(self, command: list[str], *, is_killed: bool = False) -> Cost:
        """Run a program until it ends, or until `kill` is called, and measure its cost."""
        with self._out.open("wb") as out, (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=out, stderr=log, cwd=ROOT, env=environment())
            _, status, used = os.wait4(self._process.pid, 0)
            self._process.returncode = os.waitstatus_to_exitcode(status)  # Popen did not see it end.
        if bool(self._process.returncode) != is_killed:
            raise RuntimeError((self._folder / "log").read_text()[-2_000:])
        with self._out.open() as lines:
            rows = sum('"RECORD"' in line for line in lines)
        return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1_024, rows)

    def kill(self) -> None:
        """Ask the running program to end, like `kill` without options."""
        assert self._process
        self._process.terminate()

    def records(self) -> list[dict[str, Any]]:
        """Return the records that the last program printed."""
        return [message["record"] for message in self._messages("RECORD")]

    def state(self) -> Any:
        """Return the last state that the last program printed, or None."""
        return ([None] + [message["value"] for message in self._messages("STATE")])[-1]

    def _messages(self, kind: str) -> list[dict[str, Any]]:
        with self._out.open() as lines:  # A killed program may leave a part of a line.
            return [message for line in lines if line.endswith("\n") and (message := json.loads(line))["type"] == kind]


def table_of(rows: int) -> EvenTable:
    """Return rows that were created during the year before this hour."""
    return EvenTable(STREAM, rows, START + 1, YEAR / rows)


def sandbox_with(table: EvenTable, clock: Clock | None = None, **switches: Any) -> Sandbox:
    account = Account()
    account.tables[STREAM] = table
    sandbox = Sandbox(account, clock, **switches)
    sandbox.api.tokens[FLOOR_TOKEN] = math.inf
    return sandbox


def first_sync(programs: Programs, rows: int) -> Table:
    """Measure the time from the first to the last page of a first sync, under the rate limit."""
    lines = []
    for program in (OLD_TAP, THIS_TAP):
        with sandbox_with(table_of(rows), FastClock(_HASTE), limit=100) as sandbox:
            sandbox.latency = _LATENCY_SECONDS / _HASTE
            programs.run(programs.command(program, sandbox.url, haste=_HASTE))
            pages = sandbox.pages(STREAM)
        lines.append([program, round((pages[-1].at - pages[0].at) / 60, 1), len(pages)])
    title = f"A first sync of {rows:,} {STREAM}, at 300 ms a page and 100 requests a minute"
    return Table(title, ["program", "minutes", "requests"], lines)


def day(programs: Programs, rows_a_year: int, hours: int) -> Table:
    """Count the requests of a day's hourly syncs, after a first sync shortly before midnight.

    The server's day is yesterday, so that the old tap, which uses its own clock, has no more days to read.
    """
    lines = []
    midnight, apart = int(time.time()) // _DAY * _DAY - _DAY, YEAR / rows_a_year
    start = midnight - _HOUR - YEAR
    for program in (OLD_TAP, THIS_TAP):
        table, clock, state = EvenTable(STREAM, 0, start + 1, apart), Clock(start), None
        asked = []
        with sandbox_with(table, clock) as sandbox:
            for hour in range(hours + 1):
                clock.advance(midnight + (hour - 0.5) * _HOUR - clock())
                table.count = int((clock() - start) / apart)
                before = len(sandbox.pages(STREAM))
                programs.run(programs.command(program, sandbox.url, start=start, state=state))
                state = programs.state()
                asked.append(len(sandbox.pages(STREAM)) - before)
        lines.append([program, sum(asked[1:]), asked[1]])
    title = f"A day of {hours} hourly syncs, with {rows_a_year // 12:,} {STREAM} a month for a year"
    return Table(title, ["program", "requests", "of which in the first sync, which rechecks 30 days"], lines)


def killed(programs: Programs, rows: int) -> Table:
    """Count the requests of a first sync that is killed again and again, and continues from its last state."""
    lines = []
    for program in (OLD_TAP, THIS_TAP):
        table = table_of(rows)
        with sandbox_with(table) as sandbox:
            programs.run(programs.command(program, sandbox.url))
            undisturbed = len(sandbox.pages(STREAM))
        every = undisturbed // (_KILLS + 1)

        def kill(path: str, number: int, every: int = every) -> str:
            if path == path_of(STREAM) and number % every == 0 and number <= _KILLS * every:
                programs.kill()
            return ""

        with sandbox_with(table) as sandbox:
            sandbox.fault = kill
            state, loaded = None, set()
            for is_killed in [True] * _KILLS + [False]:
                programs.run(programs.command(program, sandbox.url, state=state), is_killed=is_killed)
                state = programs.state() or state
                loaded |= {row["id"] for row in programs.records()}
            asked = len(sandbox.pages(STREAM))
        lines.append([program, asked, f"{asked / undisturbed:.2f} times", rows - len(loaded)])
    title = f"A first sync of {rows:,} {STREAM} that is killed {_KILLS} times, and continues from its state each time"
    return Table(title, ["program", "requests", "relative to an undisturbed sync", "missing rows"], lines)


def cycles(programs: Programs, rows: int, times: int) -> Table:
    """Measure CPU time against a server that answers at once."""
    costs: dict[str, list[Cost]] = {FLOOR: [], OLD_TAP: [], THIS_TAP: []}
    with sandbox_with(table_of(rows)) as sandbox:
        for _ in range(times):
            for program, found in costs.items():
                found.append(programs.run(programs.command(program, sandbox.url)))
    lines = [
        [
            program,
            round(median(one.cpu / one.rows * 100_000 for one in found), 1),
            *(
                _spread([one.cpu / other.cpu for one, other in zip(found, costs[name], strict=True)])
                for name in (OLD_TAP, FLOOR)
            ),
        ]
        for program, found in costs.items()
    ]
    head = ["program", "CPU seconds for 100,000 rows", "relative to singer-io's tap", "relative to the minimum"]
    return Table(f"{rows:,} {STREAM} from a server that responds at once", head, lines)


def _spread(values: list[float]) -> str:
    """Return the median, the minimum and the maximum."""
    if min(values) == max(values):
        return f"{values[0]:.2f}"
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def memory(programs: Programs, sizes: list[int]) -> Table:
    """Measure the peak memory of this tap."""
    peaks: list[Any] = []
    for rows in sizes:
        with sandbox_with(table_of(rows)) as sandbox:
            peaks.append(f"{programs.run(programs.command(THIS_TAP, sandbox.url)).memory:.0f} MB")
    return Table("Peak memory of this tap", [f"{rows:,} {STREAM}" for rows in sizes], [peaks])


def measure(programs: Programs, *, is_quick: bool) -> dict[str, Any]:
    """Take all measurements."""
    # The peak of a process includes that of its parent before it, so it is measured while this one is small.
    peaks = memory(programs, [10_000, 30_000] if is_quick else [10_000, 100_000, 1_000_000])
    tables = {
        "first_sync": first_sync(programs, 5_000 if is_quick else 30_000),
        "day": day(programs, *((1_200, 4) if is_quick else (9_600, 24))),
        "killed": killed(programs, 2_000 if is_quick else 5_000),
        "cycles": cycles(programs, *((10_000, 2) if is_quick else (100_000, 5))),
        "memory": peaks,
    }
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "old_tap": OLD,
        "tables": {name: asdict(table) for name, table in tables.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and runs: two minutes instead of fifteen")
    parser.add_argument("--save", action="store_true", help=f"write {report.FILE.name}, which the documentation shows")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        measured = measure(Programs(Path(folder)), is_quick=options.quick)
    sys.stdout.write(report.tables(measured))
    if options.save:
        report.FILE.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
