# Long file: one literal table, a row for each metric, and the functions of its rows.
"""The table of metrics: all that `evaluate` and `compare` can measure, open to metrics of other packages.

To add a metric, write its function in a file of its own and its row here. A package brings one by an entry point of the group
``limner.metrics`` that names its row, a program by `METRICS.register`.

>>> METRICS["frechet"].better
'lower'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from limner.core.table import Table
from limner.metrics.metric import LatentMetric, LikelihoodMetric, Measurements, Metric, PairMetric, Pictures, SampleMetric

if TYPE_CHECKING:
    from torch import Tensor

    from limner.metrics.representation.disentanglement import Array, Latents
    from limner.metrics.sides import Sides

METRICS_VERSION = "metrics-2"
"""Part of every report; a report is used again only where it is equal. To be raised whenever a figure of a report is computed
in another way: a value of a metric of this table, its error, its null, a likelihood, or what a model of the same weights draws,
encodes or decodes. An edit that moves no figure leaves it as it is."""


# The functions of the rows import what they measure with when they are called: it needs torch, and the names and meanings of
# metrics, for help and for `limner define`, do not.


def _measure_frechet(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_frechet

    return measure_frechet(sides)


def _measure_mmd(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_mmd

    return measure_mmd(sides)


def _measure_neighbours(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_neighbours

    return measure_neighbours(sides)


def _measure_class_distance(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_class_distance

    return measure_class_distance(sides)


def _measure_label_accuracy(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_label_accuracy

    return measure_label_accuracy(sides)


def _measure_inception_score(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_inception_score

    return measure_inception_score(sides)


def _measure_sliced(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_sliced

    return measure_sliced(sides)


def _measure_two_sample(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_two_sample

    return measure_two_sample(sides)


def _measure_vendi(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_vendi

    return measure_vendi(sides)


def _measure_pairwise(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_pairwise

    return measure_pairwise(sides)


def _measure_copies(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_copies

    return measure_copies(sides)


def _measure_data_copying(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_data_copying

    return measure_data_copying(sides)


def _measure_gan_train(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_gan_train

    return measure_gan_train(sides)


def _measure_gan_test(sides: Sides) -> Measurements:
    from limner.metrics.sample_metrics import measure_gan_test

    return measure_gan_test(sides)


def _measure_mse(pictures: Pictures, reconstructions: Pictures) -> Tensor:
    from limner.metrics.representation.reconstruction import mse

    return mse(pictures, reconstructions)


def _measure_ssim(pictures: Pictures, reconstructions: Pictures) -> Tensor:
    from limner.metrics.representation.reconstruction import ssim

    return ssim(pictures, reconstructions)


def _measure_psnr(pictures: Pictures, reconstructions: Pictures) -> Tensor:
    from limner.metrics.representation.reconstruction import PSNR_CEILING, psnr

    return psnr(pictures, reconstructions).clamp(max=PSNR_CEILING)


def _measure_beta_vae(latents: Latents) -> float:
    from limner.metrics.representation.disentanglement import beta_vae_score

    return beta_vae_score(latents.sampler, latents.seed)


def _measure_factor_vae(latents: Latents) -> float:
    from limner.metrics.representation.disentanglement import factor_vae_score

    return factor_vae_score(latents.sampler, latents.seed)


def _measure_mig(latents: Latents) -> Array:
    from limner.metrics.representation.disentanglement import mig

    return mig(*latents.train)


def _measure_sap(latents: Latents) -> Array:
    from limner.metrics.representation.disentanglement import sap

    return sap(*latents.train, *latents.test)


METRICS: Table[Metric] = Table(
    "limner.metrics",
    Metric,
    {
        "frechet": SampleMetric(
            better="lower",
            meaning="distance of two Gaussians fitted to the features",
            measure=_measure_frechet,
            aliases=("fid",),
            published_names={"inception": "FID"},
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "mmd": SampleMetric(
            better="lower",
            meaning="maximum mean discrepancy, cubic kernel: unbiased, 0 for real pictures",
            measure=_measure_mmd,
            aliases=("kid",),
            published_names={"inception": "KID"},
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "precision": SampleMetric(
            better="higher",
            meaning="share of samples that lie among real pictures",
            measure=_measure_neighbours,
            needs=("neighbours",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "recall": SampleMetric(
            better="higher",
            meaning="share of real pictures that lie among samples",
            measure=_measure_neighbours,
            needs=("neighbours",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "density": SampleMetric(
            better="as real",
            meaning="how many real neighbourhoods a sample lies in, 1 for real pictures",
            measure=_measure_neighbours,
            needs=("neighbours",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "coverage": SampleMetric(
            better="higher",
            meaning="share of real neighbourhoods that hold a sample",
            measure=_measure_neighbours,
            needs=("neighbours",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "class_distance": SampleMetric(
            better="lower",
            meaning="how far the shares of classes are from the real ones, 0 to 1",
            measure=_measure_class_distance,
            needs=("logits", "classes"),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "label_accuracy": SampleMetric(
            better="higher",
            meaning="share of samples that show the class that was asked for",
            measure=_measure_label_accuracy,
            needs=("logits", "classes", "sample labels"),
            error="over samples",
            null="labelled pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "inception_score": SampleMetric(
            better="higher",
            meaning="clear classes, and many of them",
            measure=_measure_inception_score,
            needs=("logits", "splits"),
            aliases=("is",),
            default_detectors=frozenset({"inception"}),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=False,
            since="metrics-1",
        ),
        "sliced": SampleMetric(
            better="lower",
            meaning="Wasserstein distance of pixels along random lines",
            measure=_measure_sliced,
            needs=("images",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "two_sample": SampleMetric(
            better="lower",
            meaning="how often a classifier tells samples from real pictures; one half is chance",
            measure=_measure_two_sample,
            needs=("halves",),
            error="over samples",
            null="constant",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "vendi": SampleMetric(
            better="as real",
            meaning="effective number of different pictures",
            measure=_measure_vendi,
            needs=("directions",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "pairwise": SampleMetric(
            better="as real",
            meaning="mean distance of two samples",
            measure=_measure_pairwise,
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "copies": SampleMetric(
            better="lower",
            meaning="share of samples that lie oddly near to one training picture, by the distance of its neighbours",
            measure=_measure_copies,
            needs=("copies",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "copies_double": SampleMetric(
            better="lower",
            meaning="share of samples three times as near to one training picture as to the next",
            measure=_measure_copies,
            needs=("copies",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "copies_nearer": SampleMetric(
            better="lower",
            meaning="share of samples nearer to a training picture than all but one in 1,000 real ones",
            measure=_measure_copies,
            needs=("copies",),
            error="over samples",
            null="real pictures",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "data_copying": SampleMetric(
            better="as real",
            meaning="C_T: clearly below 0 where samples lie nearer to training pictures than real ones do",
            measure=_measure_data_copying,
            needs=("training features",),
            error="none",
            null="constant",
            cost="seconds",
            default=False,
            since="metrics-1",
        ),
        "gan_train": SampleMetric(
            better="higher",
            meaning="accuracy on real pictures of a network that learned from samples alone",
            measure=_measure_gan_train,
            needs=("images", "labels", "sample labels"),
            error="incomplete",
            null="labelled pictures",
            cost="minutes",
            default=False,
            since="metrics-2",
        ),
        "gan_test": SampleMetric(
            better="as real",
            meaning="accuracy on samples of a classifier that learned from real pictures",
            measure=_measure_gan_test,
            needs=("labels", "sample labels"),
            error="over samples",
            null="labelled pictures",
            cost="seconds",
            default=False,
            since="metrics-1",
        ),
        "mse": PairMetric(
            better="lower",
            meaning="mean squared error of reconstructions, of values from 0 to 1",
            measure=_measure_mse,
            error="over pictures",
            null="none",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "psnr": PairMetric(
            better="higher",
            meaning="of reconstructions, in dB",
            measure=_measure_psnr,
            error="over pictures",
            null="none",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "ssim": PairMetric(
            better="higher",
            meaning="structural similarity of reconstructions, 1 for equal ones",
            measure=_measure_ssim,
            error="over pictures",
            null="none",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "elbo": LikelihoodMetric(
            better="higher",
            meaning="nats per picture, a lower bound of the likelihood's logarithm",
            measure=lambda likelihood: likelihood.elbo,
            is_exact=False,
            error="over pictures",
            null="none",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "nll": LikelihoodMetric(
            better="lower",
            meaning="nats per picture, an upper bound of the negative log-likelihood",
            measure=lambda likelihood: -likelihood.bound,
            is_exact=False,
            error="over pictures",
            null="none",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "bits_per_dim": LikelihoodMetric(
            better="lower",
            meaning="the same in bits for each value of each pixel",
            measure=lambda likelihood: likelihood.bits(),
            is_exact=False,
            error="over pictures",
            null="none",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "exact": LikelihoodMetric(
            better="higher",
            meaning="nats per picture: the log density of a linear-Gaussian model, times the bins' widths",
            measure=lambda likelihood: likelihood.exact,
            is_exact=True,
            error="over pictures",
            null="none",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "density_bound": LikelihoodMetric(
            better="higher",
            meaning="nats per picture: the bound of what is exact",
            measure=lambda likelihood: likelihood.density_bound,
            is_exact=True,
            error="over pictures",
            null="none",
            cost="seconds",
            default=True,
            since="metrics-1",
        ),
        "beta_vae": LatentMetric(
            better="higher",
            meaning="how often a linear classifier knows which factor two sets of pictures share",
            measure=_measure_beta_vae,
            error="none",
            null="shuffled",
            cost="minutes",
            default=False,
            since="metrics-1",
        ),
        "factor_vae": LatentMetric(
            better="higher",
            meaning="how often the latent that varies least tells which factor is fixed",
            measure=_measure_factor_vae,
            error="none",
            null="shuffled",
            cost="minutes",
            default=False,
            since="metrics-1",
        ),
        "mig": LatentMetric(
            better="higher",
            meaning="by how much the best latent knows a factor better than the second best, 0 to 1",
            measure=_measure_mig,
            error="none",
            null="shuffled",
            cost="minutes",
            default=False,
            since="metrics-1",
        ),
        "dci_disentanglement": LatentMetric(
            better="higher",
            meaning="1 where each latent matters for one factor only",
            measure=lambda latents: latents.dci.disentanglement,
            error="none",
            null="none",
            cost="minutes",
            default=False,
            since="metrics-1",
        ),
        "dci_completeness": LatentMetric(
            better="higher",
            meaning="1 where one latent alone matters for each factor",
            measure=lambda latents: latents.dci.completeness,
            error="none",
            null="none",
            cost="minutes",
            default=False,
            since="metrics-1",
        ),
        "dci_informativeness": LatentMetric(
            better="higher",
            meaning="how well the factors are read off all latents, as an accuracy",
            measure=lambda latents: latents.dci.accuracies,
            error="none",
            null="none",
            cost="minutes",
            default=False,
            since="metrics-1",
        ),
        "sap": LatentMetric(
            better="higher",
            meaning="by how much the best latent predicts a factor better than the second best",
            measure=_measure_sap,
            error="none",
            null="shuffled",
            cost="minutes",
            default=False,
            since="metrics-1",
        ),
    },
)
"""Name -> metric. In reports and tables they stand in this order: of samples against real pictures, of reconstructions, of
likelihoods, of latents."""
