"""Programs in processes of their own that take turns: what `throughput.py` and `flow_speed.py` time.

Allocator settings and thread pools of one must not reach another, and each may have an interpreter of its own. Only the
standard library is imported here, since other interpreters may have no more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO


class Worker:
    """A contender in its own process: `program --child` by the interpreter `python`, which is told `task` in a line of JSON."""

    def __init__(self, task: Mapping[str, Any], python: str, program: Path) -> None:
        # Child processes get the plain environment: what speeds limner up it has to do by itself.
        environment = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "MALLOC_CONF")}
        environment |= {"OMP_NUM_THREADS": str(task["threads"]), "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  as long as the process lives
        command, pipe = [python, str(program), "--child"], subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self.log, text=True, env=environment)
        self.name, self.about = task["kind"], self.ask(json.dumps(task))

    def ask(self, line: str) -> Any:
        """Its answer to a line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            raise SystemExit(f"{json.loads(line)['kind'] if line[0] == '{' else self.name} failed:\n{self.log.read()[-3000:]}")
        return json.loads(answer)

    def measure(self, seconds: float, quiet: float = 0.0) -> float:
        """Images per second; with `quiet`, again and again until others left the machine alone, or so many seconds passed."""
        if not quiet:
            return float(self.ask(str(seconds)))
        deadline = time.monotonic() + quiet
        while True:
            while _others(0.2, self.process.pid) > 0.05 and time.monotonic() < deadline:
                pass
            before, began = _busy(self.process.pid), time.monotonic()
            speed = float(self.ask(str(seconds)))
            total, own = (after - b for after, b in zip(_busy(self.process.pid), before, strict=True))
            if (total - own) / (time.monotonic() - began) < 0.05:
                return speed
            if time.monotonic() > deadline:
                raise SystemExit(f"the machine was not quiet for {quiet:g} seconds")

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)


def _busy(process: int) -> tuple[float, float]:
    """Processor seconds used since the start: by everything on this machine, and by this process (Linux)."""
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    own = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (user + nice + system) / tick, (int(own[11]) + int(own[12])) / tick


def _others(seconds: float, process: int) -> float:
    """Processors that others keep busy, watched for so long."""
    total, own = _busy(process)
    time.sleep(seconds)
    later = _busy(process)
    return (later[0] - total - (later[1] - own)) / seconds


def open_answers() -> TextIO:
    """Of a child: where its answers go. What frameworks print to stdout goes to stderr from now on."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def answer_turns(
    answers: TextIO, run: Callable[[int], None], about: Mapping[str, Any], batch: int, wait: Callable[[], None] = lambda: None
) -> None:
    """Of a child: writes `about`; then for each line of stdin, a number of seconds, the images per second of so long.

    `run` does so many iterations of `batch` images, the first of them before this is called; `wait` is for the device.
    """
    wait()
    began = time.perf_counter()
    run(1)
    wait()
    few = max(1, round(0.5 / (time.perf_counter() - began)))  # about half a second
    answers.write(json.dumps(about) + "\n")
    for line in sys.stdin:
        seconds, count, began = float(line), 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            run(few)
            wait()
            count += few
        answers.write(json.dumps(count * batch / (time.perf_counter() - began)) + "\n")
