"""The settings of the whole process: from Python they stay as they were, and the command line makes its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import torch

from limner.core import precision, process
from limner.core.process import SharedContext, configure_command, fix_thread_count, ignore_warnings, ordered_sums
from limner.metrics.stats.threads import one_library_thread, one_thread


def test_the_command_line_sets_a_variable_where_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((None, "1000"), ("7", "7")):
        monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
        if there is not None:
            monkeypatch.setenv("GOMP_SPINCOUNT", there)
        configure_command()
        assert os.environ["GOMP_SPINCOUNT"] == expected


def test_sums_are_ordered_for_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, inside in ((None, ":4096:8"), (":16:8", ":16:8")):
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
        if there is not None:
            monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", there)
        with ordered_sums():
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == inside
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == there


def test_importing_limner_changes_nothing_and_loads_nothing_heavy() -> None:
    code = (
        "import os, signal, sys, warnings; from collections import Counter\n"
        "def state(): return dict(os.environ), list(warnings.filters), [signal.getsignal(n) for n in (2, 15)]\n"
        "before = state(); import limner; assert state() == before; print('torch' in sys.modules, 'ctypes' in sys.modules)"
    )
    there = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=there, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_command_is_tuned_before_torch_is_loaded() -> None:
    code = (
        "import os, sys; from limner.cli import main; from limner.core import process; calls = []\n"
        "process.keep_freed_memory = lambda: calls.append('torch' in sys.modules)\n"
        "main(['doctor', '--json']); print(os.environ['GOMP_SPINCOUNT'], calls)"
    )
    there = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=there, check=True)
    assert done.stdout.splitlines()[-1] == "1000 [False]"


def test_the_number_of_threads_is_fixed_at_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    fix_thread_count()
    assert calls == [torch.get_num_threads()]


def test_memory_is_kept_on_linux_with_glibc_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process.keep_freed_memory() == process.has_glibc()
    for system in ("macos", "windows", "other"):
        monkeypatch.setattr(process, "system", lambda system=system: system)
        assert not process.keep_freed_memory()


def test_the_system_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for platform, name in (("linux", "linux"), ("darwin", "macos"), ("win32", "windows"), ("freebsd14", "other")):
        monkeypatch.setattr(sys, "platform", platform)
        assert process.system() == name


def overlap(*contexts: object) -> None:
    """Enters each context in a thread of its own, and leaves them in the same order: who enters first leaves first."""
    entered, leave = ([threading.Event() for _ in contexts] for _ in range(2))

    def work(number: int) -> None:
        with contexts[number]:  # type: ignore[attr-defined]
            entered[number].set()
            leave[number].wait(10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(contexts))]
    for thread, event in zip(threads, entered, strict=True):
        thread.start()
        event.wait(1)
    for thread, event in zip(threads, leave, strict=True):
        event.set()
        thread.join(10)
        assert not thread.is_alive()


def test_a_shared_change_is_undone_by_the_last() -> None:
    values = [1]

    @contextmanager
    def change() -> Iterator[None]:
        before = values[0]
        values[0] = before + 1
        yield
        values[0] = before

    shared = SharedContext(change, lambda: values == [2])
    overlap(shared(), shared(), shared())
    assert values == [1]
    with suppress(KeyError), shared(), shared():
        assert values == [2]
        raise KeyError
    assert values == [1]
    with shared():
        values[0] = 1  # the person's
        with shared():
            assert values == [2]
        assert values == [1], "as the person has set it inside"


def test_filters_of_warnings_are_as_they_were() -> None:
    before = list(warnings.filters)
    overlap(ignore_warnings(UserWarning), ignore_warnings(UserWarning), ignore_warnings(message="odd"), ignore_warnings())
    assert list(warnings.filters) == before
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        with ignore_warnings(UserWarning):
            warnings.warn("hidden", stacklevel=1)
            warnings.warn("seen", DeprecationWarning, stacklevel=1)
        warnings.warn("seen as well", stacklevel=1)
    assert [str(one.message) for one in shown] == ["seen", "seen as well"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, message="")
        with ignore_warnings(UserWarning):
            pass
        assert warnings.filters[0][:3:2] == ("ignore", UserWarning), "the person's own filter stays"


def test_numbers_of_threads_are_as_they_were() -> None:
    """Of two blocks that overlap, the second took the 1 of the first for the person's number, and left it behind."""
    from threadpoolctl import threadpool_info

    def libraries() -> list[int]:
        return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

    torch_threads, library_threads = torch.get_num_threads(), libraries()
    try:
        torch.set_num_threads(2)
        overlap(one_thread(True), one_thread(True))
        found: list[int] = []
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert found == [torch.get_num_threads()] == [2], "a new thread has the person's number"
        overlap(one_library_thread(), one_library_thread())
        assert libraries() == library_threads
    finally:
        torch.set_num_threads(torch_threads)


def switches() -> list[str]:
    backends = torch.backends
    settings = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)  # type: ignore[attr-defined]
    return [setting.fp32_precision for setting in settings]


def test_precision_switches_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """They stayed at "ieee" after two threads had sampled. The session's own block is left aside here."""
    monkeypatch.setattr(precision, "_SWITCHES", SharedContext(precision._switch, precision._SWITCHES._holds))
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        before = switches()
        overlap(*(precision.exact("cpu") for _ in range(3)))
        assert switches() == before
        with precision.repeatable():
            assert set(switches()) == {"ieee"}
    finally:
        torch.backends.cuda.matmul.fp32_precision = "ieee"


def test_own_modes_are_the_defaults_and_end() -> None:
    with ExitStack() as stack:
        torch.set_default_dtype(torch.float64)
        stack.callback(torch.set_default_dtype, torch.float32)
        for mode in (torch.device("meta"), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16)):
            stack.enter_context(mode)
        with precision.own_modes():
            x = torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)
            assert (x.dtype, x.device.type, x.requires_grad, x.is_inference()) == (torch.float32, "cpu", True, False)
        assert torch.get_default_dtype() == torch.float64
        assert torch.get_default_device().type == "meta"
        assert torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")


def test_copies_of_weights_do_not_outlive_a_step_inside_the_callers_autocast() -> None:
    weight = torch.ones(1, 1, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for value in (1.0, 2.0):
            with torch.no_grad():
                weight.fill_(value)
            with precision.autocast(torch.device("cpu"), "bf16"):
                assert (torch.ones(1, 1) @ weight).item() == value
