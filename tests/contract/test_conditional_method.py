"""Conditions reach a method in training, previews, scores and samples: proved by a tiny method whose optimum is known.

What it draws can only be right where caption, class and given picture of the very same picture reached it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import limner
from conditional_method import CLASSES, Linear, least_loss, picture_of, registered, write_pictures
from contract.helpers import ask_to_stop, assert_same_weights, at_images, composed, untrained
from limner.core.capabilities import LatentDecoder
from limner.core.cond import Cond
from limner.core.config import DataSpec
from limner.core.errors import InputError
from limner.core.images import grid, to_tensor, to_uint8
from limner.core.progress import silent
from limner.core.sampling import generate
from limner.core.seeds import SCORED_SEEDS, noise
from limner.core.text import Captions, decode_captions, encode_captions
from limner.data.conditions import Conditions
from limner.data.dataset import Dataset, open_dataset
from limner.data.feed import Feed
from limner.data.fingerprint import fingerprint_of_arrays
from limner.data.prepare import prepare
from limner.data.writer import write_manifest
from limner.evaluation.inputs import SampledImages, conditions_for
from limner.metrics.features.detectors import Pixels
from limner.recipes.registry import METHODS, PRESETS
from limner.recipes.settings import compose
from limner.runs.model import Loaded, load
from limner.runs.run import Run
from limner.tasks import interpolation, reconstruction, traversal
from limner.training import scorer
from limner.training.dry_run import measure_speed
from limner.training.notes import data_notes
from limner.training.resolve import resolve_request
from limner.training.train import TrainRequest

QUIET = ("score.points=0", "previews.count=8", "previews.every=1", "checkpoints.every=1", "precision=fp32")
IMAGES = 16 * 600
SOME: Any = {"images": 16 * 20, "seed": 1}
"""A short run, for what does not depend on what was learned."""


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(write_pictures(tmp_path_factory.mktemp("source")), split="0.2")


@pytest.fixture(scope="module")
def trained(pairs: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learned all there is."""
    return run_of(pairs, tmp_path_factory.mktemp("runs"), images=IMAGES)


def run_of(pairs: Dataset, out: Path, *settings: str, images: int = IMAGES, seed: int = 0) -> Run:
    answer = limner.train(str(pairs.path), preset="linear", out=out, images=images, seed=seed, settings=[*QUIET, *settings])
    return Run(Path(answer.run))


def loss_of(run: Run, dataset: Dataset, split: str = "train") -> float:
    """Mean squared error of the averaged weights on a split, with all conditions that the method takes."""
    method = load(run.path).method
    assert isinstance(method, Linear)
    batch = Feed(dataset, split, method.device, 0, accepts=method.accepts).draw(0, 0, len(dataset.splits[split]))
    with torch.no_grad():
        return float((method.predict(batch.cond, len(batch)) - batch.images).square().mean())


def asked(text: str, given: NDArray[np.uint8], label: int = 0) -> Cond:
    """One request with all three conditions."""
    return Cond(torch.tensor([label]), torch.from_numpy(encode_captions([text], 2)), to_tensor(given[None]))


def random_given(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 1), dtype=np.uint8)


def test_a_condition_lowers_the_loss_below_what_is_possible_without_it(pairs: Dataset, trained: Run, tmp_path: Path) -> None:
    """Also on pictures that were held out. Each bound is the least squares solution on the other conditions alone."""
    assert least_loss(pairs, ("label", "text", "image")) < 1e-3
    without = {
        kind: least_loss(pairs, [other for other in ("label", "text", "image") if other != kind])  # type: ignore[misc]
        for kind in ("label", "text", "image")
    }
    assert min(without.values()) > 0.02
    for split in ("train", "val"):
        assert loss_of(trained, pairs, split) < 0.1 * min(without.values()), split
    blind = run_of(pairs, tmp_path, "method.accepts=[label, image]", images=IMAGES)
    assert without["text"] <= loss_of(blind, pairs) < 1.1 * without["text"], "what is left is what the captions would say"


