from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tap_wootric.api import redact


@pytest.fixture(autouse=True)
def _redaction(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test hides, and let its handlers and streams write as before: later tests would be slow."""
    monkeypatch.setattr(redact, "_secrets", {})
    handlers, stderr = logging.getLogger().handlers, sys.stderr
    yield
    monkeypatch.undo()  # A test may have replaced the same methods.
    for handler in handlers:
        vars(handler).pop("format", None)
    vars(stderr).pop("write", None)


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
