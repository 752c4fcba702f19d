"""Runs a tool: `python -m tools sandbox`, `docs`, `plugin` or `benchmark`, with the tool's own options."""

from __future__ import annotations

import sys
from importlib import import_module

TOOLS = ("sandbox", "docs", "plugin", "benchmark")


def main() -> int:
    """Run the tool that the first argument names, and return its exit status."""
    if sys.argv[1:2] and sys.argv[1] in TOOLS:
        name = sys.argv.pop(1)
        sys.argv[0] = f"python -m tools {name}"
        module = name if name in {"docs", "plugin"} else f"{name}.__main__"
        return import_module(f"tools.{module}").main() or 0
    sys.stderr.write(f"usage: python -m tools {{{','.join(TOOLS)}}} …\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
