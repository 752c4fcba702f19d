"""Writes plugin files that install this clone, and prints the commands that add them to a Meltano project."""

from __future__ import annotations

import re
import shlex
import shutil
import sys

from tools import ROOT

_PUBLISHED = ROOT / "plugin"
_FOLDER = ROOT / ".cache" / "plugin"


def main() -> None:
    """Write the files, and print the commands for the tap and for PostgreSQL."""
    shutil.copytree(_PUBLISHED, _FOLDER, dirs_exist_ok=True)
    file = _FOLDER / "tap-wootric.yml"
    # A URL has no spaces, at which Meltano splits. Without the name, uv takes a %23 in it for the start of a fragment.
    install = f"\\1 tap-wootric@{ROOT.as_uri()}"
    file.write_text(re.sub(r"(?m)^( *pip_url:) .*", install, file.read_text("utf-8")), "utf-8")
    for name in ("tap-wootric", "target-postgres"):
        sys.stdout.write(f"meltano add {name} --from-ref {shlex.quote(str(_FOLDER / f'{name}.yml'))}\n")
    others = sorted(file.name for file in _FOLDER.glob("target-*.yml") if file.stem != "target-postgres")
    sys.stdout.write(f"# Other targets, in place of target-postgres: {' '.join(others)}\n")
