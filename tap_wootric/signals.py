"""SIGTERM, SIGINT and SIGHUP: the exception that ends a sync, and what a second signal does."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType

_REPEAT_SECONDS = 1.0
"""Ignore repeats within this time: a shell forwards a signal that its process group has received already."""


class Terminated(SystemExit):
    """A signal ended the sync. The exit status is 128 plus its number, as shells report it.

    It is a SystemExit, so that a script that does not catch it exits with that status, too.

    Attributes:
        signal: The signal.
        status: The exit status.
    """

    def __init__(self, signum: int) -> None:
        self.signal = signal.Signals(signum)
        self.status = 128 + signum
        super().__init__(self.status)


def kill_on_repeat(clock: Callable[[], float] = time.monotonic) -> None:
    """Let a second signal kill the process, in case it hangs while it writes its state.

    The process then dies by the signal, which shells report as 128 plus its number.
    """
    first_at = clock()

    def on_repeat(signum: int, _frame: FrameType | None) -> None:
        if clock() - first_at > _REPEAT_SECONDS:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) != signal.SIG_IGN:
            signal.signal(signum, on_repeat)
