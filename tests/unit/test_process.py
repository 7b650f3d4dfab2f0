"""The settings of the whole process, each by the function that makes it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch

from limner.core import process
from limner.core.process import configure_at_import, configure_for_computation, configure_for_ordered_sums


@pytest.mark.parametrize(
    ("configure", "name", "value"),
    [(configure_at_import, "GOMP_SPINCOUNT", "1000"), (configure_for_ordered_sums, "CUBLAS_WORKSPACE_CONFIG", ":4096:8")],
)
def test_a_variable_is_set_where_nobody_has(
    configure: Callable[[], None], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for there, expected in ((None, value), ("7", "7")):
        monkeypatch.delenv(name, raising=False)
        if there is not None:
            monkeypatch.setenv(name, there)
        configure()
        assert os.environ[name] == expected


def test_importing_limner_sets_it_before_torch_and_loads_nothing_heavy() -> None:
    code = "import limner, os, sys; print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules, 'ctypes' in sys.modules)"
    there = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=there, check=True)
    assert done.stdout.split() == ["1000", "False", "False"]


def test_computation_keeps_memory_and_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(process, "keep_freed_memory", lambda: calls.append("memory"))
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    configure_for_computation()
    assert calls == ["memory", torch.get_num_threads()]


def test_memory_is_kept_on_linux_with_glibc_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process.keep_freed_memory() == process.has_glibc()
    for system in ("macos", "windows", "other"):
        monkeypatch.setattr(process, "system", lambda system=system: system)
        assert not process.keep_freed_memory()


def test_the_system_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform, name in (("linux", "linux"), ("darwin", "macos"), ("win32", "windows"), ("freebsd14", "other")):
        monkeypatch.setattr(sys, "platform", platform)
        assert process.system() == name
