"""Signals as a request to stop."""

from __future__ import annotations

import signal

import pytest

from limner.training.interrupt import handle_signals


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs a signal that nothing else uses")
def test_ctrl_break_is_a_request_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has a further signal; SIGUSR1 plays it."""
    before = signal.getsignal(signal.SIGUSR1)
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    with handle_signals() as request:
        assert not request.is_set
        signal.raise_signal(signal.SIGUSR1)
        assert request.is_set
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_terminal_that_closes_is_not_impatient() -> None:
    """It may send SIGHUP several times, and SIGTERM after it; a person's second signal ends at once."""
    with handle_signals() as request:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
        assert request.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handle_signals() as request:
            signal.raise_signal(signal.SIGHUP)
            assert not request.is_set
    finally:
        signal.signal(signal.SIGHUP, before)
