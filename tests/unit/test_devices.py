"""Devices that nobody here has: mps and xpu, and how one is chosen. torch's answers are made up, the arithmetic is a CPU's."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from contract.helpers import resolved
from limner.core import environment, parallel, precision, process, seeds
from limner.core.capabilities import Pixels
from limner.core.cond import Cond
from limner.core.config import DataSpec
from limner.core.errors import InputError
from limner.core.precision import Accelerator, DeviceKind
from limner.methods.vae.config import VaeConfig
from limner.methods.vae.elbo import importance_bound
from limner.methods.vae.vae import Vae
from limner.methods.vq import prior
from limner.methods.vq.config import PriorConfig, VqVaeConfig
from limner.methods.vq.vqvae import VqVae
from limner.nets.mixture import GaussianMixture
from limner.nets.transformer import sample_categorical
from limner.recipes.recipe import Recipe
from limner.tasks.interpolation import _interpolate_latents
from limner.training.resolve import _context

Machine = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """`machine("mps")` has that accelerator, `machine(None)` none; `machine("cuda", 4)` has four. None is asked for by name."""
    monkeypatch.delenv(precision.DEVICE_VARIABLE, raising=False)

    def make(kind: str | None, count: int = 1) -> None:
        there = None if kind is None else torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: there)
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)

    return make


@pytest.mark.parametrize(
    ("there", "asked", "expected"),
    [
        (None, None, "cpu"),
        (None, "cpu", "cpu"),
        (None, "", "cpu"),
        ("hpu", None, "cpu"),
        ("cuda", None, "cuda"),
        ("cuda", "cpu", "cpu"),
        ("cuda", "CUDA ", "cuda"),
        ("mps", None, "cpu"),
        ("mps", "cpu", "cpu"),
        ("mps", "mps", "mps"),
        ("xpu", None, "cpu"),
        ("xpu", "xpu", "xpu"),
    ],
)
def test_the_device_is_a_tried_accelerator_or_what_was_asked_for(
    there: str | None, asked: str | None, expected: DeviceKind, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(there)
    if asked is not None:
        monkeypatch.setenv(precision.DEVICE_VARIABLE, asked)
    assert precision.device_kind() == expected
    assert precision.device() == (torch.device("cpu") if expected == "cpu" else torch.device(expected, 0))


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_an_accelerator_is_taken_by_itself_once_it_was_tried(
    kind: Accelerator, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(kind)
    assert precision.device_kind() == "cpu"
    monkeypatch.setattr(precision, "TESTED_PLATFORMS", {**process.TESTED_PLATFORMS, ("macos", kind): "one chip"})
    assert precision.device_kind() == kind


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_an_accelerator_that_is_not_taken_changes_nothing(kind: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a recipe is given for an accelerator, and the order of sums, go by the device that computes."""
    dataset: Any = SimpleNamespace(shape=(8, 8, 1), labels=None, classes=(), splits={"train": range(10)})
    machine(kind)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        for asked in (None, kind):
            if asked:
                monkeypatch.setenv(precision.DEVICE_VARIABLE, asked)
            assert _context(Recipe(), dataset).accelerated == (asked is not None)
            with precision.repeatable():
                assert torch.are_deterministic_algorithms_enabled() == (asked is not None)
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


