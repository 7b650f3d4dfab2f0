"""A trained model in Python: ``limner.load("runs/0007").sample(seeds=range(16))``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from limner.core import precision
from limner.core.address import public_address
from limner.core.capabilities import Autoencoder, Capability, LatentDecoder, VelocityField, capabilities
from limner.core.cond import Cond
from limner.core.config import Sampling, check_sampling_used, parse_sampling
from limner.core.errors import InputError, NearestNames, nearest, short_repr
from limner.core.extensions import result_error
from limner.core.fields import SeedList, choose_seeds, number_text, whole_numbers
from limner.core.images import batches_of, to_tensor, to_uint8
from limner.core.invocation import option
from limner.core.method import Method, averaged
from limner.core.precision import prepare_module
from limner.core.process import fix_thread_count
from limner.core.sampling import generate, latents_of, render, requires_gradients
from limner.core.seeds import preserve_generators
from limner.core.text import encode_captions
from limner.data.conditions import Conditions, takes_text_or_image
from limner.data.dataset import Dataset
from limner.data.prepare import prepare_source
from limner.recipes.build import CODEC_WORDS, build_method, presets_drawing, presets_making, stage_configs
from limner.recipes.recipe import Recipe
from limner.runs.checkpoint import Checkpoint, load_weights
from limner.runs.model_inputs import check_given, check_images, tensor_of_images, tensor_of_latents
from limner.runs.run import Run
from limner.runs.validation import describe_checkpoint

_SAMPLE_KEYWORDS = ("seeds", "count", "label", "text", "given", "sampling")
"""Keywords of `Loaded.sample` beside the sampling settings of the model's family."""
MAX_LISTED_CLASSES = 12
"""The largest number of classes that an error lists."""
ENCODING_BATCH = 128
"""Pictures that are encoded at a time."""


