"""Takes the measurements of the benchmark, and prints them as tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import requests

from tools import ROOT, environment, tap_json
from tools.benchmark import report, server
from tools.benchmark.report import FLOOR, OLD_TAP, THIS_TAP
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import BEGIN, SECOND, in_utc
from tools.sandbox.api import CLIENT_ID, CLIENT_SECRET

HERE = Path(__file__).parent
OLD = "tap-wootric==0.5.3"
STREAM = "responses"

_HASTE = 20


@dataclass(frozen=True)
class Cost:
    """The cost of a run: seconds, CPU seconds, and the peak memory in megabytes."""

    seconds: float
    cpu: float
    memory: float
    rows: int


class Programs:
    """The command lines of the measured programs. The old tap is installed into an environment of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.start_date = in_utc(server.BEGIN * SECOND)
        _check(["uv", "venv", "--quiet", f"--python={sys.executable}", str(folder / "old")])
        _check(["uv", "pip", "install", "--quiet", f"--python={folder / 'old'}", OLD])

    def floor(self, url: str, stream: str = STREAM) -> list[str]:
        return [sys.executable, str(HERE / "floor.py"), url, stream]

    def old(self, url: str, stream: str = STREAM, haste: float = 1, state: Any = None) -> list[str]:
        program = [str(HERE / "haste.py"), str(haste), str(HERE / "old.py")]
        return [str(self.folder / "old" / "bin" / "python"), *program, url, stream, *self._options({}, {}, state)]

    def tap(
        self, url: str, stream: str = STREAM, haste: float = 1, state: Any = None, concurrency: int = 4
    ) -> list[str]:
        options = self._options({"api_url": url, "concurrency": concurrency}, _selecting(stream), state)
        return [sys.executable, str(HERE / "haste.py"), str(haste), "-m", "tap_wootric", *options]

    def _options(self, config: dict[str, Any], catalog: dict[str, Any], state: Any) -> list[str]:
        """Write files, and return the options that name them."""
        config = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "start_date": self.start_date, **config}
        options = []
        for name, content in {"config": config, "catalog": catalog, "state": state}.items():
            if content:
                file = self.folder / f"{name}-{len(list(self.folder.iterdir()))}.json"
                file.write_text(json.dumps(content))
                options += [f"--{name}", str(file)]
        return options

    def run(self, command: list[str]) -> Cost:
        """Run a program to its end, and measure its cost."""
        start = time.monotonic()
        with self.out.open("wb") as out, (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=out, stderr=log, cwd=ROOT, env=environment())
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)  # Popen did not see it end.
        seconds = time.monotonic() - start
        if process.returncode:
            raise RuntimeError((self.folder / "log").read_text()[-2_000:])
        with self.out.open() as lines:
            rows = sum('"RECORD"' in line for line in lines)
        return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1_024, rows)

    def records(self) -> list[dict[str, Any]]:
        """Return the records that the last program printed."""
        return [message["record"] for message in self._messages("RECORD")]

    def state(self) -> Any:
        return self._messages("STATE")[-1]["value"]

    def _messages(self, kind: str) -> list[dict[str, Any]]:
        with self.out.open() as lines:
            return [message for message in map(json.loads, lines) if message["type"] == kind]


def _selecting(stream: str) -> dict[str, Any]:
    """Return a catalog of one stream."""
    entries = tap_json("--discover")["streams"]
    return {"streams": [entry for entry in entries if entry["tap_stream_id"] == stream]}


def _check(command: list[str]) -> None:
    subprocess.run(command, check=True)


