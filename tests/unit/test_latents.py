"""Latents: paths between them, looking for them, shrinking them; with generators so simple that the answer is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from limner.core import images as pictures
from limner.core import seeds as randomness
from limner.core.capabilities import LatentDecoder, Pixels
from limner.core.cond import Batch, Cond
from limner.core.config import Sampling
from limner.core.errors import InputError
from limner.core.method import Losses, Method, Phase, Player, StepContext
from limner.core.precision import device
from limner.core.sampling import generate, latents_of, render
from limner.methods.gan.config import GanSampling
from limner.recipes.settings import compose
from limner.runs.checkpoint import Checkpoint
from limner.runs.model import Loaded
from limner.runs.run import Run
from limner.tasks.interpolation import _interpolate_latents, lerp, slerp
from limner.tasks.inversion import Search, _predict_latents, invert, pyramid, shell_penalty

DIM, SIDE = 6, 8


class Simple(Method, LatentDecoder):
    """Pictures that are linear in the latents, offset + z A, each class with an offset of its own, and none is cut off."""

    sampling_type = GanSampling

    def __init__(self, classes: int = 0, seed: int = 0) -> None:
        super().__init__(Pixels((1, SIDE, SIDE)))
        draw = torch.Generator().manual_seed(seed)
        self.accepts = frozenset({"label"} if classes else ())
        basis = torch.linalg.qr(torch.randn(SIDE * SIDE, DIM, generator=draw))[0].T
        self.matrix = nn.Parameter(0.7 * basis * torch.linspace(0.6, 1.2, DIM)[:, None])
        self.offsets = nn.Parameter(0.5 * torch.rand(max(1, classes), SIDE * SIDE, generator=draw) - 0.25)
        self.requires_grad_(False)

    def players(self) -> Mapping[str, Player]:
        return {}

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        raise NotImplementedError

    def latents(self, seeds: Sequence[int]) -> Tensor:
        return randomness.noise(seeds, DIM).to(self.device)

    def conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        if "label" not in self.accepts or requested.label is not None:
            return requested
        return Cond(label=torch.tensor([seed % len(self.offsets) for seed in seeds]).to(self.device))

    def picture(self, latents: Tensor, cond: Cond) -> Tensor:
        offset = self.offsets[:1] if cond.label is None else self.offsets[cond.label]
        return (offset + latents @ self.matrix).view(-1, 1, SIDE, SIDE)

    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        assert isinstance(sampling, GanSampling)
        return self.picture(self.latents(seeds) * sampling.truncation, self.conditions(seeds, cond))


class Bare(Method):
    """A method without latents that anybody could take hold of."""

    def __init__(self) -> None:
        super().__init__(Pixels((1, SIDE, SIDE)))
        self.weight = nn.Parameter(torch.zeros(()))

    def players(self) -> Mapping[str, Player]:
        return {}

    def phases(self) -> tuple[Phase, ...]:
        return ()

    def losses(self, phase: str, batches: tuple[Batch, ...], at: StepContext) -> Losses:
        raise NotImplementedError

    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Sampling) -> Tensor:
        return torch.zeros(len(seeds), 1, SIDE, SIDE)


def loaded(method: Method, classes: Sequence[str] = ()) -> Loaded:
    settings = (f"data.size={SIDE}x{SIDE}", "data.channels=1", f"data.classes=[{','.join(classes)}]")
    return Loaded(Run(Path("runs/0001")), Checkpoint(Path("x"), 0), compose("dcgan", settings), method.to(device()).eval())


# ---- paths --------------------------------------------------------------------------------------------------------------


def angle(a: Tensor, b: Tensor) -> Tensor:
    return torch.arccos(((a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)).clamp(-1, 1))


def test_slerp_turns_evenly_and_keeps_the_norm() -> None:
    a, b = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    b = b * a.norm() / b.norm()
    way = slerp(a, b, torch.linspace(0, 1, 9, dtype=torch.float64))
    assert torch.equal(way[0], a)
    assert torch.equal(way[-1], b)
    torch.testing.assert_close(way.norm(dim=1), a.norm().expand(9))
    torch.testing.assert_close(angle(way[1:], way[:-1]), (angle(a, b) / 8).expand(8))
    assert float(lerp(a, b, torch.tensor([0.5]))[0].norm()) < 0.8 * float(a.norm()), "the straight line leaves the shell"


def test_slerp_interpolate_latents_lengths_and_where_there_is_no_circle() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
    torch.testing.assert_close(slerp(a, b, torch.tensor([0.5]))[0], torch.tensor([1.0, 3.0]) / math.sqrt(2))
    t = torch.tensor([0.0, 0.25, 1.0])
    for other in (a, 2 * a, -a, 0 * a):
        assert torch.equal(slerp(a, other, t), lerp(a, other, t))
        assert torch.equal(slerp(a, other, t)[-1], other)


def test_a_path_keeps_the_bits_of_its_ends_and_changes_class_half_way() -> None:
    ends = torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
    for spherical in (True, False):
        frames, nearest = _interpolate_latents(ends, 4, spherical)
        labels = torch.tensor([4, 7, 7])[nearest]
        assert torch.equal(frames[[0, 3, 6]], ends)
        assert frames.dtype == ends.dtype
        assert labels.tolist() == [4, 4, 7, 7, 7, 7, 7]
    assert len(_interpolate_latents(ends, 2, True)[0]) == 3


# ---- looking for latents ------------------------------------------------------------------------------------------------


def test_the_pyramid_is_the_mean_of_the_errors_at_all_sizes() -> None:
    a, b = torch.rand(2, 3, 2, 8, 12, generator=torch.Generator().manual_seed(3))
    found = (pyramid(a) - pyramid(b)).square().sum(1)
    difference = (a - b).numpy()
    levels = [np.square(difference).mean((1, 2, 3))]
    for k in (2, 4):
        levels.append(np.square(difference.reshape(3, 2, 8 // k, k, 12 // k, k).mean((3, 5))).mean((1, 2, 3)))
    np.testing.assert_allclose(found.numpy(), np.mean(levels, 0), rtol=1e-5)


def test_the_penalty_begins_two_deviations_off_the_shell() -> None:
    dim = 50
    norms = torch.tensor([50.0, 69.0, 31.0, 80.0, 20.0])  # d ± √(2d)·k: 50 ± 10k
    z = torch.zeros(5, dim)
    z[:, 0] = norms.sqrt()
    torch.testing.assert_close(shell_penalty(z), torch.tensor([0, 0, 0, 1e-3, 1e-3]), atol=1e-8, rtol=1e-4)


def test_a_linear_generator_is_inverted_to_the_least_squares_optimum() -> None:
    """Targets that no latents reach, so that the optimum is not simply where they came from."""
    model = loaded(Simple())
    method = model.method
    assert isinstance(method, Simple)
    noise = 0.1 * torch.randn(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4)).to(device())
    target = pictures.to_uint8(generate(method, range(4)) + noise)
    found = invert(model, target)
    rest = pictures.to_tensor(target, device()).flatten(1) - method.offsets
    best = torch.linalg.lstsq(method.matrix.T.double().cpu(), rest.T.double().cpu()).solution.T
    np.testing.assert_allclose(found.latents, best.numpy(), atol=2e-3)
    error = (rest - best.to(rest) @ method.matrix).square().mean(1).cpu().numpy()
    np.testing.assert_allclose(found.errors, error, rtol=0.02)
    assert np.array_equal(found.pictures, pictures.to_uint8(render(method, torch.from_numpy(found.latents).to(device()))))
    assert found.labels is None


def test_an_inversion_depends_on_its_picture_and_seed_alone() -> None:
    model = loaded(Simple())
    target = pictures.to_uint8(generate(model.method, range(11)))
    many, again = invert(model, target, Search(steps=9)), invert(model, target, Search(steps=9))
    assert np.array_equal(many.latents, again.latents)
    for other in (invert(model, target[7:8], Search(steps=9)), invert(model, target[[7, 0, 3]], Search(steps=9))):
        assert np.array_equal(other.latents[0], many.latents[7])
    assert not np.array_equal(invert(model, target, Search(steps=9, seed=1)).latents, many.latents)


def test_more_steps_and_starts_are_no_worse() -> None:
    model = loaded(Simple())
    target = pictures.to_uint8(generate(model.method, range(5)))
    short = invert(model, target, Search(starts=1, steps=3)).errors
    long = invert(model, target, Search(starts=8, steps=200)).errors
    assert (long < short).all()
    assert long.max() < 1e-4


@pytest.mark.parametrize(("classes", "starts"), [(3, 8), (12, 2), (40, 1)])
def test_the_class_is_found(classes: int, starts: int) -> None:
    names = [f"kind{number}" for number in range(classes)]
    model = loaded(Simple(classes), names)
    target = pictures.to_uint8(generate(model.method, range(classes)))
    found = invert(model, target, Search(starts=starts, steps=90))
    assert found.labels is not None
    assert found.labels.tolist() == list(range(classes))
    told = invert(model, target[:2], Search(requested=model.request("kind1"), starts=2, steps=30))
    assert told.labels is not None
    assert told.labels.tolist() == [1, 1]
    assert told.errors[0] > 4 * told.errors[1]


def test_an_encoder_sees_latents_and_class() -> None:
    model = loaded(Simple(4), list("abcd"))
    seeds = range(40)
    target = generate(model.method, seeds)
    guess, labels = _predict_latents(model.method, range(4), Cond(), target, seed=0)
    truth = latents_of(model.method, seeds)
    assert float((guess - truth).square().mean()) < 0.3 * float(truth.square().mean())
    assert labels is not None
    assert (labels.cpu() == torch.arange(40) % 4).float().mean() > 0.9
    found = invert(model, pictures.to_uint8(target[:3]), Search(encoder=True, starts=1, steps=30))
    assert found.latents.shape == (3, DIM)


def test_what_cannot_be_inverted_says_so() -> None:
    blank = np.zeros((1, SIDE, SIDE, 1), np.uint8)
    with pytest.raises(InputError, match="no latents"):
        invert(loaded(Bare()), blank)
    model = loaded(Simple())
    with pytest.raises(InputError, match="shape"):
        invert(model, np.zeros((1, 5, 5, 1), np.uint8))
    for wrong in (Search(starts=0), Search(steps=0)):
        with pytest.raises(InputError, match="at least 1"):
            invert(model, blank, wrong)
    with pytest.raises(InputError, match="without classes"):
        model.request("a")
    assert invert(model, blank[:0]).latents.shape == (0, DIM)


# ---- asking for classes and truncation ----------------------------------------------------------------------------------


def test_a_class_is_asked_for_by_name_or_number() -> None:
    model = loaded(Simple(3), ["7", "cat", "dog"])
    of = {label: model.sample([5, 9], label) for label in ("7", "cat", "dog", "2", "0")}
    assert np.array_equal(of["2"], of["dog"])
    assert np.array_equal(of["0"], of["7"])
    assert not np.array_equal(of["cat"], of["dog"])
    want = generate(model.method, [5, 9], Cond(label=torch.tensor([1, 1], device=device())))
    assert np.array_equal(of["cat"], pictures.to_uint8(want))
    assert np.array_equal(model.sample([5])[0], of["dog"][0]), "5 modulo 3 by the seed itself"


@pytest.mark.parametrize("label", ["catt", "3", "-1", "", "9" * 5000])
def test_a_class_that_does_not_exist(label: str) -> None:
    model = loaded(Simple(3), ["bird", "cat", "dog"])
    with pytest.raises(InputError, match=r"bird, cat, dog") as caught:
        model.sample([1], label)
    assert ("did you mean 'cat'" in str(caught.value)) == (label == "catt")
    many = loaded(Simple(20), [f"c{number}" for number in range(20)])
    with pytest.raises(InputError, match="c11 and 8 more"):
        many.sample([1], "x")


def test_truncation_shrinks_the_latents_exactly() -> None:
    model = loaded(Simple())
    z = latents_of(model.method, range(40))
    assert np.array_equal(model.sample(range(40), truncation=0.5), pictures.to_uint8(render(model.method, 0.5 * z)))
    spread = [float(np.std(model.sample(range(40), truncation=psi), axis=0).mean()) for psi in (0.25, 0.5, 1.0)]
    assert spread[0] < spread[1] < spread[2]


@pytest.mark.parametrize("psi", [0.0, -1.0, math.nan, math.inf])
def test_a_truncation_out_of_range(psi: float) -> None:
    with pytest.raises(InputError, match="truncation"):
        loaded(Simple()).sample([1], truncation=psi)


def test_what_has_no_latents_is_not_truncated() -> None:
    model = loaded(Bare())
    assert model.sample([1]).shape == (1, SIDE, SIDE, 1)
    with pytest.raises(InputError, match=r"no sampling setting 'truncation' \(it has none\)"):
        model.sample([1], truncation=0.5)
