"""One seed is one image, whatever stands beside it, and in whatever process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from contract.helpers import ALONE, composed, every_preset, finished, method_of, run_of, start
from limner.core import images as pictures
from limner.core.capabilities import Autoencoder, LatentDecoder
from limner.core.cond import Cond
from limner.core.sampling import generate, latents_of, render
from limner.metrics.representation.reconstruction import psnr
from limner.recipes.build import stage_configs
from limner.runs.checkpoint import Checkpoint
from limner.runs.model import Loaded
from limner.runs.run import Run
from limner.tasks.inversion import Search, invert
from limner.training.session import choose_next_command


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A small finished run of every preset."""
    return {preset: run_of(preset, tmp_path_factory.mktemp(preset), images=192) for preset in ALONE}


@every_preset
def test_an_image_depends_on_its_seed_alone(preset: str, trained: dict[str, Run]) -> None:
    """Image 17 alone, among a hundred, at other places in the pass, after another order: the same float bits."""
    method = limner.load(trained[preset].path).method
    hundred = generate(method, range(100))
    assert torch.equal(generate(method, [17])[0], hundred[17])
    backwards = generate(method, list(range(99, -1, -1)))
    assert torch.equal(backwards.flip(0), hundred)
    mixed = generate(method, [3, 17, 64, 17, 99])
    assert torch.equal(mixed, hundred[[3, 17, 64, 17, 99]])
    assert torch.equal(generate(method, range(1, 34)), hundred[1:34])
    flat = hundred.flatten(1)
    assert len(torch.unique(flat, dim=0)) == 100, "two seeds gave one image"
    assert float(flat.std(0).mean()) > 1e-4


@every_preset
def test_uint8_samples_are_those_bits_too(preset: str, trained: dict[str, Run]) -> None:
    model = limner.load(trained[preset].path)
    images = model.sample(range(40))
    assert np.array_equal(model.sample([17])[0], images[17])
    assert np.array_equal(model.sample([39, 2]), images[[39, 2]])
    assert images.dtype == np.uint8
    assert images.shape == (40, 8, 8, 1)


def test_a_snapshot_gives_the_same_bits_in_a_fresh_process(trained: dict[str, Run], tmp_path: Path) -> None:
    """All presets at once, since a process costs seconds; a copy of the folder elsewhere loads as well."""
    import shutil

    folders = {}
    for preset, run in trained.items():
        folders[preset] = str(shutil.copytree(run.path, tmp_path / preset))
    code = (
        "import json, sys, numpy as np, limner\n"
        "runs = json.loads(sys.argv[1])\n"
        "np.savez(sys.argv[2], **{name: limner.load(path).sample([5, 17, 200]) for name, path in runs.items()})\n"
    )
    status, _, err = finished(start("-c", code, json.dumps(folders), str(tmp_path / "out.npz")))
    assert status == 0, err
    with np.load(tmp_path / "out.npz") as file:
        for preset, run in trained.items():
            assert np.array_equal(file[preset], limner.load(run.path).sample([5, 17, 200])), preset


@every_preset
def test_the_average_is_what_is_sampled(preset: str, trained: dict[str, Run]) -> None:
    """The loaded weights are those of ema.safetensors, not of model.safetensors, and the two differ."""
    run = trained[preset]
    loaded = limner.load(run.path).method.to("cpu").state_dict()
    mean, live = run.checkpoint().tensors("ema"), run.checkpoint().tensors("model")
    assert all(torch.equal(loaded[name], value) for name, value in mean.items())
    assert any(not torch.equal(live[name], value) for name, value in mean.items())


