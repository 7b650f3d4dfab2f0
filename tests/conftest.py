"""What every test shares: a cache of its own, the real data sets where they are at hand, and an honest closing line."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_MISSING = "LIMNER_DATA"  # in the reason of every test that skips for want of data; the closing line counts by it


def _folders() -> list[Path]:
    return [Path(part).expanduser() for part in os.environ.get("LIMNER_DATA", "").split(os.pathsep) if part]


def find_set(name: str) -> Path | None:
    """The folder of the real set `name` under one of LIMNER_DATA's folders, or None."""
    return next((folder / name for folder in _folders() if (folder / name).is_dir()), None)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prepared data and judges of this session stay in it: nothing is read from, or left in, the person's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LIMNER_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _tuned() -> None:
    """For speed, memory and threads are used as the command line does."""
    from limner.core.process import configure_command

    configure_command()


@pytest.fixture(scope="session", autouse=True)
def _repeatable() -> Iterator[None]:
    """A GPU computes as it does in training, also where a test takes a step by itself."""
    from limner.core import precision

    with precision.repeatable():
        yield


@pytest.fixture(scope="session", autouse=True)
def _quiet_machine() -> Iterator[None]:
    """No test depends on what else this machine does, of which training would speak."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0), raising=False)
        yield


@pytest.fixture(scope="session")
def limner_data() -> Callable[[str], Path]:
    """`limner_data("mnist")` is that set's folder; the test skips where it is not at hand."""

    def folder(name: str) -> Path:
        found = find_set(name)
        if found is None:
            pytest.skip(f"{name} is not in {_MISSING}")
        return found

    return folder


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("data"):
        for name in marker.args:
            if find_set(name) is None:
                pytest.skip(f"{name} is not in {_MISSING}")
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for some in terminalreporter.stats.values() for report in some]
    said = Counter(told for report in reports if getattr(report, "when", "") == "call" for told in report.user_properties)
    for (what, how), count in sorted(said.items()):  # what a test records by `record_property` concerns whoever reads the end
        terminalreporter.write_line("")
        terminalreporter.write_line(f"{what}: {how} ({count} tests)")
    skipped = terminalreporter.stats.get("skipped", [])
    without = sum(_MISSING in str(report.longrepr) for report in skipped)
    if without:
        terminalreporter.write_line("")
        terminalreporter.write_line(
            f"{without} tests skipped: the real data sets they need are not in LIMNER_DATA", yellow=True
        )
