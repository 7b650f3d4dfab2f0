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
