"""Every figure of a report, of fixed inputs: whoever moves one raises METRICS_VERSION, or old reports would be used again.

The inputs are drawn by numpy, whose generators give the same numbers everywhere; the figures are to four significant digits.
Processors round otherwise, so a few thousandths are forgiven, and more where a fit or counted pictures multiply a rounding.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from contract.helpers import resolved
from limner.core.capabilities import Pixels
from limner.core.config import DataSpec
from limner.evaluation.likelihood import likelihood
from limner.methods.vae.config import VaeConfig
from limner.methods.vae.vae import Vae
from limner.metrics.features.summary import FeatureSummary
from limner.metrics.measure import measure, measure_likelihood, measure_pairs, metrics_of
from limner.metrics.memorisation.nearest import nearest
from limner.metrics.metric import PairMetric, SampleMetric
from limner.metrics.representation import disentanglement
from limner.metrics.scores import METRICS, METRICS_VERSION
from limner.metrics.sides import Copies, Labels, Sides

FEW, MANY, CLASSES = 135, 120, 3
Figures = dict[str, tuple[float | None, ...]]
"""(value, error, null, z, p) of a score of samples, the value alone of any other; None for what there is not."""
VERSION = "metrics-2"
GOLDEN: Figures = {
    "frechet": (0.3833, 0.05745, 0.07755, 14.95, 0.09091),
    "mmd": (0.0295, 0.004247, 0.0005673, 4.192, 0.009901),
    "precision": (1, 0, 0.8804, 4.673, 1),
    "recall": (0.1417, 0.12, 0.887, -30.94, 0.09091),
    "density": (1.851, 0.08453, 0.9478, 15.94, 0.09091),
    "coverage": (0.625, 0.05723, 0.9333, -9.67, 0.09091),
    "class_distance": (0.3333, 0, 0.07592, 6.179, 0.004975),
    "label_accuracy": (0.8556, 0.03745, 1, None, None),
    "inception_score": (1.238, 0.03234, 1.881, -14.19, 0.009901),
    "sliced": (0.1208, 0.006948, 0.04126, 10.54, 0.04762),
    "two_sample": (0.7, 0.0527, 0.5, 3.942, 6.91e-05),
    "vendi": (1.864, 0.123, 3.278, -14.05, 0.09091),
    "pairwise": (0.9041, 0.07664, 1.586, -20.74, 0.09091),
    "copies": (0.07778, 0.02938, 0.008333, None, 0.01188),
    "copies_double": (0.07778, 0.02938, 0, None, 0.002313),
    "copies_nearer": (0.07778, 0.02938, 0.008333, None, 0.01188),
    "data_copying": (-2.708, None, 0, -2.708, 0.003386),
    "gan_train": (0.6333, 0.06135, 1, None, None),
    "gan_test": (0.8556, 0.03745, 0.985, -10.81, 0.04762),
    "mse": (0.0279,),
    "psnr": (15.57,),
    "ssim": (0.7292,),
    "beta_vae": (0.9867,),
    "factor_vae": (0.93,),
    "mig": (0.4451,),
    "sap": (0.28,),
    "dci_disentanglement": (0.7355,),
    "dci_completeness": (0.7865,),
    "dci_informativeness": (0.719,),
    "elbo": (-382.2,),
    "nll": (381.4,),
    "bits_per_dim": (8.597,),
    "exact": (-382.2,),
    "density_bound": (-382.5,),
}
LOOSE = {"gan_train": (0.1, 0.05), "gan_test": (0.03, 0.02), "two_sample": (0.03, 0.02)}
"""Share and least difference that are forgiven where a fit decides on pictures one by one."""


def pictures(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """[count, 8, 8, 1], a bright bar for each class with noise, and the classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    clean = np.zeros((count, 8, 8, 1))
    clean[np.arange(count), 1 + 2 * labels] = 150
    return (clean + random.integers(0, 100, clean.shape)).astype(np.uint8), labels


def observed(images: NDArray[np.uint8]) -> FeatureSummary:
    """Twelve fixed mixtures of the pixels as features, the brightness of each class's bar as its logit."""
    mixing = np.random.default_rng(9).normal(size=(64, 12)) / 1000
    logits = images[:, 1 : 2 * CLASSES : 2].mean((2, 3)) / 50
    return FeatureSummary.of(
        torch.from_numpy(images.reshape(len(images), -1) @ mixing).float(), torch.from_numpy(logits).float()
    )


