"""One seed is one image, whatever stands beside it, and in whatever process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import limner
from contract.helpers import every_preset, finished, run_of, start
from limner.core.method import generate
from limner.recipe import PRESETS
from limner.run import Run
from limner.tasks.sample import sample


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A small finished run of every preset."""
    return {preset: run_of(preset, tmp_path_factory.mktemp(preset), images=192) for preset in sorted(PRESETS)}


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
    loaded = limner.load(run.path).method.state_dict()
    mean, live = run.checkpoint().tensors("ema"), run.checkpoint().tensors("model")
    assert all(torch.equal(loaded[name], value) for name, value in mean.items())
    assert any(not torch.equal(live[name], value) for name, value in mean.items())


def test_png_text_says_where_a_picture_comes_from(trained: dict[str, Run], tmp_path: Path) -> None:
    run = trained["dcgan"]
    answer = sample(run.path, seeds=[3, 4, 9], grid=True, out=tmp_path / "told", npz=tmp_path / "out.npz")
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
    silent = sample(run.path, seeds=[4], grid=True, out=tmp_path / "silent", metadata=False)
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