@dataclass(frozen=True)
class Loaded(NearestNames):
    """The model of one checkpoint: its averaged weights in float32, in evaluation mode.

    A verb takes it in the place of a run, ``limner.evaluate(model)``, and reads the weights of its checkpoint from the run.
    """

    run: Run
    checkpoint: Checkpoint
    recipe: Recipe
    method: Method

    def __fspath__(self) -> str:
        """The folder of the run, so that a model names it wherever a run or a path is wanted."""
        return os.fspath(self.run)

    # Many parameters: seeds, conditions and settings are what a sample is a function of.
    def sample(
        self,
        seeds: SeedList | None = None,
        label: str | int | None = None,
        text: str | None = None,
        given: NDArray[np.uint8] | None = None,
        sampling: Sampling | Mapping[str, Any] | None = None,
        *,
        count: int | None = None,
        **settings: Any,
    ) -> NDArray[np.uint8]:
        """[len(seeds), H, W, C] uint8. Image i is a function of seeds[i], to the bit, whatever the other seeds are.

        `seeds` are whole numbers of any integer type: a range, a list, an array or a tensor [N], or text such as ``"0-15,42"``;
        with `count` in their place they are 0 to `count` − 1, and without both 0 to 15.
        `label` is the name of a class (or its number, where no class has that name), `text` a caption, and `given` the given
        picture [H, W, C'] uint8. Where no label or text is requested from a model that was trained with such, each seed draws
        one as often as it occurred in training. `sampling` are settings of the model's family, as its `Sampling` or as a
        mapping, and `settings` are single ones by name, such as ``truncation=0.7`` of a GAN or ``temperature=0.9`` of a prior
        over codes.

        Errors: `InputError` for seeds that are no whole numbers from 0 on, for a keyword that does not exist, and where
        the model does not generate, was not trained with a condition that is requested, or does not have such a setting or
        value.
        """
        if not self.method.generates:
            raise InputError(self._why_it_cannot_generate())
        numbers = choose_seeds(None if seeds is None else whole_numbers(seeds, "seeds", "seed"), count)
        request, own = self.request(label, text, given), self._resolve_sampling(sampling, settings, _SAMPLE_KEYWORDS)
        rows = []
        for part in batches_of(len(numbers), 32 * self.method.chunk):
            batch = numbers[part]
            images = generate(self.method, batch, self.draw_conditions(batch, request), own)
            if images.shape[1:] != self.recipe.data.spec().shape:
                what, expected = f"the method {type(self.method).__name__}", list(self.recipe.data.spec().shape)
                raise result_error(what, type(self.method), list(images.shape[1:]), f"pictures of the shape {expected}")
            rows.append(to_uint8(images))
        return np.concatenate(rows) if rows else np.empty((0, *self.shape), np.uint8)

    def sampling(self, base: Sampling | Mapping[str, Any] | None = None, **settings: Any) -> Sampling:
        """Sampling settings of the model's family: single `settings`, then those in `base`, then defaults.

        A setting whose default depends on the model has the value that it has for this one. Errors: `InputError` in one line
        for a setting that the family does not have, a value out of range, or a setting that has no effect beside the others.
        """
        return self._resolve_sampling(base, settings)

    def _resolve_sampling(
        self, base: Sampling | Mapping[str, Any] | None, settings: Mapping[str, Any], keywords: Sequence[str] = ()
    ) -> Sampling:
        """As `sampling`; an error about one of `settings` that does not exist also names the other `keywords` of a function."""
        if isinstance(base, Sampling):
            base = base.model_dump(exclude_unset=True)
        if base is not None and not isinstance(base, Mapping):
            raise InputError(f"sampling settings are a mapping, such as {{'truncation': 0.7}}, not {short_repr(base)}")
        name = f"{self.run.path} ({self.recipe.preset})"
        kind, values = self.method.sampling_type, {**(base or {}), **settings}
        resolved = self.method.resolve_sampling(parse_sampling(kind, values, name, keywords if settings else ()))
        check_sampling_used(resolved)
        return resolved

    def _why_it_cannot_generate(self) -> str:
        """The reason and what to do: train a prior, or, where the checkpoint is of an early stage of the run, a later stage."""
        stage, configs = self.checkpoint.state()["stage"], stage_configs(self.recipe)
        if stage == len(configs) - 1:
            latents = self.recipe.method.makes
            preset = presets_drawing(latents)[0] if latents is not None else "none"
            return (
                f"{self.run.path} turns pictures into {CODEC_WORDS[latents]} and has no {preset} to draw new ones; train one "
                f"with `limner train {public_address(self.recipe.data.source)} --preset {preset} codec={self.run.path}`"
            )
        kind, images = configs[-1][2].kind, self.checkpoint.images
        early = f"{self.run.path} had not begun its {kind}, which draws new pictures, at {images:,} images"
        later = self.run.checkpoint().state()["stage"] > stage
        return f"{early}; {'use ' + option('checkpoint', 'last') if later else f'go on with `limner resume {self.run.path}`'}"

    def class_of(self, label: str | int | None) -> int | None:
        """The number of the class with the name `label`, or with that number where no class has that name; None for None.

        Errors: `InputError` where the model has no classes, or none of this name.
        """
        if label is None:
            return None
        label = number_text(label)  # type: ignore[assignment]  # what is no text is refused below
        if not isinstance(label, str):
            raise InputError(f"{option('label')} {short_repr(label)}: a class is named by a text or a whole number")
        if "label" not in self.method.accepts:
            raise InputError(
                f"{self.run.path} was trained without classes, so it cannot be asked for '{label}'; leave "
                f"{option('label')} out, or train one with method.labels=true"
            )
        classes = self.recipe.data.classes
        if label in classes:
            return classes.index(label)
        if label.isascii() and label.isdigit() and len(label) < 10 and int(label) < len(classes):
            return int(label)
        names = ", ".join(classes[:MAX_LISTED_CLASSES]) + (
            f" and {len(classes) - MAX_LISTED_CLASSES} more" if len(classes) > MAX_LISTED_CLASSES else ""
        )
        raise InputError(f"{self.run.path} knows no class '{label}'{nearest(label, classes)} (there are: {names})")

    def class_names(self, labels: Tensor | NDArray[np.int64] | None) -> list[str | None] | None:
        """[N]: the names of the classes with the numbers `labels` [N]; None for −1, which is no class, and for no `labels`."""
        classes = self.recipe.data.classes
        return None if labels is None else [classes[number] if number >= 0 else None for number in labels.tolist()]

    def request(
        self, label: str | int | None = None, text: str | None = None, picture: NDArray[np.uint8] | None = None
    ) -> Cond:
        """The requested conditions of one picture, as tensors; None where one is not requested.

        `picture` is the given picture [H, W, C'] uint8. Errors: `InputError` for a condition that the model was not trained
        with, for a class or a shape of the given picture that it was not trained with, and where a given picture is missing.
        """
        number, accepts, device = self.class_of(label), self.method.accepts, self.method.device
        if text is not None and not isinstance(text, str):
            raise InputError(f"{option('text')} {short_repr(text)}: a caption is a text")
        if text is not None and "text" not in accepts:
            raise InputError(
                f"{self.run.path} was trained without captions, so no text can be asked for; leave {option('text')} out"
            )
        if text is not None and not text.strip():
            raise InputError(f"the text is empty; write what the picture shall show, or leave {option('text')} out")
        if picture is not None and "image" not in accepts:
            raise InputError(f"{self.run.path} was trained without given pictures; leave {option('given')} out")
        if picture is None and "image" in accepts:
            raise InputError(f"{self.run.path} draws pictures that go with a given one; name it with {option('given', 'FILE')}")
        if picture is not None:
            picture = check_given(picture, self.recipe.data.condition_shape, self.run.path)
        return Cond(
            label=None if number is None else torch.tensor([number], device=device),
            text=None if text is None else torch.from_numpy(encode_captions([text], self.caption_length)).to(device),
            image=None if picture is None else to_tensor(picture[None], device),
        )

    def draw_conditions(self, seeds: Sequence[int], requested: Cond) -> Cond:
        """The conditions of len(seeds) pictures: those `requested` of one picture, and what each seed draws beside them."""
        cond = requested.repeat(len(seeds))
        if takes_text_or_image(self.method):
            cond = self.conditions.draw(seeds, self.method.accepts, cond).to(self.method.device)
        return self.method.conditions(seeds, cond)

    @cached_property
    def conditions(self) -> Conditions:
        """The captions in the run folder, of which each seed draws one where no text is requested."""
        return Conditions(None, captions=self.run.captions())

    @property
    def caption_length(self) -> int:
        """Bytes of a caption that the method reads; 0 where its data have no captions."""
        return self.recipe.data.caption_length

    def reconstruct(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[N, H, W, C] uint8 -> the same shape: pictures, encoded and decoded again.

        Errors: `InputError` where the method has no encoder, or the pictures have another type or shape than the model's.
        """
        method = self.encoder
        check_images(images, self.shape, self.run.path)
        rows = [np.empty((0, *self.shape), np.uint8)]
        with precision.exact(self.method.device.type), torch.inference_mode():
            for part in batches_of(len(images), ENCODING_BATCH):
                latents = method.encode(to_tensor(images[part], self.method.device))
                rows.append(to_uint8(method.decode(latents)))
        return np.concatenate(rows)

    @property
    def encoder(self) -> Autoencoder:
        """The method, where it has an encoder. Errors: `InputError` where it has none."""
        if isinstance(self.method, Autoencoder):
            return self.method
        search = " (for single pictures `limner reconstruct` searches for the latents instead)"
        raise InputError(
            f"{self.run.path} has no encoder ({self.recipe.preset}); train one that has, such as "
            f"{option('preset', presets_making('continuous')[0])}{search if isinstance(self.method, LatentDecoder) else ''}"
        )

    def encode(self, images: Tensor | NDArray[np.uint8]) -> Tensor:
        """Pictures -> [N, *shape of the latents], float32 or int64 indices of codes.

        The type says what the values mean: an array is uint8 [N, H, W, C], and a tensor is uint8 [N, C, H, W], both from 0 to
        255, or a float tensor [N, C, H, W] in [-1, 1]. A float array is refused, since its range cannot be known.

        Continuous latents have gradients with respect to `images` where these require gradients, and with respect to the
        weights after ``model.method.requires_grad_(True).train()``, for fine-tuning; under `torch.no_grad` neither. Errors:
        `InputError` where the method has no encoder, for pictures of another type or shape, and for values far outside of
        [-1, 1].
        """
        method, images = self.encoder, tensor_of_images(images, self.shape, self.run.path, self.method.device)
        needs_gradients = requires_gradients(self.method, images)
        with precision.exact(self.method.device.type), torch.set_grad_enabled(needs_gradients):
            parts = [method.encode(part.to(self.method.device)) for part in torch.split(images, ENCODING_BATCH)]
        return torch.cat(parts)

    def decode(
        self,
        latents: Tensor | NDArray[Any],
        label: str | int | None = None,
        text: str | None = None,
        picture: NDArray[np.uint8] | None = None,
    ) -> Tensor:
        """[N, *shape of the latents] -> [N, C, H, W] in [-1, 1], with gradients with respect to `latents` that require them,
        and to weights as in `encode`.

        For a generator without an encoder, `latents` are vectors [N, dim] such as those of `latents()`, and `label`, `text` and
        `picture` (a given picture) are the conditions of all pictures, as in `sample`; what is not requested, row i draws as
        the seed i does. Errors: `InputError` where the model has neither kind of latents, and for latents of another type or
        shape, that are not finite, or that are no codes of the model.
        """
        method, (shape, vocabulary) = self.method, self._latent_form
        latents = tensor_of_latents(latents, shape, vocabulary, self.run.path, method.device)
        if isinstance(method, Autoencoder):
            self.class_of(label)
            cond = Cond()
        else:
            cond = self.draw_conditions(range(len(latents)), self.request(label, text, picture))
        if not isinstance(method, Autoencoder | LatentDecoder):
            raise InputError(f"{self.run.path} ({self.recipe.preset}) has no latents that could be decoded")
        needs_gradients = requires_gradients(method, latents)
        with precision.exact(method.device.type), torch.set_grad_enabled(needs_gradients):
            if isinstance(method, Autoencoder):
                return torch.cat([method.decode(part) for part in torch.split(latents, ENCODING_BATCH)])
            return render(method, latents, cond)

    @cached_property
    def _latent_form(self) -> tuple[tuple[int, ...] | None, int | None]:
        """The shape of what `decode` takes for one picture, None where the model has no latents; and the number of codes, None
        where latents are real numbers."""
        if isinstance(self.method, Autoencoder):
            shape, are_codes = self.latent_shape()
            own = getattr(self.method, "vocabulary", None) or self.method.codec.vocabulary
            return shape, (own or sys.maxsize) if are_codes else None
        return (tuple(self.latents([0]).shape[1:]) if isinstance(self.method, LatentDecoder) else None), None

    def latents(self, seeds: SeedList) -> Tensor:
        """[len(seeds), dim]: the vectors that `sample` decodes. Errors: `InputError` where the model draws from no vector, and
        for seeds that `sample` does not take."""
        if not isinstance(self.method, LatentDecoder):
            raise InputError(f"{self.run.path} ({self.recipe.preset}) draws from no vector of latents")
        with torch.no_grad():
            return latents_of(self.method, whole_numbers(seeds, "seeds", "seed"))

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What the model can do beside drawing pictures, such as "autoencoder" (`limner.core.capabilities`)."""
        return capabilities(self.method)

    def encode_pictures(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """`encode` of pictures [N, H, W, C] uint8, at least one, as an array. Errors: `InputError` as `encode` has them."""
        with torch.no_grad():  # also of a model that is fine-tuned
            return self.encode(images).cpu().numpy()

    def latent_shape(self) -> tuple[tuple[int, ...], bool]:
        """Shape of the latents of one picture, and whether they are codes. Errors: `InputError` where there is no encoder."""
        blank = self.encode_pictures(np.zeros((1, *self.shape), np.uint8))
        return blank.shape[1:], blank.dtype == np.int64

    def dataset(self, source: object = None) -> Dataset:
        """The data that the run was trained on (None), or those of another `source`, prepared with the same options.

        Errors: `InputError` where the data are not there, or those of the run have changed since it was trained.
        """
        own = self.recipe.data
        data = own if source is None else own.model_copy(update={"source": source, "split": None, "limit": None})
        dataset = prepare_source(data.source, data.options(), fingerprint=own.fingerprint if source is None else None)
        if source is None and dataset.fingerprint != own.fingerprint:
            raise InputError(
                f"{public_address(own.source)} is no longer what {self.run.path} was trained on (its fingerprint differs), so "
                f"its held-out pictures may have been trained on; bring the pictures back, or name others with "
                f"{option('data', 'SRC')}"
            )
        return dataset

    def checkpoint_notes(self) -> tuple[str, ...]:
        """Which checkpoint of its run this is, what it scored while training, and whether another one is clearly better."""
        return describe_checkpoint(self.run, self.checkpoint.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the model's pictures."""
        channels, height, width = self.recipe.data.spec().shape
        return height, width, channels


def load(run: str | int | os.PathLike[str], checkpoint: str | int = "last") -> Loaded:
    """The model of a run, by its number, its name, the beginning of it, or its folder: ``7``, ``"flowers"``, ``"runs/0007"``.

    `checkpoint` is "last", "best", or the number of images of a checkpoint. Errors: `InputError` where there is no such run or
    complete checkpoint, or where its weights do not fit the recipe.
    """
    opened = Run.open(run)
    recipe = opened.recipe()
    saved = opened.checkpoint(checkpoint)
    stage = saved.state()["stage"]
    fix_thread_count()
    device = precision.device()
    with precision.own_modes():
        with preserve_generators(device):  # the initial weights, which are replaced, are drawn
            method = build_method(recipe, recipe.data.spec(), stage)
        load_weights(method, saved.tensors("ema"), saved.path, averaged(method))
        prepare_module(method, device)
    if isinstance(method, VelocityField):
        method.read_guide = opened.guide_weights
    return Loaded(opened, saved, recipe, method.eval().requires_grad_(False))
