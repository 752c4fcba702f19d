from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from typing import NoReturn

import pytest


@pytest.fixture(autouse=True)
def _signal_handlers() -> Iterator[None]:
    """Restore the handlers that a tap, or a test, replaces."""
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at the first look-up of a host: no unit test needs one."""

    def look_up(host: object, *_arguments: object, **_options: object) -> NoReturn:
        pytest.fail(f"A test looked up {host}")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