def test_another_caption_class_or_given_picture_changes_what_it_speaks_of(trained: Run) -> None:
    """The picture is the one that the conditions describe, to a few grey values."""
    method = load(trained.path).method
    first, other = random_given(1), random_given(2)
    for text, label, given in [("ax", 0, first), ("qx", 0, first), ("ax", 1, first), ("ax", 0, other)]:
        drawn = to_uint8(generate(method, [0], asked(text, given, label)))[0].astype(int)
        wanted = picture_of(text, CLASSES[label], given).astype(int)
        assert np.abs(drawn - wanted).mean() < 8, (text, label)
        assert np.abs(drawn - wanted).max() < 40, (text, label)


def test_samples_do_not_depend_on_the_batch(trained: Run, pairs: Dataset) -> None:
    """To the bit, with the conditions that the seeds draw and noise."""
    method = load(trained.path).method
    sampling = method.sampling_type(spread=0.1)  # type: ignore[call-arg]
    conditions = Conditions(pairs)

    def draw(seeds: list[int]) -> torch.Tensor:
        return generate(method, seeds, conditions.draw(seeds, method.accepts), sampling)

    together = draw(list(range(40)))
    assert torch.equal(torch.cat([draw([seed]) for seed in range(40)]), together)
    assert torch.equal(draw([39, 3, 17]), together[[39, 3, 17]])
    assert not torch.equal(together[0], together[1])


def test_a_run_goes_on_to_the_bit(pairs: Dataset, tmp_path: Path) -> None:
    whole = run_of(pairs, tmp_path / "whole", "data.mirror=true", "batch.chunks=2", **SOME)
    with at_images(160, ask_to_stop):
        stopped = run_of(pairs, tmp_path / "stopped", "data.mirror=true", "batch.chunks=2", **SOME)
    assert stopped.checkpoint().images < whole.checkpoint().images
    limner.resume(stopped.path)
    assert_same_weights(stopped, whole)
    shown = [(run.path / "previews" / f"{SOME['images']:09d}.png").read_bytes() for run in (whole, stopped)]
    assert shown[0] == shown[1]
    assert stopped.captions() == whole.captions()


def test_conditions_that_are_not_accepted_change_nothing(pairs: Dataset, tmp_path: Path) -> None:
    """A method that takes labels alone trains to the same bits on the same pictures without captions and given pictures."""
    plain = tmp_path / "plain"
    shutil.copytree(pairs.path, plain)
    manifest = json.loads((plain / "manifest.json").read_text())
    fingerprint = fingerprint_of_arrays(np.load(plain / "images.npy"), pairs.labels, None, pairs.splits, None)
    write_manifest(plain, manifest | {"captions": 0, "given_shape": None, "fingerprint": fingerprint})
    bare = open_dataset(plain)
    assert bare.captions is bare.given_images is None
    settings = ("method.accepts=[label]", "data.mirror=true")
    one, other = (run_of(each, tmp_path / name, *settings, **SOME) for each, name in ((pairs, "one"), (bare, "other")))
    mine, yours = (run.checkpoint().tensors("ema")["network.weight"][:, :2] for run in (one, other))
    assert torch.equal(mine, yours), "the weights of the classes"


def test_previews_show_what_their_conditions_say(pairs: Dataset, trained: Run) -> None:
    """Each is the held-out picture whose conditions its seed drew."""
    method = load(trained.path).method
    conditions = Conditions(pairs, "val", trained.captions())
    cond = conditions.draw(range(8), method.accepts)
    assert cond.image is not None
    assert pairs.given_images is not None
    rows = pairs.indices("val")
    given = to_tensor(pairs.given_images.gather(rows))
    chosen = np.array(
        [next(row for row, one in zip(rows, given, strict=True) if torch.equal(one, image)) for image in cond.image]
    )
    drawn = to_uint8(generate(method, range(8), cond))
    assert np.abs(drawn.astype(int) - pairs.images.gather(chosen)).mean() < 8
    preview = np.asarray(Image.open(trained.path / "previews" / f"{IMAGES:09d}.png"))
    assert (preview == grid(drawn)[..., 0]).all()
    held_out = [row["watch"]["held_out_network"] for row in trained.metrics() if "held_out_network" in row["watch"]]
    assert held_out[-1] < 0.01, "held-out losses are taken with the conditions of the held-out pictures"


