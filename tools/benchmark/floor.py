"""The minimum that a tap must do: request, decode, print. It has no state, and stops at a second that fills a page."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

import requests

TOKEN = "benchmark"  # noqa: S105 - Only the sandbox knows it.


def main(url: str, stream: str) -> None:
    """Print the rows of a list as Singer messages."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {TOKEN}"
    begin, seen = 0, set[int]()
    rows: list[dict[str, Any]] = [{}] * 50
    while len(rows) == 50:
        params: dict[str, str | int] = {"sort_key": "created_at", "sort_order": "asc", "per_page": 50}
        rows = session.get(f"{url}/v1/{stream}", params={**params, "created[gte]": begin}, timeout=60).json()
        for row in rows:
            if row["id"] not in seen:
                print(json.dumps({"type": "RECORD", "stream": stream, "record": row}))  # noqa: T201 - The output.
        last = rows[-1]["created_at"]
        seen = {row["id"] for row in rows if row["created_at"] == last}
        begin = int(datetime.strptime(last, "%Y-%m-%d %H:%M:%S %z").timestamp())


if __name__ == "__main__":
    main(*sys.argv[1:])
