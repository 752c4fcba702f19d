"""Runs the command `tap-wootric` and reads what it prints."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.preloaded import run_preloaded
from tools import environment


@dataclass(frozen=True)
class Run:
    """The status and output of a run."""

    status: int
    out: str
    log: str

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def of_type(self, kind: str, stream: str | None = None) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == kind and stream in (None, m.get("stream"))]

    def records(self, stream: str) -> list[dict[str, Any]]:
        return [message["record"] for message in self.of_type("RECORD", stream)]

    @property
    def state(self) -> dict[str, Any]:
        """The last STATE."""
        state: dict[str, Any] = self.of_type("STATE")[-1]["value"]
        return state

    def bookmark(self, stream: str) -> str:
        return str(self.state["bookmarks"][stream]["replication_key_value"])

    @property
    def slept(self) -> list[float]:
        """The pauses, in seconds, that a sleepless run logged."""
        return [float(line.split()[1]) for line in self.log.splitlines() if line.startswith("SLEPT ")]

    @property
    def errors(self) -> list[str]:
        return [line.split(" | ")[-1] for line in self.log.splitlines() if "| ERROR" in line or "| CRITICAL" in line]


def tap(  # noqa: PLR0913 - Each is an option of the command, or of how it is run.
    *arguments: str,
    config: Mapping[str, Any] | None = None,
    state: Any = None,
    catalog: Any = None,
    env: Mapping[str, str] | None = None,
    sleepless: bool = False,
    now: float | None = None,
    tick: float = 0,
    program: str = "tap-wootric",
) -> Run:
    """Run the command to its end, in a process that has imported the tap; see `tests.preloaded`.

    Args:
        arguments: Options of the command.
        config: The settings. Like the state and the catalog, they are written into a file.
        state: The state.
        catalog: The catalog.
        env: Additional environment variables.
        sleepless: Whether pauses are logged instead of taken; see `Run.slept`.
        now: The time that the tap's clock shows at the start, in Unix seconds.
        tick: How many seconds the tap's monotonic clock advances whenever it is read.
        program: The program to run.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        line = [*arguments]
        for option, content in (("--config", config), ("--state", state), ("--catalog", catalog)):
            if content is not None:
                file = folder / f"{option[2:]}.json"
                file.touch(0o600)
                file.write_text(json.dumps(content))
                line += [option, str(file)]
        out, log = folder / "out", folder / "log"
        with open(os.devnull) as nothing, out.open("w") as stdout, log.open("w") as stderr:  # noqa: PTH123
            status = run_preloaded(
                Path(sys.executable).with_name(program),
                line,
                [nothing.fileno(), stdout.fileno(), stderr.fileno()],
                {**environment(), **(env or {})},
                {"sleepless": sleepless, "now": now, "tick": tick},
            )
        run = Run(status, out.read_text("utf-8"), log.read_text("utf-8"))
    if status == -signal.SIGALRM:
        raise TimeoutError(run.log)
    return run


def catalog_of(*streams: str) -> dict[str, Any]:
    """Return the discovered catalog, of some streams or of all."""
    entries = json.loads(_discovered())["streams"]
    return {"streams": [entry for entry in entries if not streams or entry["tap_stream_id"] in streams]}


@cache
def _discovered() -> str:
    return tap("--discover").out


def selecting(*streams: str, **metadata: str) -> dict[str, Any]:
    """Return a catalog in which only some streams are selected, with additional metadata for each stream."""
    catalog = catalog_of()
    for entry in catalog["streams"]:
        root = next(item["metadata"] for item in entry["metadata"] if not item["breadcrumb"])
        root |= {"selected": entry["tap_stream_id"] in streams, **metadata}
    return catalog


def full_table(*streams: str) -> dict[str, Any]:
    """Return a catalog in which only some streams are selected, as full tables."""
    return selecting(*streams, **{"replication-method": "FULL_TABLE"})


def seen(records: list[dict[str, Any]]) -> dict[int, tuple[str, int]]:
    """Return the latest version of each row by its id, as a target keeps it; compare with `Table.versions`."""
    return {record["id"]: (record["updated_at"], _properties(record)["revision"]) for record in records}


def _properties(record: Mapping[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = (record.get("end_user") or record)["properties"]
    return properties