def test_png_text_says_where_a_picture_comes_from(trained: dict[str, Run], tmp_path: Path) -> None:
    run = trained["dcgan"]
    answer = limner.sample(run.path, seeds=[3, 4, 9], grid=True, out=tmp_path / "told", npz=tmp_path / "out.npz")
    with Image.open(answer["files"][1]) as image:
        assert image.text["seed"] == "4"  # type: ignore[attr-defined]
        assert image.text["model"] == run.checkpoint().digest()  # type: ignore[attr-defined]
        assert json.loads(image.text["recipe"]) == json.loads(run.recipe().portable())  # type: ignore[attr-defined]
        pixels = np.asarray(image)
    with Image.open(answer["grid"]) as sheet:
        assert sheet.text["seeds"] == "3-4,9"  # type: ignore[attr-defined]
    with np.load(tmp_path / "out.npz") as file:
        assert np.array_equal(file["images"][1, :, :, 0], pixels)
        assert file["seeds"].tolist() == [3, 4, 9]
    silent = limner.sample(run.path, seeds=[4], grid=True, out=tmp_path / "silent", metadata=False)
    for path in (*silent["files"], silent["grid"]):
        with Image.open(path) as image:
            image.load()
            assert not image.text  # type: ignore[attr-defined]
            assert not image.info
    with Image.open(silent["files"][0]) as image:
        assert np.array_equal(np.asarray(image), pixels)


def test_a_model_without_classes_refuses_a_label(trained: dict[str, Run]) -> None:
    with pytest.raises(limner.InputError, match="without classes"):
        limner.load(trained["gan"].path).sample([1], label="3")


@every_preset
def test_the_latents_of_a_seed_give_its_picture(preset: str, trained: dict[str, Run]) -> None:
    """The same bits by `latents_of` and `render` as by `generate`, whichever rows; a gradient; and truncation."""
    method = limner.load(trained[preset].path).method
    if not isinstance(method, LatentDecoder):
        pytest.skip("no latents")
    seeds = [5, 17, 64, 99, *range(40)]
    latents, labels = latents_of(method, seeds), method.conditions(seeds, Cond()).label
    assert (labels is not None) == ("label" in method.accepts)
    whole = render(method, latents, Cond(label=labels))
    assert torch.equal(whole, generate(method, seeds))
    one = Cond(label=None if labels is None else labels[1:2])
    assert torch.equal(render(method, latents_of(method, [17]), one)[0], whole[1])
    half = generate(method, seeds, sampling=method.sampling_type.model_validate({"truncation": 0.5}))
    if method.gaussian:
        assert torch.equal(half, render(method, 0.5 * latents, Cond(label=labels)))
    assert not torch.equal(half, whole)
    z = latents[:2].requires_grad_(True)
    (gradient,) = torch.autograd.grad(method.picture(z, Cond(label=None if labels is None else labels[:2])).sum(), z)
    assert bool(gradient.isfinite().all())
    assert float(gradient.abs().max()) > 0


@every_preset
def test_an_interpolation_ends_at_its_samples(preset: str, trained: dict[str, Run], tmp_path: Path) -> None:
    run = trained[preset]
    if not isinstance(limner.load(run.path).method, LatentDecoder):
        with pytest.raises(limner.InputError, match="no vector of latents"):
            limner.interpolate(run.path, seeds=[3, 12, 7], steps=4, out=tmp_path)
        return
    answer = limner.interpolate(run.path, seeds=[3, 12, 7], steps=4, out=tmp_path)
    assert len(answer["files"]) == 7
    frames = np.stack([np.asarray(Image.open(file))[..., None] for file in answer["files"]])
    assert np.array_equal(frames[[0, 3, 6]], limner.load(run.path).sample([3, 12, 7]))
    assert len(np.unique(frames.reshape(7, -1), axis=0)) == 7


@pytest.mark.parametrize("preset", ["cgan", "dcgan"])
def test_a_picture_that_a_gan_made_is_found_again(preset: str, trained: dict[str, Run]) -> None:
    model = limner.load(trained[preset].path)
    made = model.sample(range(900, 904))
    found = invert(model, made, Search(steps=150))
    assert found.pictures.shape == made.shape
    near, far = psnr(found.pictures, made), psnr(model.sample(range(4)), made)
    assert float(near.min()) > 30, near
    assert bool((near > far + 10).all()), (near, far)


