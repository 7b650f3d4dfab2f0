"""Any trained autoencoder serves as a codec: what draws latents or codes names its run, copies it, and stands alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import limner
from contract.helpers import (
    CODER,
    QUIET,
    ask_to_stop,
    assert_metrics_once,
    assert_same_weights,
    at_images,
    outcome_of,
    run_of,
)
from limner.core.progress import silent
from limner.data.prepare import prepare
from limner.methods.gan.gan import Gan
from limner.recipes.build import presets_drawing, presets_making
from limner.runs.run import Run
from limner.training.resolve import resolve_request
from limner.training.train import TrainRequest

CODECS = {
    "vae": (),
    "beta-vae": (),
    "factor-vae": ("method.critic.widths=[16]",),
    "tc-vae": (),
    "autoencoder": (),
    "vae of a map": ("method.map=true", "method.latent=2", "method.down=1"),
    "autoencoder of a map": ("method.map=true", "method.latent=2", "method.down=1"),
}
FLAT = ("method.generator.widths=[16]", "method.discriminator.widths=[16]", "method.latent=8")
"""A narrow GAN of latents that have no places to convolve over: digits leave none."""

MakeCodec = Callable[[str], Run]


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> MakeCodec:
    """A finished run of that row of `CODECS`, made when it is first wanted."""
    runs: dict[str, Run] = {}

    def make(name: str) -> Run:
        if name not in runs:
            preset = name.partition(" ")[0]
            settings = [one for one in CODER if preset != "tc-vae" or "blocks" not in one]
            runs[name] = run_of(preset, tmp_path_factory.mktemp("codec"), *settings, *CODECS[name])
        return runs[name]

    return make


def gan_on(codec: Run | Path, out: Path, *settings: str, images: int = 96) -> Run:
    path = codec.path if isinstance(codec, Run) else codec
    return run_of("dcgan", out, f"codec={path}", *FLAT, *settings, images=images, narrow=False)


@pytest.mark.parametrize("name", CODECS)
def test_a_gan_draws_the_latents_of_any_autoencoder(name: str, codec: MakeCodec, tmp_path: Path) -> None:
    """The codec is copied to the bit, its critic stays behind, and the new run needs the old one no longer."""
    given = codec(name)
    there = Run(shutil.copytree(given.path, tmp_path / "codec"))
    run = gan_on(there, tmp_path / "new", "checkpoints.every=0.5", "checkpoints.keep=9")
    learned = given.checkpoint().tensors("ema")
    assert learned
    for part in ("model", "ema"):
        held = run.checkpoint().tensors(part)
        assert {key.removeprefix("codec.") for key in held if key.startswith("codec.")} == set(learned)
        assert all(torch.equal(held[f"codec.{key}"], value) for key, value in learned.items())
        assert float(held["spread"].min()) > 0
        assert not torch.equal(held["spread"], torch.ones_like(held["spread"])), "it was fitted"
    assert not any(key.startswith("codec") for key in run.checkpoint().tensors("optim"))
    shutil.rmtree(there.path)
    model = limner.load(run.path)
    assert isinstance(model.method, Gan)
    images = model.sample(range(40))
    assert images.shape == (40, 8, 8, 1)
    assert np.array_equal(model.sample([21])[0], images[21])
    assert len(np.unique(images.reshape(40, -1), axis=0)) > 10, (
        "an autoencoder of 96 pictures draws them all grey, but not the same"
    )
    assert np.array_equal(model.sample(range(3), truncation=1.0), images[:3])
    assert_metrics_once(run)
    recipe = run.recipe()
    assert [(stage.share, stage.method.kind) for stage in recipe.stages] == [(0.0, given.recipe().method.kind)]
    assert str(tmp_path) not in recipe.portable()


@pytest.mark.parametrize("name", ["vae", "autoencoder of a map"])
def test_a_gan_that_was_stopped_goes_on_without_its_codecs_run(name: str, codec: MakeCodec, tmp_path: Path) -> None:
    there = shutil.copytree(codec(name).path, tmp_path / "codec")
    through = gan_on(there, tmp_path / "through", images=160)
    with at_images(64, ask_to_stop):
        stopped = gan_on(there, tmp_path / "parts", images=160)
    assert stopped.status()["state"] == "stopped"
    shutil.rmtree(there)
    limner.resume(stopped.path)
    assert_same_weights(stopped, through)


def test_a_map_that_is_large_enough_is_drawn_by_convolutions(tmp_path: Path) -> None:
    large = ("data.size=32",)
    coder = run_of(
        "vae",
        tmp_path / "codec",
        *large,
        "method.map=true",
        "method.latent=2",
        "method.down=1",
        "method.prior=normal",
        images=32,
    )
    widths = ("method.generator.width=8", "method.generator.widest=16", "method.discriminator.width=8")
    run = run_of("dcgan", tmp_path / "gan", *large, f"codec={coder.path}", *widths, images=32, narrow=False)
    model = limner.load(run.path)
    assert isinstance(model.method, Gan)
    assert model.method.codec.shape == (2, 16, 16)
    assert model.recipe.method.networks == "dcgan"  # type: ignore[union-attr]
    assert model.sample(range(2)).shape == (2, 32, 32, 1)


def test_latents_without_places_are_drawn_by_an_mlp_and_it_is_said(codec: MakeCodec) -> None:
    for name in ("vae", "vae of a map"):
        request = TrainRequest(source="digits", preset="dcgan", images=64, settings=(f"codec={codec(name).path}",))
        recipe, _, why = resolve_request(request, silent)
        assert recipe.method.networks == "mlp"  # type: ignore[union-attr]
        assert "by the pictures, the codec and the budget: method.networks=mlp" in why
        assert isinstance(recipe.stages[0].method, type(codec(name).recipe().method))


def test_a_gan_on_a_codec_reconstructs_by_looking_for_the_latents(codec: MakeCodec, tmp_path: Path) -> None:
    from PIL import Image

    run = gan_on(codec("vae"), tmp_path / "gan")
    dataset = prepare("digits")
    Image.fromarray(dataset.images.gather(dataset.indices("test")[:1])[0, :, :, 0]).save(tmp_path / "a.png")
    answer = limner.reconstruct(run.path, [tmp_path / "a.png"], steps=5, starts=2, out=tmp_path / "out")
    assert answer["method"] == "inversion"
    assert all(Path(file).is_file() for file in answer["files"])


def test_a_gan_on_a_codec_is_judged(codec: MakeCodec, tmp_path: Path) -> None:
    run = gan_on(codec("vae"), tmp_path / "gan")
    answer = limner.evaluate(run.path, count=64, features="pixels", metrics="frechet")
    assert answer["metrics"]["frechet"]["value"] > 0


def test_the_codec_of_a_gan_that_works_in_latents_serves_another(codec: MakeCodec, tmp_path: Path) -> None:
    """And classes, which the codec knows nothing of, are the new GAN's own."""
    first = gan_on(codec("vae"), tmp_path / "first")
    second = gan_on(first, tmp_path / "second", "method.labels=true")
    held, learned = second.checkpoint().tensors("ema"), codec("vae").checkpoint().tensors("ema")
    assert all(torch.equal(held[f"codec.{key}"], value) for key, value in learned.items())
    assert not any(key.startswith(("codec.codec", "codec.generator")) for key in held)
    assert limner.load(second.path).sample([1], label="3").shape == (1, 8, 8, 1)