def test_scores_compare_pictures_under_real_conditions(pairs: Dataset, trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that draws what its conditions say gets the null's distance; without conditions it would not."""
    monkeypatch.setattr(scorer, "judge_for", lambda dataset, *_, **__: Pixels(dataset.shape))
    method = load(trained.path).method
    scoring = scorer.ValidationScorer(pairs, 128)
    with_conditions = scoring.score(method)["frechet"]
    scoring.conditions = Conditions(None)
    assert scoring.score(method)["frechet"] > 5 * with_conditions


def test_evaluation_draws_conditions_and_their_classes(pairs: Dataset, trained: Run) -> None:
    model = load(trained.path)
    samples = SampledImages(model, SCORED_SEEDS, 60, conditions_for(model, pairs, "val"))
    labels = samples.labels(CLASSES)
    assert labels is not None
    cond = samples.conditions.draw(range(SCORED_SEEDS, SCORED_SEEDS + 60), model.method.accepts)
    assert cond.label is not None
    assert labels.tolist() == cond.label.tolist()
    pictures = samples.gather(np.arange(60)).astype(int)
    assert (np.abs(pictures[:, 3].mean(axis=(1, 2)) - np.where(labels == 0, 40, 200)) < 20).all(), "the row that says the class"
    assert (samples.gather(np.array([59, 7])) == pictures[[59, 7]]).all()


def test_data_without_such_given_pictures_are_nothing_to_compare_with(pairs: Dataset, trained: Run) -> None:
    model = load(trained.path)
    with pytest.raises(limner.InputError, match=r"given pictures of 8×8×1, and digits has no given pictures.*data=SRC"):
        conditions_for(model, prepare("digits"), "val")


def test_a_sample_without_a_text_draws_a_caption_of_training(pairs: Dataset, tmp_path: Path) -> None:
    """Without the data: by the captions in the run folder, the same for the same seed."""
    run = run_of(pairs, tmp_path, "method.accepts=[text]", images=IMAGES)
    captions = run.captions()
    assert captions is not None
    assert set(captions.texts) == {(pairs.captions or ())[row] for row in pairs.indices("train")}
    model = load(run.path)
    pictures = model.sample(range(20))
    cond = model.conditions.draw(range(20), model.method.accepts)
    assert cond.text is not None
    for picture, text in zip(pictures.astype(int), decode_captions(cond.text.numpy()), strict=True):
        given: Any = np.zeros((8, 8, 1), np.uint8)
        assert np.abs(picture[:3] - picture_of(text, CLASSES[0], given)[:3]).mean() < 12, text
    assert (model.sample([7]) == pictures[7]).all()
    answer = limner.sample(run.path, seeds=range(20), npz=tmp_path / "a.npz")
    assert answer.texts == decode_captions(cond.text.numpy())
    assert answer.labels is None
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert (arrays["texts"].tolist(), "labels" in arrays) == (answer.texts, False)
    assert len({picture[:3].tobytes() for picture in pictures}) > 10


def test_a_run_that_takes_no_text_keeps_no_captions(pairs: Dataset, tmp_path: Path) -> None:
    assert run_of(pairs, tmp_path, "method.accepts=[label, image]", **SOME).captions() is None


def test_notes_name_the_presets_that_take_what_is_not_used(pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "The captions are not used: flow takes none" left a person with nothing to do."""
    request = TrainRequest(source=str(pairs.path), preset="gan", images=16)
    recipe, dataset, _ = resolve_request(request, silent, measure_speed)

    def unused() -> list[str]:
        return [note.partition(" are not used: ")[2] for note in data_notes(recipe, dataset) if "are not used: " in note]

    assert unused() == ["gan takes none; train with preset linear to use them"] * 2
    monkeypatch.setitem(METHODS._registered, "linear", replace(METHODS["linear"], accepts=frozenset()))
    assert unused() == [
        f"no preset takes {what} (`limner methods` lists what there is)" for what in ("captions", "given pictures")
    ]


def test_families_say_which_conditions_their_methods_take() -> None:
    for name, family in METHODS.items():
        preset = next(preset for preset, row in PRESETS.items() if row.family in (name, "prior" if name == "vqvae" else name))
        labels = ["method.labels=true"] if "labels" in family.config.model_fields else []
        recipe = compose(preset, ["data.size=8", *labels]) if name == "linear" else composed(preset, *labels)
        stage = 0 if name == "vqvae" else None
        assert untrained(recipe, (8, 8, 1), ("one", "two"), stage).accepts == family.accepts, name


def test_the_recipe_knows_what_the_method_was_built_for(pairs: Dataset, trained: Run) -> None:
    height, width, channels = pairs.shape
    own = DataSpec((channels, height, width), pairs.classes, pairs.caption_length, pairs.condition_shape)
    assert trained.recipe().data.spec() == own


def test_the_page_of_a_comparison_and_a_study_draw_under_conditions(trained: Run, pairs: Dataset, tmp_path: Path) -> None:
    """Both show samples, and a model that takes a given picture draws none without one."""
    real = tmp_path / "real.npz"
    np.savez(real, images=pairs.images.gather(pairs.indices("train")[:60]))
    asked: Any = {"data": str(pairs.path), "features": "pixels", "metrics": ["frechet"], "count": 60}
    compared = limner.compare([trained.path, real], out=tmp_path / "page", **asked)
    assert Path(str(compared.sheet)).is_file()
    study = limner.rate([trained.path], data=str(pairs.path), count=2, tasks=["untimed"], out=tmp_path / "study")
    assert study["pictures"] > 0


class Decoder(Linear, LatentDecoder):
    """`Linear` with a vector of latents, of which the first makes the picture lighter."""

    gaussian = True

    def latents(self, seeds: Sequence[int]) -> torch.Tensor:
        return noise(seeds, 4)

    def picture(self, latents: torch.Tensor, cond: Cond) -> torch.Tensor:
        return (self.predict(cond, len(latents)) + 0.1 * latents[:, 0, None, None, None]).clamp(-1, 1)

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], cond: Cond, sampling: Any) -> torch.Tensor:
        return self.picture(self.latents(seeds), self.conditions(seeds, cond))


@pytest.fixture
def decoder(pairs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """A model that draws from a vector of latents, a class and a caption, in place of the one in the folder of its run."""
    model = load(run_of(pairs, tmp_path, "method.accepts=[label, text]", images=IMAGES).path)
    assert isinstance(model.method, Linear)
    method = Decoder(model.method.config, model.method.codec, model.method.spec)
    method.load_state_dict(model.method.state_dict())
    model = replace(model, method=method.eval().requires_grad_(False))
    for module in (interpolation, traversal, reconstruction):
        monkeypatch.setattr(module, "load", lambda *_: model)
    return model


def pixels(files: Sequence[str]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file)).astype(int) for file in files])


def test_work_in_latents_keeps_the_caption_of_each_seed(decoder: Loaded, tmp_path: Path) -> None:
    """The ends of an interpolation are the samples of its seeds, to the bit, each with the caption and class that it draws."""
    samples = decoder.sample(range(2))[..., 0].astype(int)
    frames = pixels(limner.interpolate(decoder.run.path, seeds=[0, 1], steps=3, out=tmp_path / "a").files)
    assert (frames[[0, 2]] == samples).all()
    row = pixels(limner.traverse(decoder.run.path, seed=1, latents=[3], steps=2, out=tmp_path / "b").files)
    assert np.abs(row - samples[1]).max() <= 1, "the last latent changes nothing, so that the caption is seen to stay"
    assert (decoder.decode(decoder.latents(range(2))) == generate_of(decoder, range(2))).all()


def generate_of(model: Loaded, seeds: Sequence[int]) -> torch.Tensor:
    return generate(model.method, seeds, model.draw_conditions(seeds, model.request()))


def test_a_text_that_is_requested_is_that_of_every_picture(decoder: Loaded, tmp_path: Path) -> None:
    text = next(iter((decoder.run.captions() or Captions((), 0)).texts))
    samples = decoder.sample(range(2), text=text, label="right")[..., 0].astype(int)
    asked: Any = {"text": text, "label": "right"}
    frames = pixels(limner.interpolate(decoder.run.path, seeds=[0, 1], steps=2, out=tmp_path / "a", **asked).files)
    assert (frames == samples).all()
    picture = tmp_path / "one.png"
    Image.fromarray(samples[0].astype(np.uint8)).save(picture)
    nearest = limner.reconstruct(decoder.run.path, picture, steps=60, out=tmp_path / "b", **asked)
    assert nearest.errors[0] < 1e-3
    with pytest.raises(InputError, match="draws from a caption; say what the pictures show with text"):
        limner.reconstruct(decoder.run.path, picture, out=tmp_path / "c")
