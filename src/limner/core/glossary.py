"""Words that limner uses and that a person may not know, beside those that its tables describe already.

The names of metrics, presets, families, detectors and settings are described in their tables; `limner define` looks there too.
"""

# Long file: one literal table of words.

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
        "The standard error of a score: how much it moves with other samples of the same model.",
        "docs/judging.md",
        ("standard error",),
    ),
    "judge": Definition(
        "A small network that was trained once on the data set's own training pictures and then frozen; scores compare what it "
        "sees in samples and in real pictures.",
        "docs/judging.md",
    ),
    "contrast": Definition(
        "A detector: the judge's network, trained without labels to tell each picture from all others (SimCLR). It sees what "
        "classes do not need, and is one of the views of a verdict.",
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
    "velocity": Definition(
        "Of flow matching: in which direction, and how fast, a mixture of a picture and noise has to change to become a "
        "picture. A network learns it, and a solver follows it.",
        "docs/flow.md",
    ),
    "guidance": Definition(
        "Of flow matching: leading a picture away from what a weaker model would draw, such as the same one without the class. "
        "Above 1 pictures are more typical and less varied.",
        "docs/flow.md",
        ("classifier-free guidance", "cfg", "autoguidance"),
    ),
    "solver": Definition(
        "Of flow matching: how the way from noise to a picture is cut into steps. More steps are more exact and take longer.",
        "docs/flow.md",
        ("sampler",),
    ),
    "flow matching": Definition(
        "A way to train a generator: it learns the velocity with which noise becomes a picture, on straight ways between the "
        "two. The preset is flow.",
        "Lipman et al. 2023, arXiv:2210.02747",
        ("rectified flow",),
    ),
    "euler": Definition(
        "A solver of flows: each step goes straight on in the direction of its beginning, by one network pass. Needs the most "
        "steps.",
        "docs/flow.md",
        ("euler's method",),
    ),
    "heun": Definition(
        "A solver of flows: the direction of a step is the mean of those at its beginning and its end, by two network passes.",
        "Karras et al. 2022, arXiv:2206.00364",
        ("heun's method",),
    ),
    "midpoint": Definition(
        "A solver of flows: the direction of a step is that in its middle, by two network passes.", "docs/flow.md"
    ),
    "dpm": Definition(
        "A solver of flows, DPM-Solver++ (2M): each step reuses what the network said in the one before, by one network pass. "
        "The default.",
        "Lu et al. 2022, arXiv:2211.01095",
        ("dpm++", "dpm++ 2m", "dpm-solver++", "dpm-solver"),
    ),
    "ancestral": Definition(
        "A solver of flows that adds fresh noise in each step and removes it in the next, by one network pass.",
        "docs/flow.md",
        ("euler ancestral",),
    ),
    "adaptive": Definition(
        "A solver of flows that chooses its own steps by `tolerance`; also the augmentation that a GAN turns on as far as its "
        "discriminator begins to learn the pictures by heart.",
        "docs/flow.md",
    ),
    "network pass": Definition("One call of a model's network. A GAN needs one for a picture, a flow several.", "docs/flow.md"),
    "spectral normalisation": Definition(
        "Divides each weight matrix by its largest singular value, so that the discriminator stays smooth.",
        "Miyato et al. 2018, arXiv:1802.05957",
        ("spectral normalization", "spectral norm"),
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
    "gradient_norm/": Definition(
        "Curves with this beginning are the length of a player's gradient; a sudden rise announces that training breaks.",
        "",
        ("gradient_norm", "norm of the gradient"),
    ),
    "pictures_held_out": Definition("On how many validation pictures the held-out losses are computed."),
    "images/s": Definition(
        "Training images seen per second, previews, scores and checkpoints included.", "", ("images_per_second", "speed")
    ),
    "squared_error": Definition("The mean squared error of reconstructions, of values from −1 to 1."),
    "latent_size": Definition("The squared length of an autoencoder's latents, which a penalty keeps small."),
    "commitment": Definition(
        "How far an encoder's vectors lie from the codes that replace them, squared.",
        "van den Oord et al. 2017, arXiv:1711.00937",
    ),
    "rate_bits_per_dim": Definition("What a VAE's latents say about a picture, in bits for each value of each pixel."),
    "distortion_bits_per_dim": Definition("What a VAE's decoder misses, in bits for each value of each pixel."),
    "right_on_joint": Definition("Share of latents of one picture that the critic of factor-vae takes for such."),
    "right_on_shuffled": Definition(
        "Share of latents mixed from several pictures that the critic of factor-vae takes for such."
    ),
    "stagnation": Definition(
        "A training whose loss does not fall, so that next to nothing is learned; its learning rate may be too high.",
        "docs/flow.md",
    ),
    "explosion": Definition("A training whose gradients or losses grow without bound, so that it breaks.", "docs/gans.md"),
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
    # ---- of verdicts and views
    "nearness": Definition(
        "The first sentence of a verdict: how far samples lie from real pictures in the view that sees most.",
        "docs/judging.md",
        ("near",),
    ),
    "variety": Definition(
        "The sentence of a verdict about how much of what real pictures show the samples show too, by coverage and recall.",
        "docs/judging.md",
    ),
    "view": Definition(
        "The distance of samples from real pictures in the features of one detector; a verdict takes judge, random-conv and "
        "pixels, and speaks by the one that sees most.",
        "docs/judging.md",
        ("views", "relative"),
    ),
    "metric": Definition("A function of samples and real pictures that gives a score.", "docs/judging.md", ("metrics",)),
    "score": Definition("The value of a metric, with its error, its null, z and p.", "docs/judging.md", ("scores",)),
    "sample": Definition("A picture that a model drew from a seed.", "", ("samples",)),
    "real pictures": Definition(
        "Pictures of the data set, held out where there are any.", "docs/judging.md", ("real", "reals")
    ),
    "fréchet distance": Definition(
        "How far samples and real pictures are apart as wholes: the distance of two Gaussians fitted to their features. Lower "
        "is better; the metric frechet.",
        "docs/judging.md",
    ),
    "moments": Definition(
        "Mean and covariance of features over many pictures; the Fréchet distance compares those of samples and of real ones.",
        "docs/judging.md",
        ("covariance",),
    ),
    "nearest neighbours": Definition(
        "The pictures whose features lie closest to those of a picture; precision, recall, density and coverage count them.",
        "docs/judging.md",
        ("neighbours", "knn", "k nearest neighbours"),
    ),
    "checksum": Definition("A digest of a file or of weights, by which a change or damage is noticed.", "", ("digest",)),
    # ---- of statistics
    "confidence interval": Definition(
        "A range that holds the true value in 95 of 100 such measurements, from `low` to `high`.",
        "docs/comparing.md",
        ("interval",),
    ),
    "jackknife": Definition(
        "Estimates an error from how a score changes when one part of the samples after another is left out.",
        "docs/judging.md",
    ),
    "bootstrap": Definition(
        "Estimates an error by drawing pictures with repetition; not used here, since many scores punish repeated pictures.",
        "docs/comparing.md",
    ),
    "claim": Definition(
        "A difference between runs that may be stated, since chance hardly explains it.", "docs/comparing.md", ("claims",)
    ),
    "group": Definition(
        "Runs whose recipes differ in the seed alone, compared by their mean.", "docs/comparing.md", ("groups",)
    ),
    "holm": Definition(
        "Holm's correction: makes the p of many comparisons stricter, so that one in twenty tables at most claims anything by "
        "chance.",
        "docs/comparing.md",
        ("holm correction", "multiple comparisons"),
    ),
    "welch": Definition(
        "The t-test of Welch: compares two means whose errors differ.", "docs/comparing.md", ("student's t", "t-test")
    ),
    "wilson": Definition(
        "Wilson's interval of a share, such as of pictures that are labelled right.", "docs/latents.md", ("wilson interval",)
    ),
    "d_prime": Definition(
        "How well people tell samples from real pictures: 0 is not at all, 1 is 69 % right, 2 is 84 % right.",
        "docs/rating.md",
        ("d'", "d′"),
    ),
    "criterion": Definition("Whether people lean to one answer: below 0 they say generated too often.", "docs/rating.md"),
    "study": Definition("Pictures in a page for people to judge, made by `limner rate`.", "docs/rating.md"),
    "accuracy": Definition("Share of right answers, of people or of a classifier.", "docs/rating.md"),
    "exposure": Definition("For how many milliseconds a timed picture of a study is shown.", "docs/rating.md"),
    "catch trial": Definition("A question with an obvious answer, which shows who pays attention.", "docs/rating.md"),
    # ---- of pictures and sets
    "source": Definition(
        "What pictures are read from: a name, a folder, an archive, a file, an address, or objects of a program.",
        "docs/data.md",
    ),
    "manifest": Definition("The file of a prepared set that says what it holds and how it was made.", "docs/data.md"),
    "shard": Definition("One of several folders or archives that together are a data set.", "docs/data.md", ("shards",)),
    "duplicates": Definition(
        "Pictures that are equal, or nearly so; they never lie in different splits.", "docs/data.md", ("duplicate",)
    ),
    "set aside": Definition("Of a file: not used, with a reason that is named.", "docs/data.md", ("rejected",)),
    "transparency": Definition(
        "A fourth channel that says how much of a picture's ground shows through. It is filled with data.background, unless "
        "data.channels=4 keeps it.",
        "docs/data.md",
        ("alpha", "transparent"),
    ),
    "crop": Definition("Cuts off what does not fit the shape; pad adds margins, stretch changes proportions.", "docs/data.md"),
    "pad": Definition("Adds margins, so that all of a picture fits the shape.", "docs/data.md"),
    "stretch": Definition("Changes a picture's proportions, so that it fits the shape.", "docs/data.md"),
    # ---- of training
    "family": Definition("A kind of generator with its own networks and losses: gan, vae, prior; presets are recipes of one."),
    "method": Definition("What is trained: a family with its settings, `method.…` in a recipe.", "docs/architecture.md"),
    "setting": Definition("A value of the recipe, written key=value, such as data.size=64.", "", ("settings",)),
    "stage": Definition("A part of the budget in which one network is trained for the next one.", "docs/codes.md", ("stages",)),
    "auto": Definition(
        "A value that limner chooses when a run starts, by the data, the budget and the machine; it says which."
    ),
    "dry run": Definition("train --dry-run: measures speed, time and memory of a training, and trains nothing."),
    "preview": Definition("A sheet of samples of the same seeds, drawn while a run trains.", "", ("previews",)),
    "provenance": Definition("What made a run or a picture: data, versions, machine and command, kept beside it."),
    "report": Definition("The page report.html and its numbers: how a run learned, or how an evaluation came out."),
    "rollback": Definition("Going back once to the last checkpoint where a loss is no finite number (on_nonfinite)."),
    "trash": Definition("The folder runs/.trash, from which `limner runs restore` brings deleted runs back."),
    "cache": Definition("The folder of what can be made again: prepared sets, judges, latents; `limner cache` shows it."),
    "loss": Definition("What a network's training makes small; each player of a GAN has its own.", "", ("losses", "objective")),
    "player": Definition("Weights with an optimiser and a loss of their own, such as a GAN's generator."),
    "gradient": Definition("The direction in which a loss grows fastest as weights change; training goes against it."),
    "optimiser": Definition(
        "The rule by which gradients change weights; adam scales each weight's step by its recent gradients.",
        "Kingma & Ba 2014, arXiv:1412.6980",
        ("optimizer", "adam"),
    ),
    "learning rate": Definition("The size of an optimiser's steps: optimiser.lr in a recipe.", "docs/gans.md"),
    "schedule": Definition("A setting that changes over the run, such as one that is warmed up.", "docs/autoencoders.md"),
    "epoch": Definition("One pass over all training pictures. limner counts single pictures instead (images)."),
    "chunk": Definition("One of the equal parts of a batch that are computed one after the other (batch.chunks)."),
    "half-life": Definition("After how many images a moving average has forgotten half of what it knew."),
    "overfitting": Definition(
        "A model learns single pictures by heart instead of what they share.", "docs/gans.md", ("overfit",)
    ),
    "fp32": Definition("A number format of 32 bits, the usual one; bf16 has half of them.", "", ("float32",)),
    "parameters": Definition("The numbers of a network that training changes.", "", ("weights",)),
    # ---- of networks
    "mlp": Definition("A fully connected network: every number of a layer depends on all of the one before.", "docs/gans.md"),
    "resnet": Definition(
        "A network of residual blocks, each of which adds to what it is given.",
        "He et al. 2015, arXiv:1512.03385",
        ("residual",),
    ),
    "densenet": Definition(
        "A network in which each layer sees all layers before it.", "Huang et al. 2016, arXiv:1608.06993", ("dense",)
    ),
    "r3": Definition(
        "The networks of r3gan: residual blocks with a narrow middle and no norms.", "Huang et al. 2024, arXiv:2501.05441"
    ),
    "convolution": Definition("A layer that treats every place of a picture alike.", "docs/gans.md", ("conv", "convolutional")),
    "batch norm": Definition(
        "Brings each channel to the mean and spread of a batch.",
        "Ioffe & Szegedy 2015, arXiv:1502.03167",
        ("batch normalisation", "batch normalization", "norm"),
    ),
    "transformer": Definition(
        "A network whose places look at each other by attention; the prior over codes is one.",
        "Vaswani et al. 2017, arXiv:1706.03762",
        ("attention",),
    ),
    # ---- of GANs
    "conditional": Definition("Of a model: trained with classes, captions or given pictures, so that they can be requested."),
    "non-saturating": Definition(
        "A GAN's usual loss: the generator makes large what the discriminator takes for real.",
        "Goodfellow et al. 2014, arXiv:1406.2661",
        ("minimax",),
    ),
    "least squares": Definition("A GAN's loss of squared errors.", "Mao et al. 2016, arXiv:1611.04076", ("least-squares",)),
    "wasserstein": Definition(
        "A GAN's loss that estimates how far samples would have to be moved to become real pictures.",
        "Arjovsky et al. 2017, arXiv:1701.07875",
    ),
    "hinge": Definition(
        "A GAN's loss that leaves pictures alone that are clearly told apart.", "Lim & Ye 2017, arXiv:1705.02894"
    ),
    "weight clipping": Definition("Holds the weights of a critic within a bound (weight_clip).", "docs/gans.md"),
    "lazy regularisation": Definition(
        "Computes a penalty in one step of several, and multiplies it.", "docs/gans.md", ("lazily",)
    ),
    "label smoothing": Definition("Asks the discriminator to be a little less sure of real pictures.", "docs/gans.md"),
    "projection": Definition(
        "How a discriminator takes a class: by the product of its features with a vector of the class.",
        "Miyato & Koyama 2018, arXiv:1802.05637",
    ),
    "diffaugment": Definition(
        "Alters real and generated pictures alike before the discriminator sees them, always by the same rules.",
        "Zhao et al. 2020, arXiv:2006.10738",
        ("diff", "cutout", "translation"),
    ),
    "truncation trick": Definition(
        "Draws latents nearer to their mean: more typical, less varied pictures (truncation).",
        "Brock et al. 2018, arXiv:1809.11096",
    ),
    # ---- of autoencoders and codes
    "encoder": Definition("The network that turns a picture into latents.", "docs/autoencoders.md"),
    "decoder": Definition("The network that turns latents into a picture.", "docs/autoencoders.md"),
    "reconstruction": Definition("A picture, encoded and decoded again.", "docs/latents.md"),
    "likelihood": Definition(
        "How probable a model finds a picture; elbo and nll bound it, in nats.", "docs/autoencoders.md", ("log-likelihood",)
    ),
    "posterior": Definition("The latents that an encoder finds probable for a picture.", "docs/autoencoders.md"),
    "rate": Definition(
        "What a VAE's latents say about a picture, in nats; distortion is what its decoder misses.", "docs/autoencoders.md"
    ),
    "distortion": Definition(
        "What a VAE's decoder misses of a picture, in nats; rate and distortion together are the loss.", "docs/autoencoders.md"
    ),
    "importance": Definition(
        "Draws of latents for each picture that bound its likelihood; more of them bound it more closely.",
        "Burda et al. 2015, arXiv:1509.00519",
        ("importance sampling",),
    ),
    "bernoulli": Definition("A decoder's distribution of pixels that are black or white.", "docs/autoencoders.md"),
    "calibrated": Definition(
        "A Gaussian decoder whose spread (sigma) is the one that fits its errors.",
        "Rybkin et al. 2021, arXiv:2006.13202",
    ),
    "laplace": Definition("A decoder's distribution that counts absolute errors.", "docs/autoencoders.md"),
    "logistic": Definition("A decoder's distribution of grey values, as a mixture of bells.", "docs/autoencoders.md"),
    "mixture": Definition("Several Gaussians, fitted to latents so that new ones can be drawn.", "docs/autoencoders.md"),
    "code": Definition(
        "The number of a vector in a codebook; a map of codes stands for a picture.", "docs/codes.md", ("codes",)
    ),
    "vocabulary": Definition("The number of different codes.", "docs/codes.md"),
    "vq": Definition(
        "Vector quantisation: each place of a map becomes the nearest vector of a codebook.",
        "van den Oord et al. 2017, arXiv:1711.00937",
        ("vector quantisation",),
    ),
    "usage": Definition("Share of the codes that are in use.", "docs/codes.md"),
    "perplexity": Definition("How many equally used codes would be as varied as those in use.", "docs/codes.md"),
    "k-means": Definition("Finds centres of groups of vectors; codes start there.", "docs/codes.md"),
    "nucleus sampling": Definition(
        "Draws each code from the most probable ones that together have the share top_p.",
        "Holtzman et al. 2019, arXiv:1904.09751",
    ),
    "patch discriminator": Definition(
        "A discriminator that judges every part of a picture by itself.", "Isola et al. 2016, arXiv:1611.07004"
    ),
    # ---- of latents
    "interpolation": Definition(
        "Pictures on the way from one to another, through their latents.", "docs/latents.md", ("slerp",)
    ),
    "traversal": Definition("Pictures in which a single latent changes.", "docs/latents.md"),
    "inversion": Definition("The search for latents that a generator turns into a given picture.", "docs/gans.md"),
    "embedding": Definition("Pictures as latents, in an array for other programs (`limner embed`).", "docs/latents.md"),
    "probe": Definition(
        "A linear classifier on latents: what it can tell lies in them plainly.", "docs/latents.md", ("linear probe",)
    ),
    "disentanglement": Definition(
        "Whether each latent holds one factor of the pictures, such as size or colour.", "docs/latents.md", ("dci",)
    ),
    "factor": Definition("What varies between drawn scenes, such as shape, colour or place.", "docs/latents.md", ("factors",)),
    "standard deviation": Definition("How far values usually lie from their mean.", "", ("deviation",)),
}
"""Word, in small letters -> its definition."""
