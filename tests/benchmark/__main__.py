"""Prints the tables of the benchmark for the README."""

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

from tests.benchmark import server
from tests.programs import ROOT
from tests.sandbox import Account, Sandbox
from tests.sandbox.account import BEGIN, SECOND, in_utc
from tests.sandbox.api import CLIENT_ID, CLIENT_SECRET
from tests.tap import environment, selecting

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
        options = self._options({"api_url": url, "concurrency": concurrency}, selecting(stream), state)
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


def _check(command: list[str]) -> None:
    subprocess.run(command, check=True)


@contextmanager
def serving(**options: float) -> Iterator[str]:
    """Run the server of the benchmark, and yield its URL."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "tests.benchmark.server", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def requests_of(url: str, stream: str = STREAM) -> int:
    counts: dict[str, int] = requests.get(f"{url}/counts", timeout=10).json()
    return counts[f"/v1/{stream}"]


def table(title: str, head: list[str], rows: list[list[str]]) -> None:
    lines = [f"\n**{title}**\n", *(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def spread(values: list[float]) -> str:
    """Return the median, minimum and maximum."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def cycles(programs: Programs, rows: int, times: int) -> None:
    with serving(rows=rows) as url:
        commands = {"floor": programs.floor(url), "old tap": programs.old(url), "this tap": programs.tap(url)}
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for _ in range(times):
            for name, command in commands.items():
                costs[name].append(programs.run(command))
    lines = []
    for name, runs in costs.items():
        to_old = [cost.cpu / old.cpu for cost, old in zip(runs, costs["old tap"], strict=True)]
        to_floor = [cost.cpu / floor.cpu for cost, floor in zip(runs, costs["floor"], strict=True)]
        rate = median(cost.rows / cost.seconds for cost in runs)
        cpu = median(cost.cpu / cost.rows * 100_000 for cost in runs)
        lines.append([name, f"{rate:,.0f}", f"{cpu:.1f}", spread(to_old), spread(to_floor)])
    head = ["", "rows a second", "CPU seconds for 100,000 rows", "CPU, to the old tap's", "CPU, to the floor's"]
    table(f"{rows:,} rows, from a server that answers at once", head, lines)


def latencies(programs: Programs, rows: int, milliseconds: list[int]) -> None:
    lines = []
    for latency in milliseconds:
        old_seconds = 0.0
        for name in ("old tap", "1", "4", "8"):
            with serving(rows=rows, latency=latency) as url:
                command = programs.old(url) if name == "old tap" else programs.tap(url, concurrency=int(name))
                cost = programs.run(command)
                asked = requests_of(url)
            old_seconds = old_seconds or cost.seconds
            label = name if name == "old tap" else f"this tap, `concurrency` {name}"
            lines.append(
                [f"{latency} ms", label, f"{cost.seconds:.1f}", f"{old_seconds / cost.seconds:.1f} x", f"{asked:,}"]
            )
    head = ["an answer takes", "", "seconds", "faster than the old tap", "requests"]
    table(f"{rows:,} rows, no limit (at best {rows // 50:,} requests)", head, lines)


def limits(programs: Programs, rows: int) -> None:
    stream, lines, old_seconds = "end_users", [], 0.0
    for name in ("old tap", "this tap"):
        with serving(rows=rows, limit=100, haste=_HASTE) as url:
            make = programs.old if name == "old tap" else programs.tap
            cost = programs.run(make(url, stream, _HASTE))
            asked = requests_of(url, stream)
        old_seconds = old_seconds or cost.seconds
        minutes = cost.seconds * _HASTE / 60
        lines.append([name, f"{minutes:.1f}", f"{cost.seconds / old_seconds:.2f}", f"{asked:,}"])
    head = ["", "minutes", "to the old tap's", "requests"]
    table(f"A year of {rows:,} end users, under a limit of 100 requests a minute", head, lines)


def memory(programs: Programs, sizes: list[int]) -> None:
    lines = []
    for name, concurrency, latency in (
        ("`concurrency` 1", 1, 0),
        ("`concurrency` 4", 4, 20),
        ("`concurrency` 8", 8, 20),
    ):
        peaks = []
        for rows in sizes:
            with serving(rows=rows, latency=latency) as url:
                peaks.append(programs.run(programs.tap(url, concurrency=concurrency)).memory)
        lines.append([name, *(f"{peak:.0f} MB" for peak in peaks)])
    table("Most memory", ["", *(f"{rows:,} rows" for rows in sizes)], lines)


def losses(programs: Programs, rows: int) -> None:
    lines = []
    programs.start_date = in_utc(BEGIN)
    for name in ("old tap", "this tap"):
        account = Account(rows // 2)
        account.crowd(account.end_users, rows // 2)
        with Sandbox(account, updates=2) as sandbox:
            loaded: dict[int, Any] = {}
            state: Any = None
            for _ in range(2):
                make = programs.old if name == "old tap" else programs.tap
                programs.run(make(sandbox.url, "end_users", state=state))
                loaded |= {row["id"]: (row["updated_at"], row["properties"]["revision"]) for row in programs.records()}
                state = programs.state()
                sandbox.switches.updates = 0
            current = sandbox.account.end_users.versions()
        missing = len(current.keys() - loaded.keys())
        stale = sum(loaded[row_id][1] != row[1] for row_id, row in current.items() if row_id in loaded)
        lines.append([name, f"{len(current):,}", str(missing), str(stale)])
    head = ["", "rows in the account", "missing", "with an old value"]
    title = "Half of the rows in one second; a sync in which each request changes two rows, and one without changes"
    table(title, head, lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and runs: two minutes instead of thirty")
    quick = parser.parse_args().quick
    sys.stdout.write(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}; old tap: {OLD}\n"
    )
    with TemporaryDirectory() as folder:
        programs = Programs(Path(folder))
        cycles(programs, *((10_000, 3) if quick else (100_000, 5)))
        latencies(programs, *((2_000, [0, 50]) if quick else (15_000, [0, 50, 300, 800])))
        limits(programs, 5_000)
        memory(programs, [10_000, 30_000] if quick else [10_000, 100_000, 1_000_000])
        losses(programs, 500 if quick else 3_000)


if __name__ == "__main__":
    main()