@pytest.mark.parametrize(
    ("there", "asked", "words"),
    [
        (None, "cuda", "LIMNER_DEVICE=cuda, but torch sees no cuda device here; choose cpu"),
        ("mps", "xpu", "torch sees no xpu device here; choose cpu or mps"),
        (
            "cuda",
            "cuda:1",
            r"=cuda:1 is no kind of device; did you mean 'cuda'\? \(which card: CUDA_VISIBLE_DEVICES\)",
        ),
        (None, "toaster", "is no kind of device; it is one of cpu, cuda, mps, xpu"),
    ],
)
def test_a_device_that_is_not_here_is_one_line(
    there: str | None,
    asked: str,
    words: str,
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from limner.cli import main

    machine(there)
    monkeypatch.setenv(precision.DEVICE_VARIABLE, asked)
    with pytest.raises(InputError, match=words):
        precision.device()
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_each_process_of_a_node_takes_its_own_card(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine("cuda", 4)
    for rank, card in ((0, 0), (3, 3), (6, 2)):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert precision.device() == torch.device("cuda", card)


@pytest.mark.parametrize(
    ("kind", "count", "processes", "backend"),
    [("cuda", 2, 2, "nccl"), ("cuda", 1, 2, "gloo"), ("xpu", 2, 2, "xccl"), ("mps", 1, 2, "gloo"), ("cpu", 1, 2, "gloo")],
)
def test_processes_speak_through_their_cards_where_each_has_one(
    kind: str, count: int, processes: int, backend: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(None if kind == "cpu" else kind, count)
    monkeypatch.setenv(precision.DEVICE_VARIABLE, kind)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    device = precision.device()
    assert parallel._backend(device) == backend
    monkeypatch.setattr(parallel.dist, "get_backend", lambda: backend)
    own = {"nccl": "cuda", "xccl": "xpu"}.get(backend)
    assert parallel._message_device() == (own or "cpu")
    assert parallel._gradient_device(device).type == ("cuda" if kind == "cuda" else own or "cpu")


@pytest.mark.parametrize(
    ("kind", "able", "chosen"),
    [("cuda", (8, 0), "bf16"), ("cuda", (7, 5), "fp32"), ("xpu", True, "bf16"), ("xpu", False, "fp32"), ("mps", None, "fp32")],
)
def test_bfloat16_is_chosen_where_the_hardware_multiplies_it(
    kind: str, able: Any, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: able)
    monkeypatch.setattr(torch.xpu, "is_bf16_supported", lambda including_emulation=True: including_emulation or able)
    assert precision.choose(torch.device(kind, 0)) == chosen


def test_a_processor_has_a_name(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a card of NVIDIA's")
    monkeypatch.setattr(torch.xpu, "get_device_name", lambda _: "a card of Intel's")
    monkeypatch.setattr(precision.platform, "processor", lambda: "arm")
    for kind, name in (("cuda", "a card of NVIDIA's"), ("xpu", "a card of Intel's"), ("mps", "arm (mps)")):
        machine(kind)
        monkeypatch.setenv(precision.DEVICE_VARIABLE, kind)
        assert precision.processor() == name


def test_every_accelerator_is_seeded_with_the_same_number(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int]] = []
    for kind, owner, name in (
        ("cuda", torch.cuda, "manual_seed_all"),
        ("xpu", torch.xpu, "manual_seed_all"),
        ("mps", torch.mps, "manual_seed"),
    ):
        monkeypatch.setattr(owner, name, lambda seed, kind=kind: told.append((kind, seed)))
    for kind in ("cuda", "xpu", "mps", "hpu", None):
        machine(kind)
        seeds.seed_all(3, "x")
        assert torch.default_generator.initial_seed() == seeds.fold(3, "x")
    assert told == [(kind, seeds.fold(3, "x")) for kind in ("cuda", "xpu", "mps")]


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_generators_are_given_back(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [torch.tensor([5])]
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states[-1])
    monkeypatch.setattr(torch.mps, "set_rng_state", states.append)
    before = torch.get_rng_state()
    with seeds.preserve_generators(torch.device(kind)):
        torch.manual_seed(1)
        torch.randn(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert [int(state) for state in states] == ([5, 5] if kind == "mps" else [5])


def test_memory_is_the_devices_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 1000)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 300)
    mps = torch.device("mps", 0)
    assert (environment.total_memory(mps), environment.free_memory(mps), environment.peak_memory(mps)) == (1000, 700, 300)
    for kind, owner in (("cuda", torch.cuda), ("xpu", torch.xpu)):
        monkeypatch.setattr(owner, "get_device_properties", lambda device: SimpleNamespace(total_memory=2000))
        monkeypatch.setattr(owner, "mem_get_info", lambda device: (500, 2000))
        monkeypatch.setattr(owner, "max_memory_allocated", lambda device: 900)
        card = torch.device(kind, 0)
        assert (environment.total_memory(card), environment.free_memory(card), environment.peak_memory(card)) == (
            2000,
            500,
            900,
        )


def test_peak_memory_is_in_bytes_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    cpu = torch.device("cpu")
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=7000))
    for system, expected in (("linux", 7000 * 1024), ("other", 7000 * 1024), ("macos", 7000), ("windows", 0)):
        monkeypatch.setattr(process, "system", lambda system=system: system)
        assert environment.peak_memory(cpu) == expected

    def fill(handle: object, counters: Any, size: int) -> int:
        assert size == ctypes.sizeof(counters._obj) == 72, "PROCESS_MEMORY_COUNTERS of a 64-bit Windows"
        counters._obj.peak = 4321
        return 1

    class Call:
        """A function of a C library: it can be given types."""

        def __init__(self, call: Callable[..., Any]) -> None:
            self.call = call

        def __call__(self, *arguments: Any) -> Any:
            return self.call(*arguments)

    kernel = SimpleNamespace(GetCurrentProcess=Call(lambda: -1), K32GetProcessMemoryInfo=Call(fill))
    monkeypatch.setattr(ctypes, "WinDLL", lambda name: kernel, raising=False)
    assert environment.peak_memory(cpu) == 4321


