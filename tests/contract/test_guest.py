"""Used from Python, limner is a guest: it works in whatever modes the process has, and leaves the process as it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

import limner
from contract.helpers import at_images, finished, outcome_of, run_of, start, weights
from limner.core import process
from limner.core.cond import Cond
from limner.runs.model import Loaded
from limner.runs.run import Run
from limner.training.step import Stepper

PRESET, IMAGES, SEEDS = "gan", 32, range(3)


def only(folder: Path) -> Run:
    (path,) = folder.iterdir()
    return Run(path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, NDArray[np.uint8]]:
    """A run that nothing disturbed, and pictures of its model."""
    run = run_of(PRESET, tmp_path_factory.mktemp("alone"), images=IMAGES)
    return run, limner.load(run.path).sample(SEEDS)


@contextlib.contextmanager
def default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


def modes() -> list[Any]:
    """What a person can set for the whole process or thread."""
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        list(warnings.filters),
        {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)},
        dict(os.environ),
    ]


@pytest.mark.parametrize(
    "mode",
    [
        contextlib.nullcontext,
        default_dtype,
        default_device,
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", torch.bfloat16),
    ],
    ids=["plain", "float64", "meta", "no_grad", "inference", "autocast"],
)
def test_any_mode_trains_and_samples_the_same(
    mode: Callable[[], Any], alone: tuple[Run, NDArray[np.uint8]], tmp_path: Path
) -> None:
    run, pictures = alone
    with mode():
        torch.default_generator.manual_seed(1)
        before = modes()
        own = run_of(PRESET, tmp_path, images=IMAGES)
        model = limner.load(own.path)
        drawn = model.sample(SEEDS)
        decoded = model.decode(model.latents(SEEDS))
        limner.sample(own.path, seeds=[0], out=tmp_path / "made")
        limner.train("digits", preset=PRESET, images=16, dry_run=True)
        assert modes() == before
    assert weights(own) == weights(run)
    assert np.array_equal(drawn, pictures)
    assert (decoded.dtype, decoded.device.type) == (torch.float32, "cpu")


def test_the_generators_are_the_persons_while_it_trains_too(tmp_path: Path) -> None:
    """Between two steps, as in a progress function, a person's draws go on."""
    torch.manual_seed(1)
    expected = torch.rand(6)
    torch.manual_seed(1)
    drawn = [torch.rand(1)]
    outcome_of(PRESET, tmp_path, images=IMAGES, on_progress=lambda event: drawn.append(torch.rand(1)))
    drawn.append(torch.rand(1))
    assert torch.equal(torch.cat(drawn)[:6], expected[: len(drawn)])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_trainings_in_threads_are_exact(precision: str, tmp_path: Path) -> None:
    """Two trainings and a third thread that loads, samples and judges: each is as it is alone."""
    setting = f"precision={precision}"
    whole = {preset: run_of(preset, tmp_path / f"{preset}-alone", setting, images=64) for preset in ("gan", "vae")}
    pictures = limner.load(whole["gan"].path).sample(range(40))
    errors: list[BaseException] = []
    done = threading.Event()

    def train(preset: str) -> None:
        try:
            run_of(preset, tmp_path / f"{preset}-beside", setting, images=64)
        except BaseException as error:
            errors.append(error)

    def disturb() -> None:
        try:
            while not done.is_set():
                assert np.array_equal(limner.load(whole["gan"].path).sample(range(40)), pictures)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(preset,)) for preset in whole]
    other = threading.Thread(target=disturb)
    for thread in (other, *threads):
        thread.start()
    for thread in threads:
        thread.join(120)
    done.set()
    other.join(60)
    assert not errors
    for preset, run in whole.items():
        assert weights(only(tmp_path / f"{preset}-beside")) == weights(run), preset


