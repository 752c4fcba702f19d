"""Starts a fake Wootric API, and runs a command with the tap's settings for it in the environment."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tools.sandbox.account import Account
from tools.sandbox.api import Switches
from tools.sandbox.server import Sandbox


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
    parser.add_argument("--end-users", type=int, default=300, help="number of rows (default: %(default)s)")
    parser.add_argument("--responses", type=int, default=500, help="number of rows (default: %(default)s)")
    parser.add_argument("--declines", type=int, default=100, help="number of rows (default: %(default)s)")
    parser.add_argument("--emails", type=int, default=300, help="number of email surveys (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed creates the same account")
    parser.add_argument("--crowd", type=int, default=0, help="additional rows updated in one second")
    parser.add_argument("--crowd-both", type=int, default=0, help="additional rows created and updated in one second")
    parser.add_argument("--updates", type=float, default=0, help="rows updated after each page (default: 0)")
    parser.add_argument("--deletes", type=float, default=0, help="rows deleted after each page (default: 0)")
    parser.add_argument("--inserts", type=float, default=0, help="rows inserted after each page (default: 0)")
    parser.add_argument("--notes", type=float, default=0, help="responses annotated after each page (default: 0)")
    parser.add_argument("--short-pages", type=float, default=0, help="share of pages that come short (default: 0)")
    parser.add_argument("--lenient", action="store_true", help="ignore what the API does not declare, instead of a 400")
    parser.add_argument(
        "--shuffle-ties", action="store_true", help="order rows with equal timestamps randomly at each request"
    )
    parser.add_argument("--whole-seconds", action="store_true", help="store timestamps without fractions of a second")
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
        line = f"  {name}: {len(table.rows)} rows in the account, {len(sandbox.pages(name))} requests"
        file = Path("output") / f"{name}.jsonl"
        if file.exists() and file.stat().st_mtime >= start - 1:
            with file.open(encoding="utf-8") as rows:
                ids = {json.loads(row)["id"] for row in rows}
            line += f", {len(ids & table.rows.keys())} rows in {file}"
        lines.append(line)
    sys.stderr.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