@cache
def sides() -> Sides:
    (ours, asked), (real, true), (learned, _) = pictures(FEW, 1), pictures(MANY, 2), pictures(MANY, 3)
    ours[:10] = learned[:10]  # copies
    ours[10:] //= 2
    ours[10:] += 30
    ours, asked = ours[asked < 2], asked[asked < 2]  # one class is missing
    asked[::7] = (asked[::7] + 1) % CLASSES
    return Sides(
        observed(ours),
        observed(real),
        sample_images=ours,
        real_images=real,
        labels=Labels(torch.from_numpy(asked), torch.from_numpy(true), CLASSES),
        copies=Copies(nearest(ours, learned), nearest(real, learned)),
        training_features=observed(learned).features,
    )


def of_samples() -> Figures:
    found = measure(sides(), metrics_of(SampleMetric), required=True)
    return {name: (one.value, one.error, one.null, one.z, one.p) for name, one in found.items()}


def of_reconstructions() -> Figures:
    (given, _), (made, _) = pictures(8, 4), pictures(8, 5)
    return {name: (float(values.mean()),) for name, values in measure_pairs(given, made, metrics_of(PairMetric)).items()}


def of_representations() -> Figures:
    random = np.random.default_rng(6)
    factors = np.stack([random.integers(0, size, 1500) for size in (3, 4)], axis=1)
    latents = factors @ random.normal(size=(2, 3)) + 1.2 * random.normal(size=(1500, 3))
    halves = (latents[:1000], factors[:1000], latents[1000:], factors[1000:])
    world = disentanglement.factor_sampler(latents, factors)
    trees = disentanglement.dci(*halves, rounds=5)
    return {
        "beta_vae": (disentanglement.beta_vae_score(world, train=500, test=300, batch=8),),
        "factor_vae": (disentanglement.factor_vae_score(world, train=500, test=300, batch=8),),
        "mig": (float(disentanglement.mig(latents, factors).mean()),),
        "sap": (float(disentanglement.sap(*halves).mean()),),
        "dci_disentanglement": (trees.disentanglement,),
        "dci_completeness": (trees.completeness,),
        "dci_informativeness": (trees.informativeness,),
    }


def of_likelihoods() -> Figures:
    """Of a linear-Gaussian model whose weights are drawn by numpy."""
    config = resolved(VaeConfig(networks="mlp", widths=(), decoder="fixed", latent=3), (1, 8, 8))
    method = Vae(config, Pixels((1, 8, 8)), DataSpec((1, 8, 8))).eval()
    random = np.random.default_rng(7)
    with torch.no_grad():
        for weight in method.parameters():
            weight.copy_(torch.from_numpy(0.1 * random.normal(size=tuple(weight.shape))))
    model: Any = SimpleNamespace(method=method)
    images, _ = pictures(8, 8)
    return {name: (float(values.mean()),) for name, values in measure_likelihood(likelihood(model, images, draws=3)).items()}


def figures() -> Figures:
    return of_samples() | of_reconstructions() | of_representations() | of_likelihoods()


def moved(found: Figures, golden: Figures) -> Figures:
    """The figures that are others than in `golden`, or not in it."""
    return {name: values for name, values in found.items() if not alike(name, values, golden.get(name, ()))}


def alike(name: str, values: tuple[float | None, ...], expected: tuple[float | None, ...]) -> bool:
    """Whether only rounding is between them."""
    if len(values) != len(expected) or [one is None for one in values] != [one is None for one in expected]:
        return False
    pairs = [(a, b) for a, b in zip(values, expected, strict=True) if a is not None and b is not None]
    share, least = LOOSE.get(name, (0.003, 1e-6))
    return all(a == pytest.approx(b, rel=share, abs=least) for a, b in pairs)


def spelt(found: Figures) -> str:
    """As it is written above."""
    lines = []
    for name, values in found.items():
        inner = ", ".join("None" if one is None else f"{one if abs(one) > 1e-9 else 0:.4g}" for one in values)
        lines.append(f'    "{name}": ({inner}{"," if len(values) == 1 else ""}),')
    return "\n".join(lines)


def test_no_figure_moves_unless_the_version_is_raised() -> None:
    found = figures()
    others = moved(found, GOLDEN)
    assert others == {}, f"raise METRICS_VERSION in metrics/scores.py and write the new figures here:\n{spelt(others)}"
    assert METRICS_VERSION == VERSION, "the version was raised: write it here, with the figures that moved"


def test_every_row_of_the_tables_has_its_figures() -> None:
    assert set(GOLDEN) == set(METRICS)


def test_a_figure_that_moves_by_a_hundredth_is_noticed() -> None:
    for name, values in GOLDEN.items():
        for place, value in enumerate(values):
            if value and name not in LOOSE:
                other = (*values[:place], value * 1.01, *values[place + 1 :])
                assert moved({name: other}, GOLDEN), (name, place)
    assert moved({"frechet": (None,) * 5, "new": (1.0,)}, GOLDEN).keys() == {"frechet", "new"}