def test_a_codec_that_comes_trained_is_not_settled_again(tmp_path: Path) -> None:
    """A population smaller than the new batch is no matter to a codec that learns no more."""
    few = "data.limit=60"
    coder = run_of("tc-vae", tmp_path / "codec", few)
    assert coder.recipe().method.population < 64  # type: ignore[union-attr,operator]
    run = gan_on(coder, tmp_path / "gan", few, "batch.size=64", images=64)
    assert run.recipe().stages[0].method == coder.recipe().method


# ---- what does not fit --------------------------------------------------------------------------------------------------


def test_who_makes_and_who_draws_is_asked_of_the_families() -> None:
    assert presets_making("codes") == ("vq-vae", "fsq", "vqgan")
    assert set(presets_making("continuous")) == {name.split()[0] for name in CODECS}
    assert presets_making("continuous")[0] == "vae", "errors name it first"
    assert presets_drawing("codes") == ("prior",)
    assert {"dcgan", "r3gan", "vae"} <= set(presets_drawing("continuous"))


def test_codecs_of_the_other_kind_are_one_line(codec: MakeCodec, tmp_path: Path) -> None:
    codes = run_of("vq-vae", tmp_path / "codes")
    pixels = run_of("gan", tmp_path / "pixels")
    vae, continuous = codec("vae"), "a run of vae, beta-vae, factor-vae, tc-vae or autoencoder"
    cases = [
        ("prior", vae, "prior draws codes; {} (vae) makes continuous latents; give codec= a run of vq-vae, fsq or vqgan"),
        ("prior", pixels, "prior draws codes; {} (gan) makes no latents; give codec= a run of vq-vae, fsq or vqgan"),
        ("dcgan", codes, f"gan draws continuous latents; {{}} (vq-vae) makes codes; give codec= {continuous}"),
        ("dcgan", pixels, f"gan draws continuous latents; {{}} (gan) makes no latents; give codec= {continuous}"),
        ("vae", vae, "an autoencoder needs images or latent maps, not latent vectors of 8 entries"),
    ]
    for preset, run, words in cases:
        with pytest.raises(limner.InputError) as error:
            outcome_of(preset, tmp_path / "none", f"codec={run.path}", narrow=False)
        assert str(error.value) == words.format(run.path)
    for setting, words in (
        ("method.networks=dcgan", "method.networks=dcgan does not fit the codec's latents, which take method.networks=mlp"),
        (
            "method.generator.width=8",
            "would do nothing here: it belongs to method.networks=auto, dcgan, resnet",
        ),
        ("data.size=16", "encodes pictures of 8x8 with 1 .* set data.size=8x8"),
    ):
        with pytest.raises(limner.InputError, match=words) as error:
            outcome_of("dcgan", tmp_path / "none", f"codec={vae.path}", setting, narrow=False)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "none").exists()


