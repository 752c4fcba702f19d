"""A signal ends a sync with a status that says so. A second one kills."""

from __future__ import annotations

import signal

import pytest

from tap_wootric.signals import Terminated, kill_on_repeat


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_status_is_128_plus_the_signal_also_for_scripts_that_do_not_catch_it(signum: int, status: int) -> None:
    termination = Terminated(signum)
    assert isinstance(termination, SystemExit)
    assert termination.code == termination.status == status
    assert termination.signal is signal.Signals(signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_repeat_within_a_second_is_ignored_and_a_later_one_kills(
    signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    raised: list[tuple[int, object]] = []
    monkeypatch.setattr(signal, "raise_signal", lambda signum: raised.append((signum, signal.getsignal(signum))))
    kill_on_repeat(clock=lambda: now)
    handler = signal.getsignal(signum)
    assert callable(handler)
    now = 101.0
    handler(signum, None)
    assert raised == []
    now = 101.1
    handler(signum, None)
    assert raised == [(signum, signal.SIG_DFL)]
