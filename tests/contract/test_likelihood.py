"""Bounds on likelihoods of trained models, and how they are asked for."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

import limner
from contract.helpers import run_of
from limner import evaluate, load
from limner.core.images import to_tensor
from limner.data.prepare import prepare
from limner.evaluation.likelihood import likelihood
from limner.methods.vae.vae import Vae
from limner.runs.run import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    out = tmp_path_factory.mktemp("likelihood")
    return {
        "vae": run_of("vae", out, images=960),
        "binary": run_of("vae", out, "method.decoder=bernoulli", "data.binary=true", "method.prior=normal", images=960),
        "grey": run_of("vae", out, "method.decoder=bernoulli", images=96),
        "logistic": run_of("vae", out, "method.decoder=logistic", "method.mixtures=2", images=960),
        "gan": run_of("gan", out),
    }


def held_out(run: Run) -> np.ndarray:
    data = run.recipe().data
    dataset = prepare("digits", binary=data.binary)
    return dataset.images.gather(dataset.indices("test" if "test" in dataset.splits else "val")[:40])


@pytest.mark.parametrize("name", ["vae", "binary", "logistic"])
def test_more_draws_bound_more_tightly_whatever_the_size_of_a_pass(
    name: str, runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = load(runs[name].path), held_out(runs[name])
    few, many = likelihood(model, images, 2), likelihood(model, images, 64)
    assert few.elbo.mean() < few.bound.mean() < many.bound.mean()
    again = likelihood(model, images, 2)
    np.testing.assert_array_equal(few.bound, again.bound)
    bits = many.bits().mean()
    assert bits == pytest.approx(-many.bound.mean() / (64 * np.log(2)))
    assert 0 < bits < 8.5  # less than noise would take, but for a model that has seen little


def test_any_number_of_draws_takes_the_memory_of_a_few(runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise and weights of a draw are let go before the next but one is made."""
    there: list[weakref.ref[torch.Tensor]] = []
    most = [0]
    log_weight = Vae.log_weight

    def noted(self: Vae, images: torch.Tensor, noise: torch.Tensor, density: bool) -> torch.Tensor:
        weights = log_weight(self, images, noise, density)
        there.extend([weakref.ref(noise), weakref.ref(weights)])
        most.append(sum(one() is not None for one in there))
        return weights

    monkeypatch.setattr(Vae, "log_weight", noted)
    found = likelihood(load(runs["binary"].path), held_out(runs["binary"]), 40)
    assert found.draws == 40
    assert len(there) == 80
    assert max(most) <= 4


def test_every_draw_is_another_and_bounds_of_equal_pictures_are_independent(runs: dict[str, Run]) -> None:
    """The ELBO of K draws is the mean of K others: its spread over copies of one picture falls as 1/√K."""
    model, one = load(runs["binary"].path), held_out(runs["binary"])[:1]
    copies = np.repeat(one, 200, axis=0)
    spread = {draws: likelihood(model, copies, draws).elbo.std() for draws in (1, 16)}
    assert spread[16] == pytest.approx(spread[1] / 4, rel=0.25)


def test_a_calibrated_scale_is_that_of_the_training_images(runs: dict[str, Run]) -> None:
    """σ is settled at the checkpoint, to the root mean square of errors at draws of the posterior."""
    method, dataset = load(runs["vae"].path).method, prepare("digits")
    assert isinstance(method, Vae)
    images = to_tensor(dataset.images.gather(dataset.indices("train")), method.device)
    with torch.no_grad():
        mean, log_variance = method.posterior(images)
        out = method.coder.decoder(mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
    assert float(method.log_scale.exp()) == pytest.approx(float((images - out).square().mean().sqrt()), rel=0.02)


def test_evaluate_says_what_it_bounded(runs: dict[str, Run]) -> None:
    found = evaluate(runs["binary"].path, count=64, importance=5)
    assert found["likelihood"]["draws"] == 5
    assert "grey values" in found["likelihood"]["of"]
    metrics = found["metrics"]
    assert metrics["elbo"]["value"] < -metrics["nll"]["value"]
    assert metrics["bits_per_dim"]["value"] == pytest.approx(metrics["nll"]["value"] / (64 * np.log(2)))
    assert "elbo" not in evaluate(runs["grey"].path, count=64)["metrics"]  # cross-entropy on grey pictures is no likelihood
    assert "elbo" not in evaluate(runs["gan"].path, count=64)["metrics"]


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_a_trained_linear_model_has_an_exact_likelihood(prior: str, tmp_path: Path) -> None:
    """The bound of its density rises to it from below; `evaluate` gives both."""
    linear = ("method.networks=mlp", "method.widths=[]", "method.latent=6", f"method.prior={prior}")
    run = run_of("vae", tmp_path, *linear, "method.optimiser.lr.value=3e-3", images=6_000)
    model, images = load(run.path), held_out(run)
    few, many = likelihood(model, np.repeat(images, 10, axis=0), 1), likelihood(model, images, 512)
    assert few.exact is not None
    assert few.density_bound is not None
    assert many.density_bound is not None
    assert few.density_bound.mean() < many.density_bound.mean() - 0.1
    assert abs(many.density_bound.mean() - few.exact.mean()) < 0.05, "below it in the mean over draws, which are 512"
    assert few.exact.std() > 1
    metrics = evaluate(run.path, count=64, metrics=["exact", "density_bound"], importance=3)["metrics"]
    assert metrics["density_bound"]["value"] < metrics["exact"]["value"] < 0


def test_an_exact_likelihood_is_not_promised_where_there_is_none(runs: dict[str, Run]) -> None:
    assert not {"exact", "density_bound"} & set(evaluate(runs["vae"].path, count=64, importance=2)["metrics"])
    assert likelihood(load(runs["vae"].path), held_out(runs["vae"]), 2).exact is None
    with pytest.raises(limner.InputError, match=r"not linear-Gaussian.*method.widths=\[\]"):
        evaluate(runs["vae"].path, metrics=["exact"])


@pytest.mark.parametrize(
    ("name", "draws", "words"),
    [
        ("vae", 0, "0 importance samples bound nothing"),
        ("gan", 5, "bounds no likelihood; train a vae"),
        ("grey", 5, "train with data.binary=true"),
    ],
)
def test_what_cannot_be_bounded_is_refused(name: str, draws: int, words: str, runs: dict[str, Run]) -> None:
    with pytest.raises(limner.InputError, match=words) as error:
        evaluate(runs[name].path, count=64, importance=draws)
    assert "\n" not in str(error.value)


def test_pictures_have_no_model_to_bound(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", images=np.zeros((64, 8, 8, 1), np.uint8))
    with pytest.raises(limner.InputError, match="leave importance out"):
        evaluate(tmp_path / "some.npz", data="digits", importance=3)