def test_a_class_is_what_was_asked_for(trained: dict[str, Run], tmp_path: Path) -> None:
    """By name, in the pictures, the PNG's text and the folder; without one, by the seed."""
    run = trained["cgan"]
    model = limner.load(run.path)
    assert model.recipe.data.classes == tuple("0123456789")
    asked = torch.full((2,), 3, device=model.method.device)
    threes = model.sample([5, 9], label="3")
    assert np.array_equal(threes, pictures.to_uint8(generate(model.method, [5, 9], Cond(label=asked))))
    assert not np.array_equal(threes, model.sample([5, 9], label="4"))
    drawn = model.method.conditions(range(200), Cond()).label
    assert drawn is not None
    assert len(set(drawn.tolist())) == 10
    for seed in (0, 1, 2):
        assert np.array_equal(model.sample([seed]), model.sample([seed], label=str(int(drawn[seed]))))
    with pytest.raises(limner.InputError, match=r"knows no class '12'.*0, 1, 2"):
        model.sample([1], label="12")
    answer = limner.sample(run.path, seeds=[5], label="3", truncation=0.5)
    folder = Path(answer["files"][0]).parent
    assert (folder.parent, Path(answer["files"][0]).name) == (run.path / "made", "seed000005.png")
    with Image.open(answer["files"][0]) as image:
        assert image.text["label"] == "3"  # type: ignore[attr-defined]
        assert image.text["truncation"] == "0.5"  # type: ignore[attr-defined]


def test_only_a_method_with_an_encoder_reconstructs(trained: dict[str, Run]) -> None:
    pixels = np.zeros((3, 8, 8, 1), np.uint8)
    pixels[1:] = 200
    model = limner.load(trained["vae"].path)
    back = model.reconstruct(pixels)
    assert back.shape == pixels.shape
    assert back[1].astype(int).sum() > back[0].astype(int).sum()
    assert np.array_equal(back[1], back[2])
    assert np.array_equal(model.reconstruct(back[:1]), model.reconstruct(back)[:1])
    with pytest.raises(limner.InputError, match="no encoder"):
        limner.load(trained["gan"].path).reconstruct(pixels)


@every_preset
def test_a_message_names_reconstruct_only_where_it_works(preset: str) -> None:
    """`embed` of a flow's run sent to `reconstruct`, which refuses it too."""
    method = method_of(preset, (8, 8, 1)).eval().requires_grad_(False)
    recipe = composed(preset, "data.size=8x8", "data.channels=1", f"data.classes=[{','.join(map(str, range(10)))}]")
    model = Loaded(Run(Path("runs/0001")), Checkpoint(Path("x"), 0), recipe, method)
    if isinstance(method, Autoencoder):
        assert model.encoder is method
        return
    with pytest.raises(limner.InputError, match=r"has no encoder .*; train one that has, such as preset=vae") as caught:
        model.encoder  # noqa: B018
    try:
        invert(model, np.zeros((1, 8, 8, 1), np.uint8), Search(starts=1, steps=1))
        works = True
    except limner.InputError:
        works = False
    assert ("`limner reconstruct`" in str(caught.value)) == works
    assert works == (preset != "flow")


@every_preset
def test_the_command_that_follows_a_training_works_for_its_method(preset: str) -> None:
    run = Path("runs/0001")
    stages = range(len(stage_configs(composed(preset))))
    for stage in stages:
        method = method_of(preset, (8, 8, 1), stage=stage).eval()
        assert choose_next_command(run, method, "stopped") == f"limner resume {run}"
        command = choose_next_command(run, method, "done")
        if method.generates:
            assert command == f"limner sample {run} --count 64 --grid"
            assert method.sample([1], Cond(), method.sampling_type()).isfinite().all()
        else:
            assert (command, stage) == (f"limner reconstruct {run} IMAGES", 0)
            assert isinstance(method, Autoencoder)
    assert method.generates, "the last stage of a preset draws pictures"


def test_the_command_that_follows_names_the_given_picture() -> None:
    method = method_of("gan", (8, 8, 1))
    method.accepts = frozenset({"image"})
    assert choose_next_command(Path("a"), method, "done") == "limner sample a --count 64 --given FILE --grid"