@pytest.mark.parametrize(
    ("system", "kind", "count", "words"),
    [
        ("linux", None, 0, []),
        ("linux", "cuda", 1, []),
        ("linux", "cuda", 2, ["with one GPU, never with several"]),
        ("linux", "xpu", 1, ["set LIMNER_DEVICE=xpu to use it"]),
        ("macos", "mps", 1, ["never run on macOS", "set LIMNER_DEVICE=mps to use it"]),
        ("windows", "cuda", 1, ["never run on Windows", "never run on cuda here"]),
        ("windows", None, 0, ["never run on Windows"]),
    ],
)
def test_doctor_says_what_was_never_tried(
    system: str, kind: str | None, count: int, words: Sequence[str], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(kind, count)
    monkeypatch.setattr(process, "system", lambda: system)
    said = environment._untested(precision.device_kind())
    assert len(said) == len(words)
    assert all(word in line for word, line in zip(words, said, strict=True))
    if kind in ("mps", "xpu"):
        monkeypatch.setenv(precision.DEVICE_VARIABLE, kind)
        assert f"never run on {kind} here" in environment._untested(precision.device_kind())[-1]


# Numbers of float64 on a device that has none. The device `meta` plays it: it computes shapes alone, and here refuses float64.


class WithoutFloat64(TorchDispatchMode):
    """Refuses every tensor of float64 on `meta`; what is brought from there to the CPU becomes ones."""

    def __torch_dispatch__(self, call: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        named = named or {}
        device = named.get("device")
        if call is torch.ops.aten._to_copy.default and device is not None and torch.device(device).type == "cpu":
            return torch.ones(arguments[0].shape, dtype=named.get("dtype") or arguments[0].dtype)
        out = call(*arguments, **named)
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "meta" and tensor.dtype == torch.float64:
                raise TypeError(f"{call} makes float64 on a device without it")
        return out


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    home = precision.float64_device

    def as_of_mps(device: torch.device) -> torch.device:
        return home(torch.device("mps") if device.type == "meta" else device)

    monkeypatch.setattr(precision, "float64_device", as_of_mps)
    return torch.device("meta")


def test_mps_and_some_xpu_keep_float64_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert precision.float64_device(torch.device("mps", 0)) == precision.float64_device(cpu) == cpu
    assert precision.float64_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    for has, expected in ((True, torch.device("xpu", 0)), (False, cpu)):
        monkeypatch.setattr(torch.xpu, "get_device_properties", lambda _, has=has: SimpleNamespace(has_fp64=has))
        assert precision.float64_device(torch.device("xpu", 0)) == expected
    x = torch.randn(3)
    assert torch.equal(precision.in_float64(x), x.double())


def test_the_pretended_device_refuses_float64(meta: torch.device) -> None:
    with WithoutFloat64(), pytest.raises(TypeError, match="float64"):
        torch.ones(3, device=meta).double()


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": "calibrated", "prior": "normal"},
        {"decoder": "calibrated", "prior": "mixture"},
        {"decoder": "bernoulli", "prior": "mixture"},
        {"decoder": "logistic", "prior": "normal"},
        {"decoder": "fixed", "networks": "mlp", "widths": (), "prior": "mixture"},
    ],
)
def test_likelihoods_without_float64_on_the_device(settings: dict[str, Any], meta: torch.device) -> None:
    small = {"latent": 3} | ({"components": 2} if settings["prior"] == "mixture" else {})
    small |= {} if "networks" in settings else {"width": 8, "widest": 8}
    method = Vae(resolved(VaeConfig(**settings, **small), (1, 8, 8)), Pixels((1, 8, 8)), DataSpec((1, 8, 8))).to(meta).eval()
    with torch.no_grad(), WithoutFloat64():
        images, noise = torch.zeros(5, 1, 8, 8, device=meta), torch.zeros(5, method.entries, device=meta)
        for density in (False, True) if method.exact else (False,):
            for each in importance_bound([method.log_weight(images, noise, density)] * 2):
                assert each.shape == (5,)
                assert (each.dtype, each.device.type) == (torch.float64, "cpu")
        if method.exact:
            assert method.log_density(images).device.type == "cpu"


def test_a_mixture_without_float64_on_the_device(meta: torch.device) -> None:
    mixture = GaussianMixture(2, 3).to(meta)
    with torch.no_grad(), WithoutFloat64():
        mixture.fit(torch.zeros(40, 3, device=meta), seed=0)
    assert {(buffer.device.type, buffer.dtype) for buffer in mixture.buffers()} == {("meta", torch.float32)}


def test_codes_are_picked_without_float64_on_the_device(meta: torch.device) -> None:
    with WithoutFloat64():
        for knobs in ({}, {"top_k": 3, "top_p": 0.5}):
            codes = sample_categorical(torch.zeros(5, 7, device=meta), torch.full((5,), 0.3, dtype=torch.float64), **knobs)  # type: ignore[arg-type]
            assert (codes.shape, codes.device.type, codes.dtype) == ((5,), "meta", torch.int64)


def test_a_way_interpolate_latents_latents_without_float64_on_the_device(meta: torch.device) -> None:
    with WithoutFloat64():
        frames, _ = _interpolate_latents(torch.zeros(3, 4, device=meta), 5, spherical=True)
    assert (frames.shape, frames.device.type, frames.dtype) == ((9, 4), "meta", torch.float32)


def test_a_prior_draws_without_float64_on_the_device(meta: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prior, "float64_device", precision.float64_device)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which `meta` lacks
    shape = (1, 16, 16)
    config = resolved(VqVaeConfig(width=8, widest=8, blocks=1, codes=8, dim=4), shape)
    codec = VqVae(config, Pixels(shape), DataSpec(shape))
    own = resolved(PriorConfig(width=16, depth=1, heads=2), shape)
    method = prior.Prior(own, codec, DataSpec(shape)).to(meta).eval()
    with torch.no_grad(), WithoutFloat64():
        assert method.sample(range(3), Cond(), method.sampling_type()).shape == (3, 1, 16, 16)