def test_a_half_trained_autoencoder_is_no_codec(tmp_path: Path) -> None:
    with at_images(32, ask_to_stop):
        half = outcome_of("vae", tmp_path / "half")
    with pytest.raises(limner.InputError, match=r"is half trained \(48 images\); finish it with `limner resume"):
        gan_on(half.run, tmp_path / "gan")
    limner.resume(half.run)
    gan_on(half.run, tmp_path / "gan", images=16)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"kind": "vqvae"}, {"kind": "gan"}, r"stage 'main' \(gan\) draws continuous latents, and stage 'codec' \(vqvae\)"),
        ({"kind": "vae"}, {"kind": "prior"}, r"stage 'main' \(prior\) draws codes, and stage 'codec' \(vae\) makes continuous"),
        ({"kind": "gan"}, {"kind": "vae"}, r"\(vae\) draws continuous latents, and stage 'codec' \(gan\) makes no latents"),
    ],
)
def test_stages_that_do_not_fit_each_other_are_one_line(
    before: dict[str, str], after: dict[str, str], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"stages": [{"name": "codec", "share": 0.5, "method": before}], "method": after}))
    with pytest.raises(limner.InputError, match=words) as error:
        limner.train("digits", preset=str(path), out=tmp_path / "none", images=64, settings=QUIET)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "none").exists()