@contextmanager
def serving(**options: float) -> Iterator[str]:
    """Run the server of the benchmark, and yield its URL."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tools.benchmark.server", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def requests_of(url: str, stream: str = STREAM) -> int:
    counts: dict[str, int] = requests.get(f"{url}/counts", timeout=10).json()
    return counts[f"/v1/{stream}"]


def spread(values: list[float]) -> dict[str, float]:
    """Return the median, the least and the most."""
    return {"median": round(median(values), 2), "least": round(min(values), 2), "most": round(max(values), 2)}


def cycles(programs: Programs, rows: int, times: int) -> dict[str, Any]:
    """Measure CPU time against a server that answers at once."""
    with serving(rows=rows) as url:
        commands = {FLOOR: programs.floor(url), OLD_TAP: programs.old(url), THIS_TAP: programs.tap(url)}
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(times):
            for name, command in commands.items():
                costs[name].append(programs.run(command))
    runs = [
        {
            "program": name,
            "rows_per_second": round(median(one.rows / one.seconds for one in runs)),
            "cpu_seconds_per_100000_rows": round(median(one.cpu / one.rows * 100_000 for one in runs), 1),
            "cpu_to_old_tap": spread([one.cpu / other.cpu for one, other in zip(runs, costs[OLD_TAP], strict=True)]),
            "cpu_to_floor": spread([one.cpu / other.cpu for one, other in zip(runs, costs[FLOOR], strict=True)]),
        }
        for name, runs in costs.items()
    ]
    return {"rows": rows, "runs": runs}


def latencies(programs: Programs, rows: int, milliseconds: list[int]) -> dict[str, Any]:
    """Measure the time of a sync without a rate limit."""
    runs = []
    for latency in milliseconds:
        for concurrency in (None, 1, 4, 8):
            with serving(rows=rows, latency=latency) as url:
                command = programs.tap(url, concurrency=concurrency) if concurrency else programs.old(url)
                cost = programs.run(command)
                asked = requests_of(url)
            runs.append(
                {
                    "latency_milliseconds": latency,
                    "program": THIS_TAP if concurrency else OLD_TAP,
                    "concurrency": concurrency or 1,
                    "seconds": round(cost.seconds, 1),
                    "requests": asked,
                }
            )
    return {"rows": rows, "runs": runs}


def limits(programs: Programs, rows: int) -> dict[str, Any]:
    """Measure the time of a sync under a limit of 100 requests a minute."""
    stream, runs = "end_users", []
    for name, make in ((OLD_TAP, programs.old), (THIS_TAP, programs.tap)):
        with serving(rows=rows, limit=100, haste=_HASTE) as url:
            cost = programs.run(make(url, stream, _HASTE))
            asked = requests_of(url, stream)
        runs.append({"program": name, "minutes": round(cost.seconds * _HASTE / 60, 1), "requests": asked})
    return {"rows": rows, "runs": runs}


def memory(programs: Programs, sizes: list[int]) -> dict[str, Any]:
    """Measure the most memory."""
    runs = []
    for concurrency, latency in ((1, 0), (4, 20), (8, 20)):
        peaks = []
        for rows in sizes:
            with serving(rows=rows, latency=latency) as url:
                peaks.append(round(programs.run(programs.tap(url, concurrency=concurrency)).memory))
        runs.append({"concurrency": concurrency, "megabytes": peaks})
    return {"rows": sizes, "runs": runs}


def losses(programs: Programs, rows: int) -> dict[str, Any]:
    """Count the rows that are missing or old after two syncs: one while the account changes, and one while it does not.

    Half of the rows were updated in one second. Each request of the first sync changes two rows.
    """
    runs = []
    programs.start_date = in_utc(BEGIN)
    for name, make in ((OLD_TAP, programs.old), (THIS_TAP, programs.tap)):
        account = Account(rows // 2)
        account.crowd(account.end_users, rows // 2)
        with Sandbox(account, updates=2) as sandbox:
            loaded: dict[int, Any] = {}
            state: Any = None
            for _ in range(2):
                programs.run(make(sandbox.url, "end_users", state=state))
                loaded |= {row["id"]: (row["updated_at"], row["properties"]["revision"]) for row in programs.records()}
                state = programs.state()
                sandbox.switches.updates = 0
            current = sandbox.account.end_users.versions()
        missing = len(current.keys() - loaded.keys())
        stale = sum(loaded[row_id][1] != row[1] for row_id, row in current.items() if row_id in loaded)
        runs.append({"program": name, "missing": missing, "stale": stale})
    return {"rows": rows, "runs": runs}


def measure(programs: Programs, *, is_quick: bool) -> dict[str, Any]:
    """Take all measurements."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "old_tap": OLD,
        "cycles": cycles(programs, *((10_000, 3) if is_quick else (100_000, 5))),
        "latencies": latencies(programs, *((2_000, [50]) if is_quick else (15_000, [50, 300, 800]))),
        "limits": limits(programs, 5_000),
        "memory": memory(programs, [10_000, 30_000] if is_quick else [10_000, 100_000, 1_000_000]),
        "losses": losses(programs, 500 if is_quick else 3_000),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and runs: two minutes instead of thirty")
    parser.add_argument("--save", action="store_true", help=f"write {report.FILE.name}, which the documentation shows")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        measured = measure(Programs(Path(folder)), is_quick=options.quick)
    sys.stdout.write(report.tables(measured))
    if options.save:
        report.FILE.write_text(json.dumps(measured, indent=2) + "\n")


if __name__ == "__main__":
    main()
