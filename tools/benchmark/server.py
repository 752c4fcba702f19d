"""A server for measurements that is never the bottleneck: rows are not stored, but created for each response.

It has one list, under both names. Its rows are spread evenly over a year, and each is updated soon after its creation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from urllib.parse import parse_qsl, urlsplit

BEGIN = int(datetime(2025, 1, 1, tzinfo=UTC).timestamp())
YEAR = 365 * 86_400
PAGE = 50

_BEGUN = time.time()
_PACIFIC = timezone(timedelta(hours=-8))
_TOKEN = b'{"access_token": "benchmark", "token_type": "bearer", "expires_in": 7200}'
_ROW = {
    "end_user_id": 1,
    "survey_id": 1,
    "score": 9,
    "text": "Better performance would mean a higher score.",
    "completed": False,
    "excluded_from_calculations": False,
    "ip_address": "127.0.0.1",
    "origin_url": "https://example.com",
    "tags": ["PERFORMANCE"],
    "notes": [],
    "end_user": {
        "id": 1,
        "email": "nps@example.com",
        "external_id": None,
        "external_created_at": 1473177881,
        "created_at": "2016-12-01 09:05:00 -0800",
        "properties": {"persona": "Individual", "revenue_amount": 5000},
    },
}
_REST = json.dumps(_ROW)[1:-1]


class Server(asyncio.Protocol):
    """Answers the requests of one connection, one after the other.

    Args:
        options: What the command line says.
        counts: Requests by their path, for all connections.
    """

    def __init__(self, options: argparse.Namespace, counts: dict[str, int]) -> None:
        self._options = options
        self._rows = int(options.rows)
        self._counts = counts
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        if len(body) < length:
            return
        self._received = b""
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        seconds = 0.0 if target == "/counts" else self._options.latency / 1_000
        asyncio.get_running_loop().call_later(seconds, self._answer, method, target)

    def _answer(self, method: str, target: str) -> None:
        status, headers, content = "200 OK", "", _TOKEN
        if target == "/counts":
            content = json.dumps(self._counts).encode()
        else:
            path = urlsplit(target).path
            self._counts[path] = self._counts.get(path, 0) + 1
            if method == "GET":
                headers, is_exceeded = self._limit(path)
                status = "429 Too Many Requests" if is_exceeded else status
                content = b"[]" if is_exceeded else self._page(dict(parse_qsl(urlsplit(target).query)))
        date = formatdate(self._now(), usegmt=True)
        head = f"HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {len(content)}\r\n{headers}"
        self._transport.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + content)

    def _now(self) -> float:
        """Return the server's time, which may run fast."""
        return _BEGUN + (time.time() - _BEGUN) * float(self._options.haste)

    def _limit(self, path: str) -> tuple[str, bool]:
        if not self._options.limit:
            return "", False
        window = int(self._now() // 60)
        key = f"{path} in {window}"
        self._counts[key] = self._counts.get(key, 0) + 1
        left = self._options.limit - self._counts[key]
        reset = (window + 1) * 60
        names = {"Limit": self._options.limit, "Remaining": max(left, 0), "Reset": reset}
        return "".join(f"X-Rate-Limit-{name}: {value}\r\n" for name, value in names.items()), left < 0

    def _page(self, query: dict[str, str]) -> bytes:
        first, last = 0, self._rows
        for name, value in query.items():
            column, _, operator = name.removesuffix("]").partition("[")
            if operator in {"gt", "gte"}:
                first = max(first, self._index(column, int(value) + (operator == "gt")))
            elif operator in {"lt", "lte"}:
                last = min(last, self._index(column, int(value) + (operator == "lte")))
        size, page = int(query.get("per_page", 25)), int(query.get("page", 1))
        begin = first + (page - 1) * size
        rows = [self._row(number) for number in range(begin, min(begin + size, last))]
        return f"[{', '.join(rows)}]".encode()

    def _index(self, column: str, second: int) -> int:
        """Return the number of the first row that is not before a second."""
        return max(0, -((self._timestamp(column, 0) - second) * self._rows // YEAR))

    def _timestamp(self, column: str, row: int) -> int:
        return BEGIN + (13 if column == "updated" else 0) + row * YEAR // self._rows

    def _row(self, row: int) -> str:
        created, updated = (
            datetime.fromtimestamp(self._timestamp(column, row), _PACIFIC).strftime("%Y-%m-%d %H:%M:%S -0800")
            for column in ("created", "updated")
        )
        return f'{{"id": {row + 1}, "created_at": "{created}", "updated_at": "{updated}", {_REST}}}'


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--latency", type=float, default=0, help="milliseconds")
    parser.add_argument("--limit", type=int, default=0, help="requests a minute")
    parser.add_argument("--haste", type=float, default=1, help="how many times faster than ours its clock runs")
    options = parser.parse_args()
    counts: dict[str, int] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(options, counts), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
