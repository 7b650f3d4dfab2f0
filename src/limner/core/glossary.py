"""Words that limner uses and that a person may not know, beside those that its tables describe already.

The names of metrics, presets, families, detectors and settings are described in their tables; `limner define` looks there too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Definition:
    """What a word means, in one or two sentences; where it comes from, or where to read more."""

    text: str
    reference: str = ""
    synonyms: tuple[str, ...] = ()
    """Other words for it, which `limner define` answers with the same text."""


GLOSSARY: Mapping[str, Definition] = {
    # ---- of reports
    "null": Definition(
        "What real pictures score in the samples' place: as many others of the same data set, against the same real pictures. "
        "A model cannot be expected to do better.",
        "docs/judging.md",
    ),
    "z": Definition(
        "How many of the null's own standard deviations a score lies away from the null. Below 4 it means nothing, since the "
        "draws of the null share pictures.",
        "docs/judging.md",
        ("z-score",),
    ),
    "p": Definition(
        "How often real pictures alone score at least as badly. With R draws of the null it is never below 1/(R + 1), which a "
        "report gives as p_floor.",
        "docs/judging.md",
        ("p-value", "p_floor"),
    ),
    "error": Definition(
        "The standard error of a score: how much it moves with other samples of the same model.", "docs/judging.md"
    ),
    "judge": Definition(
        "A small network that was trained once on the data set's own training pictures and then frozen; scores compare what it "
        "sees in samples and in real pictures.",
        "docs/judging.md",
    ),
    "features": Definition(
        "The numbers by which a detector describes a picture. Scores compare those of samples with those of real pictures.",
        "docs/judging.md",
    ),
    "detector": Definition("A frozen function from pictures to features, such as the judge or Inception.", "docs/judging.md"),
    "reference": Definition(
        "The real pictures that samples are compared with: the test split where there is one, else the validation split.",
        "docs/judging.md",
    ),
    "verdict": Definition("The sentences at the top of an evaluation: how near, how varied, any copies, and what to do next."),
    "gate": Definition(
        "A condition on scores, --fail-if, under which evaluate or compare exits with code 3, for automatic checks.",
        "docs/judging.md",
    ),
    "memorisation": Definition(
        "A model draws copies of its training pictures instead of new ones; the metrics copies, copies_double and "
        "copies_nearer look for them.",
        "docs/judging.md",
        ("copy", "memorization"),
    ),
    "blind sheet": Definition("Samples and held-out pictures, shuffled, judged by somebody who does not know which is which."),
    # ---- of pictures and sets
    "split": Definition(
        "A part of a data set: train is learned from, val (validation) is watched during training and chooses the best "
        "checkpoint, test is touched by evaluate alone.",
        "docs/data.md",
        ("train", "val", "validation", "test", "held out", "held-out"),
    ),
    "fingerprint": Definition(
        "A digest of all pictures, labels, captions and splits of a prepared set; equal sets have equal ones."
    ),
    "prepared": Definition(
        "A source after limner read it: a folder of equal-sized pictures in arrays, with a manifest.", "docs/data.md"
    ),
    "caption": Definition(
        "A sentence that describes a picture; models of captions draw from such a text.", "docs/data.md", ("text",)
    ),
    "given picture": Definition(
        "A picture that a model is shown beside the seed, such as an outline or a picture with a hole.",
        "docs/data.md",
        ("given",),
    ),
    "condition": Definition("What a sample is asked to be: a label, a text, a given picture.", "docs/architecture.md"),
    "label": Definition("The class of a picture, from its sub-folder or a table.", "docs/data.md", ("class",)),
    # ---- of training
    "seed": Definition("A number that decides every random draw: one seed is always the same picture of a model."),
    "run": Definition("A folder that holds everything of one training: recipe, checkpoints, curves, previews, reports."),
    "recipe": Definition("The whole description of a training, recipe.yaml in the run: data, method, networks, budget."),
    "preset": Definition("A named recipe; `limner methods` lists them."),
    "checkpoint": Definition("The state of a run at one moment, from which it resumes and samples are drawn."),
    "best": Definition(
        "The checkpoint with the best score on the validation split, never on the test split. `last` is the newest one."
    ),
    "budget": Definition("How long a run trains, in images (budget.images) or minutes (budget.minutes)."),
    "images": Definition("As a length of training: how many pictures the model has been shown, repeats counted."),
    "ema": Definition(
        "Exponential moving average: a slow average of a network's weights over training, from which samples are drawn.",
        "Karras et al. 2018, arXiv:1710.10196",
        ("moving average", "averaged weights"),
    ),
    "codec": Definition("What a model works in: pixels, or the latents of a trained autoencoder."),
    "latent": Definition(
        "A few numbers that stand for a picture: what a generator decodes, or an encoder makes.",
        "docs/latents.md",
        ("latents", "latent code"),
    ),
    "codebook": Definition(
        "The vectors that a VQ model may use for each place of a picture.", "van den Oord et al. 2017, arXiv:1711.00937"
    ),
    "generator": Definition("The network of a GAN that turns noise into pictures.", "docs/gans.md"),
    "discriminator": Definition(
        "The network of a GAN that tells real pictures from generated ones, and so teaches the generator.",
        "docs/gans.md",
        ("critic",),
    ),
    "r1": Definition(
        "A penalty on the slope of the discriminator at real pictures, which keeps a GAN's training stable. R2 is the same at "
        "generated pictures.",
        "Mescheder et al. 2018, arXiv:1801.04406",
        ("r2", "gradient penalty", "zero-centred gradient penalty"),
    ),
    "relativistic": Definition(
        "A GAN's loss that compares a real with a generated picture, instead of judging each alone.",
        "Jolicoeur-Martineau 2018, arXiv:1807.00734",
    ),
    "spectral normalisation": Definition(
        "Divides each weight matrix by its largest singular value, so that the discriminator stays smooth.",
        "Miyato et al. 2018, arXiv:1802.05957",
        ("spectral normalization",),
    ),
    "kl": Definition(
        "Kullback-Leibler divergence: how far the latents of a picture lie from the prior, in nats.", "docs/autoencoders.md"
    ),
    "nats": Definition("A unit of information: natural logarithms. One nat is 1.44 bits.", "docs/autoencoders.md", ("nat",)),
    "bf16": Definition(
        "A number format of 16 bits that trains faster where the processor has it; scores are always float32.",
        "",
        ("bfloat16",),
    ),
    # ---- of curves
    "drift": Definition(
        "A small penalty on the size of a critic's answers, which would otherwise wander.",
        "Karras et al. 2018, arXiv:1710.10196",
    ),
    "right_on_real": Definition(
        "Share of real pictures that the discriminator takes for real; near 1 beside right_on_fake, it has won."
    ),
    "right_on_fake": Definition("Share of generated pictures that the discriminator takes for generated."),
    "held_out_": Definition(
        "Curves with this beginning are losses on validation pictures, which the model does not learn from."
    ),
    "gap_": Definition(
        "Curves with this beginning are held-out losses less training losses: large where a model learns by heart."
    ),
    "gradient_norm": Definition("The length of a player's gradient; a sudden rise announces that training breaks."),
    "diversity": Definition("The mean distance of two samples over that of two real pictures: 1 is as varied, 0 all the same."),
    "twins": Definition("Share of samples that have another one that looks the same."),
    "augmentation": Definition(
        "The probability with which pictures are altered before the discriminator sees them, so that it cannot learn a small "
        "set by heart.",
        "Karras et al. 2020, arXiv:2006.06676",
        ("ada",),
    ),
    "sigma": Definition("The standard deviation of a decoder's pixels, as a VAE has learned it."),
    "total_correlation": Definition(
        "How far latents are from being independent of each other, in nats.", "Kim & Mnih 2018, arXiv:1802.05983"
    ),
    "code_bits_per_dim": Definition("Bits that a prior over codes needs for each value of the picture."),
    "posterior collapse": Definition(
        "A VAE whose decoder ignores its latents, so that all pictures are alike.", "docs/autoencoders.md"
    ),
    "mode collapse": Definition(
        "A GAN that draws only a few kinds of pictures, whatever the seed.", "docs/gans.md", ("collapse",)
    ),
    "saturation": Definition(
        "A discriminator that is right about everything, so that the generator learns nothing.", "docs/gans.md"
    ),
}
"""Word, in small letters -> its definition."""
