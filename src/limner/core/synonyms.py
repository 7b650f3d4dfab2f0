"""Words that other programs use for what limner calls otherwise: for messages that say what is nearest in meaning.

A spelling mistake is found by comparing letters (`limner.core.errors.nearest`), another word only by a table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

_MEANINGS: Mapping[tuple[str, ...], str] = {
    # The name in limner, or several of which the first that exists is meant -> words for it.
    (
        "channels",
        "data.channels",
    ): "colour color colours colors grey gray greyscale grayscale rgb rgba alpha transparency transparent mode",
    ("size", "data.size"): "resolution res width height image_size img_size imsize imgsize pixels px dim dimensions",
    ("batch.size",): "batch_size batchsize bs minibatch",
    ("batch.chunks",): "micro_batch microbatch accumulate accumulation grad_accum gradient_accumulation",
    ("images", "budget.images"): "epoch epochs iterations iters steps max_steps num_steps kimg duration budget total_images",
    ("minutes", "budget.minutes"): "time hours seconds max_time",
    ("method.optimiser.lr", "method.generator.optimiser.lr"): "lr learning_rate learningrate step_size",
    ("method.optimiser", "method.generator.optimiser"): "optimizer optimiser optim adam adamw sgd",
    ("method.optimiser.weight_decay",): "wd decay l2",
    ("mirror", "data.mirror"): "flip hflip xflip horizontal_flip mirrored",
    ("fit", "data.fit"): "crop resize pad center_crop letterbox",
    ("split", "data.split"): "val validation valid holdout hold_out val_split test_split test",
    ("limit", "data.limit"): "max_images subset max_samples max_size",
    ("label",): "class class_name category cls y target",
    ("labels", "method.labels"): "conditional class_conditional class_cond cond n_classes num_classes",
    ("method.latent",): "latent_dim latent_size z_dim zdim nz z latent_channels",
    ("method.width", "method.generator.width"): "ngf ndf filters hidden_size base_channels num_channels",
    ("method.blocks", "method.depth"): "layers n_layers num_layers",
    ("method.r1_gamma",): "gamma r1 r1_weight",
    ("ema.half_life",): "ema_decay ema_beta ema_rate",
    ("checkpoints.every",): "snap snapshots save_every save_interval checkpoint_every",
    ("score.points",): "fid_every eval_every eval_interval",
    ("seed",): "random_seed rng manual_seed",
    ("init_from",): "pretrained finetune fine_tune resume_from init warm_start",
    ("preset",): "architecture arch method model_type",
    ("out",): "output outdir out_dir output_dir dest destination save save_dir o",
    ("count",): "n num number num_samples num_images samples amount",
    ("data", "source"): "dataset datadir data_dir real reals reference",
    ("text",): "prompt caption description",
    ("given",): "init_image condition conditioning image_prompt",
    ("checkpoint",): "ckpt weights snapshot step",
    ("truncation",): "truncation_psi psi trunc",
    ("temperature",): "temp",
    ("grid",): "sheet collage contact_sheet",
    ("name",): "run_name experiment title",
}
_PURPOSES: Mapping[str, str] = {
    # What limner cannot do yet -> words by which people ask for it.
    "enlarges or sharpens pictures": "upscale upscaling enlarge enhance superres super-resolution sharpen sr",
    "repairs or completes pictures": "inpaint outpaint fill repair restore complete uncrop",
    "edits pictures": "edit modify retouch style stylize",
    "turns one kind of picture into another": "translate colorize colourise colorise pix2pix img2img",
    "makes variations of a data set": "augment variations",
    "writes a model for other programs": "export onnx torchscript convert-model",
    "serves a page or an interface over HTTP": "studio serve server web ui gui app api",
    "explains what a model looks at": "explain saliency attribution",
}


def _by_word(table: Mapping[tuple[str, ...], str]) -> dict[str, list[str]]:
    """Word -> the names that it may mean, of several rows in the order of the table."""
    names: dict[str, list[str]] = {}
    for meanings, words in table.items():
        for word in words.split():
            names.setdefault(word, []).extend(meanings)
    return names


def same_meaning(word: str, candidates: Collection[str]) -> str | None:
    """The candidate that means what `word` means in other programs; None where there is none in the tables.

    Of dotted candidates with the same last part, the one with the same beginning as `word` is preferred.

    >>> same_meaning("data.colour", ["data.source", "data.channels"]), same_meaning("epochs", ["images", "minutes"])
    ('data.channels', 'images')
    """
    prefix, _, last = word.lower().strip("-").rpartition(".")
    if any(one.rpartition(".")[2] == last for one in candidates):
        return None  # a word of limner's own: the mistake is in what stands before it
    for spelling in (last.replace("-", "_"), last):
        for name in _by_word(_MEANINGS).get(spelling, ()):
            fitting = [one for one in candidates if one == name or one.endswith(f".{name}")]
            same_prefix = [one for one in fitting if one.rpartition(".")[0] == prefix]
            if same_prefix or fitting:
                return (same_prefix or fitting)[0]
    return None


def setting_for(word: str) -> str | None:
    """The setting of a recipe that means what `word` means in other programs; None where the tables have none.

    >>> setting_for("learning-rate"), setting_for("out")
    ('method.optimiser.lr', None)
    """
    names = _by_word(_MEANINGS).get(word.lower().strip("-").replace("-", "_"), ())
    return next((name for name in names if "." in name), None)


def purpose_of(word: str) -> str | None:
    """What a verb `word` would do, for words that ask for something that limner cannot do yet; None for other words.

    >>> purpose_of("upscale"), purpose_of("train")
    ('enlarges or sharpens pictures', None)
    """
    return next((purpose for purpose, words in _PURPOSES.items() if word.lower() in words.split()), None)
