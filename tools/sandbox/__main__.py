"""Starts a fake Wootric API, and runs a command with the tap's settings for it in the environment."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tap_wootric.progress import counted
from tools.sandbox.account import Account
from tools.sandbox.api import Switches
from tools.sandbox.server import Sandbox

_NUMBERS: dict[str, tuple[float, str]] = {
    "end-users": (300, "number of rows"),
    "responses": (500, "number of rows"),
    "declines": (100, "number of rows"),
    "emails": (300, "number of email surveys"),
    "seed": (0, "the same seed creates the same account"),
    "crowd": (0, "additional rows updated in one second"),
    "crowd-both": (0, "additional rows created and updated in one second"),
    "updates": (0.0, "rows updated after each page"),
    "deletes": (0.0, "rows deleted after each page"),
    "inserts": (0.0, "rows inserted after each page"),
    "short-pages": (0.0, "share of pages that come short"),
}
_FLAGS = {
    "lenient": "ignore what the API does not declare, instead of answering 400",
    "shuffle-ties": "order rows with equal timestamps randomly at each request",
    "whole-seconds": "store timestamps without fractions of a second",
}


def main() -> int:
    """Return the command's exit status."""
    options = _parse()
    account = Account(
        options.end_users, options.responses, options.seed, declines=options.declines, emails=options.emails
    )
    for table in account.tables.values():
        account.crowd(table, options.crowd)
        account.crowd(table, options.crowd_both, created_too=True)
    sandbox = Sandbox(
        account,
        **{name: value for name, value in vars(options).items() if name in Switches.__dataclass_fields__},
    )
    with sandbox:
        settings = {f"TAP_WOOTRIC_{name.upper()}": value for name, value in sandbox.config.items()}
        if not options.command:
            return _serve(settings)
        start = time.time()
        status = subprocess.run(options.command, env={**os.environ, **settings}, check=False).returncode
        _report(sandbox, status, start)
    return status


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools sandbox", description=__doc__)
    for name, (default, text) in _NUMBERS.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text} (default: %(default)s)")
    for name, text in _FLAGS.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument(
        "command",
        nargs=argparse.REMAINDER,
        metavar="-- COMMAND …",
        help="without one, serve until interrupted",
    )
    options = parser.parse_args()
    if options.command[:1] == ["--"]:
        del options.command[0]
    return options


def _serve(settings: dict[str, str]) -> int:
    for name, value in settings.items():
        sys.stdout.write(f"export {name}={value}\n")
    sys.stdout.flush()
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return 0


def _report(sandbox: Sandbox, status: int, start: float) -> None:
    """Report on stderr how many of the account's rows were written, and where."""
    lines = ["", "It worked." if status == 0 else f"The command failed with status {status}."]
    for name, table in sandbox.account.tables.items():
        requests = counted(len(sandbox.pages(name)), "request")
        line = f"  {name}: {len(table.rows)} rows in the account, {requests}"
        file = Path("output") / f"{name}.jsonl"
        if file.exists() and file.stat().st_mtime >= start - 1:
            with file.open(encoding="utf-8") as rows:
                ids = {json.loads(row)["id"] for row in rows}
            line += f", {len(ids & table.rows.keys())} rows in {file}"
        lines.append(line)
    sys.stderr.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