def test_python_does_not_tune_the_process(alone: tuple[Run, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """glibc's malloc can be told to keep memory, and not to give it back again."""
    calls: list[str] = []
    monkeypatch.setattr(process, "keep_freed_memory", lambda: calls.append("malloc"))
    limner.load(alone[0].path)
    run_of(PRESET, tmp_path, images=16)
    assert not calls


@contextlib.contextmanager
def own_handler(number: int, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def send(number: int) -> Callable[[Stepper], None]:
    return lambda _: os.kill(os.getpid(), number)


def test_an_interrupt_saves_and_then_reaches_the_caller(tmp_path: Path) -> None:
    """A sweep went on with its next training after Ctrl-C."""
    with (
        own_handler(signal.SIGINT, signal.default_int_handler),
        at_images(32, send(signal.SIGINT)),
        pytest.raises(KeyboardInterrupt) as error,
    ):
        run_of(PRESET, tmp_path, images=64)
    run = only(tmp_path)
    assert isinstance(error.value, limner.Interruption)
    assert str(error.value) == (f"training was interrupted at 48 images and is saved; go on with limner.resume('{run.path}')")
    assert (error.value.result.state, error.value.result.run) == ("stopped", run.path)
    assert (run.status()["state"], run.checkpoint().images) == ("stopped", 48)
    assert limner.resume(run.path).state == "done"


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_persons_own_handler_is_called_once_the_state_is_saved(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def handle(number: int, frame: object) -> None:
        calls.append((number, len(only(tmp_path / str(number)).checkpoints())))

    for number in (signal.SIGTERM, signal.SIGHUP):
        with own_handler(number, handle), at_images(32, send(number)):
            assert outcome_of(PRESET, tmp_path / str(int(number)), images=64).state == "stopped"
    assert calls == [(signal.SIGTERM, 1), (signal.SIGHUP, 1)]


SWEEP = """
import os, signal, sys
from pathlib import Path
from contract.helpers import at_images, run_of

number = getattr(signal, sys.argv[1])
signal.signal(number, signal.SIG_DFL)  # the tests may run under `nohup`, which ignores SIGHUP
print("began")
with at_images(32, lambda _: os.kill(os.getpid(), number)):
    run_of("gan", Path(sys.argv[2]), images=64)
print("went on")
"""
"""A script that trains, without a handler of its own."""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_without_a_handler_ends_the_process_once_the_state_is_saved(name: str, tmp_path: Path) -> None:
    """The call returned "stopped", and a script went on with its next training while a batch system waited for its end."""
    code, out, err = finished(start("-c", SWEEP, name, str(tmp_path)))
    assert code == -getattr(signal, name), err
    assert out == "began\n", "what was printed before is there, and nothing after"
    run = only(tmp_path)
    assert (run.status()["state"], run.checkpoint().images) == ("stopped", 48)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_signal_that_the_person_ignores_is_ignored(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        with own_handler(number, signal.SIG_IGN), at_images(32, send(number)):
            assert outcome_of(PRESET, tmp_path / str(int(number)), images=64).state == "done"


@pytest.mark.parametrize("how", ["renamed", "deleted"])
def test_a_folder_that_is_gone_is_not_made_anew(how: str, tmp_path: Path) -> None:
    def move(_: Stepper) -> None:
        run = only(tmp_path / "runs").path
        if how == "renamed":
            run.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(run)

    with at_images(32, move), pytest.raises(limner.InputError, match="renamed, moved or deleted") as error:
        run_of(PRESET, tmp_path / "runs", "checkpoints.every=0.25", images=64)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "runs").iterdir())
    if how == "renamed":
        assert limner.resume(tmp_path / "elsewhere").state == "done"


# ---- fine-tuning and export ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return limner.load(run_of("vae", tmp_path_factory.mktemp("vae"), images=16).path)


def test_a_loaded_model_is_fine_tuned(model: Loaded) -> None:
    images = torch.zeros(2, 1, 8, 8)
    assert not model.encode(images).requires_grad
    model.method.requires_grad_(True).train()
    try:
        loss = model.decode(model.encode(images)).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: weight.grad for name, weight in model.method.named_parameters() if weight.grad is not None}
        assert any("encoder" in name and bool(grad.any()) for name, grad in gradients.items())
        assert any("decoder" in name and bool(grad.any()) for name, grad in gradients.items())
        with torch.no_grad():
            assert not model.encode(images).requires_grad
        with torch.inference_mode():
            assert not model.decode(model.encode(images)).requires_grad
        assert model.sample([1]).shape == (1, 8, 8, 1)
        assert model.reconstruct(np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, 8, 8, 1)
    finally:
        model.method.requires_grad_(False).eval()


def test_a_generator_is_fine_tuned_through_its_latents(alone: tuple[Run, Any]) -> None:
    model = limner.load(alone[0].path)
    model.method.requires_grad_(True)
    model.decode(model.latents(SEEDS)).sum().backward()  # type: ignore[no-untyped-call]
    assert any(weight.grad is not None for weight in model.method.parameters())


@contextlib.contextmanager
def default_switches() -> Iterator[None]:
    """torch.export reads an old switch of precision, which cannot be read in the block in which all tests run."""
    setting = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before, setting.fp32_precision = setting.fp32_precision, "tf32"
    try:
        yield
    finally:
        setting.fp32_precision = before


class Pictures(nn.Module):
    """From latents to pictures, as a person exports it."""

    def __init__(self, method: Any) -> None:
        super().__init__()
        self.method = method

    def forward(self, latents: Tensor) -> Tensor:
        pictures: Tensor = self.method.picture(latents, Cond())
        return pictures


@pytest.mark.parametrize("preset", ["dcgan", "vae"])
def test_what_is_exported_takes_any_number(preset: str, tmp_path: Path) -> None:
    """torch.export took the size of its example for the only one. dcgan and vae have the layers of `nets.cpu`."""
    method = limner.load(run_of(preset, tmp_path, "data.channels=3", images=16).path).method
    latents = method.latents(SEEDS)  # type: ignore[attr-defined]
    with torch.no_grad(), default_switches():
        exported = torch.export.export(Pictures(method), (latents,), dynamic_shapes=({0: Dim("count", max=64)},)).module()
        for count in (1, 2, 7):
            some = method.latents(range(count))  # type: ignore[attr-defined]
            assert torch.allclose(exported(some), Pictures(method)(some), atol=1e-5)
