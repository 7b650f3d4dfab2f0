"""Signals on the command line: one line, exit code 130, and the state saved where there is one."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.helpers import NARROW, QUIET, at_images
from limner.cli import main
from limner.cli.progress import progress_on_stderr
from limner.core.progress import Progress
from limner.training import session

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _handlers() -> Any:
    """As a shell starts a command, and afterwards as they were."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)  # the tests may run under `nohup`, which ignores SIGHUP
    yield
    for number in SIGNALS[1:]:
        assert signal.getsignal(number) == signal.SIG_DFL
    for number in SIGNALS:
        signal.signal(number, before[number])


def words(out: Path) -> list[str]:
    return ["train", "digits", "--preset", "gan", "--images", "64", "--out", str(out), "--json", *NARROW["gan"], *QUIET]


@pytest.mark.parametrize("number", SIGNALS)
def test_before_training_begins(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM ended the process without a word."""
    monkeypatch.setattr(session, "resolve_request", lambda *_: os.kill(os.getpid(), number))
    assert main(words(tmp_path)) == 130
    out, err = capsys.readouterr()
    line = "interrupted" if number == signal.SIGINT else f"interrupted by {number.name}"
    assert err == f"limner: {line}\n"
    assert json.loads(out) == {"error": line}


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_trains(number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with at_images(32, lambda _: os.kill(os.getpid(), number)):
        assert main(words(tmp_path)) == 130
    answer = json.loads(capsys.readouterr().out)
    assert (answer["state"], answer["images"]) == ("stopped", 48)
    assert main(["resume", answer["run"], "--json"]) == 0


def test_nohup_is_heeded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with at_images(32, lambda _: os.kill(os.getpid(), signal.SIGHUP)):
            assert main(words(tmp_path)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert json.loads(capsys.readouterr().out)["state"] == "done"


class Lost:
    """What is left of a terminal that was closed."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        self.encoding = "utf-8"

    def isatty(self) -> bool:
        return self.terminal

    def fileno(self) -> int:
        return 2

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    flush: Callable[[Any], None] = lambda self: self.write("")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_closed_terminal_does_not_end_the_work(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Lost(terminal))
    with progress_on_stderr() as on_progress:
        for done in range(3):
            on_progress(Progress("training", done, 3, losses={"a": 1.0}, note=f"note {done}"))
